"""A table that is drawn again in place: without flicker, within the window, with a little colour."""

from __future__ import annotations

import os

from carboy.cli import terminal
from carboy.cli.printable import harmless
from carboy.cli.session import write_all
from carboy.cli.signals import restore_first
from carboy.cli.stats import Paper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.session import Session

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_BOLD, _YELLOW, _RED, _PLAIN = "\x1b[1m", "\x1b[33m", "\x1b[31m", "\x1b[0m"
_WARM, _HOT = 70.0, 90.0


class Screen(Paper):
    """The whole screen: each drawing overwrites the last one line by line and is sent as one write."""

    def __init__(self, session: Session, template: str) -> None:
        super().__init__(session, template)
        self._colours = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._drawn = False
        restore_first()

    def draw(self, rows: list[dict[str, str]]) -> None:
        """Draw everything anew."""
        height, width = terminal.size(1) or (24, 80)
        lines = [harmless(line) for line in self.lines(rows)]
        hidden = len(lines) - height
        if hidden > 0:
            lines = [*lines[: height - 1], f"... and {hidden + 1} more: a higher window shows them"]
        text = [self._painted(line[:width], index, rows) for index, line in enumerate(lines)]
        start = _HIDE + _HOME if self._drawn else _HIDE + _HOME + _REST_OF_SCREEN
        self._drawn = True
        body = "\n".join(line + _REST_OF_LINE for line in text)
        write_all(1, (start + body + _REST_OF_SCREEN).encode("utf-8", "replace"))

    def close(self) -> None:
        """Show the cursor again, below what was drawn."""
        if self._drawn:
            try:
                write_all(1, (_SHOW + "\n").encode())
            except OSError:
                pass  # it has hung up

    def _painted(self, line: str, index: int, rows: list[dict[str, str]]) -> str:
        if not self._colours or self.template not in ("", "table"):
            return line
        if index == 0:
            return _BOLD + line + _PLAIN
        if index > len(rows):
            return line
        load = max(_number(rows[index - 1]["CPUPerc"]), _number(rows[index - 1]["MemPerc"]))
        colour = _RED if load >= _HOT else _YELLOW if load >= _WARM else ""
        return colour + line + _PLAIN if colour else line


def _number(text: str) -> float:
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        return 0.0
