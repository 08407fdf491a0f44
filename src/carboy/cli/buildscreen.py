"""A build on a terminal: what has ended scrolls by, what runs is drawn anew ten times a second.

     ✔ [1/4] FROM debian:12                                              cached
     ✔ [2/4] RUN apt-get update                                            3.2s
     ● [3/4] RUN pip install -r requirements.txt                          12.0s
         Collecting scikit-learn==1.5.2
     3 of 4 steps, 1 from cache, 15.2 s

Nothing is drawn for the first tenth of a second: a build that is all cached prints once.
"""

from __future__ import annotations

import os
import time

from carboy.cli import paint, terminal
from carboy.cli.buildshow import Display, shown, without_colours
from carboy.cli.session import write_all
from carboy.cli.signals import restore_first
from carboy.cli.table import cut
from carboy.cli.table import width as columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.buildshow import Step
    from carboy.client.document import Json

INTERVAL = 0.1
_LINES = 5
_BEGUN = 4096
_CLEAR = "\x1b[J"
_REST = "\x1b[K"
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"


class Screen(Display):
    """Draws on standard error."""

    interval = INTERVAL

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()
        self._drawn = 0.0
        self._height = 0
        self._hidden = False
        self._ended: list[str] = []
        self._colours = paint.wanted(2)
        self._clocks: dict[int, float] = {}
        restore_first()

    def tick(self) -> None:
        """Draw, if it is time to."""
        now = time.monotonic()
        if now - self._drawn >= self.interval and now - self._began >= self.interval:
            self._draw(now)

    def started(self, step: Step) -> None:
        """From now on it is among those that run."""
        self._clocks[step.number] = time.monotonic()
        self.tick()

    def cached(self, step: Step) -> None:
        """It goes by, dimmed."""
        self._end(step, "cached", paint.DIM, "\N{HEAVY CHECK MARK}")

    def finished(self, step: Step, error: str) -> None:
        """It goes by."""
        mark, colour = ("\N{HEAVY BALLOT X}", paint.RED) if error else ("\N{HEAVY CHECK MARK}", "")
        self._end(step, f"{step.seconds:.1f}s", colour, mark)

    def canceled(self, step: Step) -> None:
        """It goes by."""
        self._end(step, "canceled", paint.YELLOW, "\N{HEAVY BALLOT X}")

    def printed(self, step: Step, lines: list[str], seconds: float) -> None:
        """The last lines are in `tail`."""
        del step, lines, seconds
        self.tick()

    def progressed(self, step: Step, trace: Json) -> None:
        """It is in `doing`."""
        del step, trace
        self.tick()

    def warned(self, step: Step, text: str) -> None:
        """Above what runs."""
        del step
        self._ended.append(self._paint(f" ! {without_colours(text)}", paint.YELLOW))
        self.tick()

    def close(self) -> None:
        """Draw for the last time; nothing runs any more."""
        self._draw(time.monotonic(), running=False)

    def _end(self, step: Step, right: str, colour: str, mark: str) -> None:
        self._clocks.pop(step.number, None)
        width = self.size()[1]
        self._ended.append(self._paint(_row(f" {mark} {_flat(step.name)}", right, width), colour))
        self.tick()

    def _draw(self, now: float, *, running: bool = True) -> None:
        self._drawn = now
        rows = self._running(now) if running else []
        above = f"\x1b[{self._height}A\r" if self._height else ""
        body = "".join(line + _REST + "\n" for line in (*self._ended, *rows))
        hide = _HIDE if rows and not self._hidden else _SHOW if not rows and self._hidden else ""
        self._hidden = self._hidden or bool(rows)  # a signal may come as soon as it is
        if hide or body or above:
            _write(hide + above + body + _CLEAR)
        self._ended.clear()
        self._height = len(rows)
        self._hidden = bool(rows)

    def _running(self, now: float) -> list[str]:
        height, width = self.size()
        rows: list[str] = []
        running = self.running
        room = min(_LINES, (height - 3) // len(running) - 1) if running else 0
        for step in running:
            seconds = now - self._clocks.get(step.number, now)
            rows.append(
                self._paint(
                    _row(f" \N{BLACK CIRCLE} {_flat(step.name)}", f"{seconds:.1f}s", width),
                    paint.CYAN,
                )
            )
            said = [cut(f"     {_flat(line)}", width - 1) for line in _saying(step, room)]
            rows += [self._paint(line, paint.DIM) for line in said]
        done, cached = self.counts
        status = f" {done} of {len(self.counted)} steps, {cached} from cache, {now - self._began:.1f} s"
        rows.append(cut(status, width - 1))
        return rows[-max(height - 2, 1) :]

    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return terminal.size(2) or (24, 80)

    def _paint(self, text: str, colour: str) -> str:
        return paint.paint(text, colour) if colour and self._colours else text


def _write(text: str) -> None:
    try:
        write_all(2, text.encode("utf-8", "replace"))
    except OSError:
        pass  # the terminal has hung up: its signal tells


def _saying(step: Step, room: int) -> list[str]:
    """The last lines of a step, with one that has not ended yet: bars of progress write over themselves."""
    if room <= 0:
        return []
    begun = shown(step.partial[-_BEGUN:]) if step.partial else ""
    lines = [*step.tail, begun] if begun.strip() else step.tail
    if not lines and step.doing:
        return [step.doing]
    return lines[-room:]


def _flat(text: str) -> str:
    """Without colours, and with blanks for tabs: a terminal that jumps to a column leaves what was there."""
    return without_colours(text).expandtabs()


def _row(left: str, right: str, width: int) -> str:
    room = max(width - len(right) - 2, 10)
    left = cut(left, room, "\N{HORIZONTAL ELLIPSIS}")
    return left + " " * (room - columns(left)) + " " + right


def usable() -> bool:
    """Whether standard error is a terminal that can be drawn on."""
    return os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"
