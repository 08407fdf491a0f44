"""What a build tells, shown: `--progress plain`, `quiet` and `rawjson`; buildscreen.py draws on terminals.

    daemon ── {"id":"carboy.trace","aux":{"Kind":…}} ──▶ Display.take(kind, trace) ──▶ standard error

Plain is laid out as BuildKit's: `#5 [2/4] RUN make`, `#5 0.123 text`, `#5 CACHED`, `#5 DONE 0.3s`.
"""

from __future__ import annotations

import os
from binascii import a2b_base64

from carboy.cli.session import write_all
from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.document import Json

_CANCELED = "cancelled"
TAIL = 30
"""Lines of a failed step that are shown again at the end."""


class Step:
    """One step, as far as the client has been told."""

    def __init__(self, facts: Json) -> None:
        self.name = document.text(facts, "Name")
        begins = self.name == "scratch" or self.name.startswith("[internal]") or "] FROM " in self.name
        self.makes = not begins
        """Whether there is something to do: bases and contexts are there."""
        self.number = 0
        """By which people see it: in the order of beginning."""
        self.began = 0.0
        self.seconds = 0.0
        self.state = ""
        """running, cached, done, failed, canceled."""
        self.reasons: list[str] = []
        self.tail: list[str] = []
        """The last lines that were printed."""
        self.doing = ""
        """How far a transfer is."""
        self.partial = b""
        """The beginning of a line."""


class Display:
    """Keeps what is known of every step; the kinds of showing are its subclasses.  This one shows nothing."""

    interval = 0.0
    """Seconds between ticks; 0: it needs none."""

    def __init__(self) -> None:
        self.steps: dict[int, Step] = {}
        self.warnings: list[str] = []
        self.failure: Json = {}
        self.result: Json = {}
        self._numbered = 0

    def take(self, trace: Json) -> None:
        """One thing happened."""
        kind = document.text(trace, "Kind")
        if kind == "vertices":
            for facts in document.children(trace, "Vertices"):
                self.steps[document.number(facts, "Index")] = Step(facts)
            return
        if kind == "failed":
            self.failure = trace
        elif kind == "result":
            self.result = trace
        elif kind == "warning":
            text = document.text(trace, "Text").removeprefix("[Warning] ")
            self.warnings.append(text)
            self.warned(self._step(trace), text)
        else:
            self._of_step(kind, self._step(trace), trace)

    def _of_step(self, kind: str, step: Step, trace: Json) -> None:
        match kind:
            case "started":
                step.began, step.state = _time(trace), "running"
                self._number(step)
                self.started(step)
            case "cached":
                step.state = "cached"
                self._number(step)
                self.cached(step)
            case "explained":
                step.reasons = document.strings(trace, "Reasons")
            case "output":
                self._output(step, trace)
            case "progress":
                step.doing = _progress(trace)
                self.progressed(step, trace)
            case "finished":
                self._finish(step, trace)
            case _:
                pass  # of a newer daemon

    def _finish(self, step: Step, trace: Json) -> None:
        if step.partial:
            self._lines(step, step.partial + b"\n", _time(trace))
            step.partial = b""
        if step.state == "cached":
            return
        step.seconds = _seconds(trace) or max(_time(trace) - step.began, 0.0)
        error = document.text(trace, "Text")
        if error == _CANCELED:  # another one failed
            self._cancel(step)
            return
        step.state = "failed" if error else "done"
        self.finished(step, error)

    def _output(self, step: Step, trace: Json) -> None:
        try:
            data = step.partial + a2b_base64(document.text(trace, "Data"))
        except ValueError:
            return
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > 1 << 16:
            cut = len(data)
        step.partial = data[cut:]
        if cut:
            self._lines(step, data[:cut], _time(trace))
        else:
            self.tick()

    def _lines(self, step: Step, data: bytes, now: float) -> None:
        lines = [shown(line) for line in data.removesuffix(b"\n").split(b"\n")]
        step.tail = [*step.tail, *lines[-TAIL:]][-TAIL:]
        self.printed(step, lines, max(now - step.began, 0.0))

    def _number(self, step: Step) -> None:
        if not step.number:
            self._numbered += 1
            step.number = self._numbered

    def _step(self, trace: Json) -> Step:
        index = document.number(trace, "Vertex") if "Vertex" in trace else -1
        step = self.steps.get(index)
        if step is None:
            step = Step({})
            if index >= 0:
                step = self.steps[index] = Step({"Name": f"step {index}"})
        return step

    @property
    def counts(self) -> tuple[int, int]:
        """(steps that have ended, those of them that came from the cache); what is only there counts not."""
        states = [step.state for step in self.counted]
        cached = states.count("cached")
        return cached + states.count("done") + states.count("failed"), cached

    @property
    def counted(self) -> list[Step]:
        """The steps that make something."""
        return [step for step in self.steps.values() if step.makes]

    @property
    def failed_step(self) -> Step | None:
        """The first step that failed."""
        found = [step for step in self.steps.values() if step.state == "failed"]
        return min(found, key=lambda step: step.number) if found else None

    @property
    def running(self) -> list[Step]:
        """The steps that run now."""
        return [step for step in self.steps.values() if step.state == "running"]

    def tick(self) -> None:
        """Time has passed."""

    def interrupted(self) -> None:
        """The user does not want to wait for the end."""
        for step in self.running:
            self._cancel(step)

    def _cancel(self, step: Step) -> None:
        step.state = "canceled"
        self.canceled(step)

    def started(self, step: Step) -> None: ...

    def cached(self, step: Step) -> None: ...

    def printed(self, step: Step, lines: list[str], seconds: float) -> None: ...

    def progressed(self, step: Step, trace: Json) -> None: ...

    def finished(self, step: Step, error: str) -> None: ...

    def canceled(self, step: Step) -> None: ...

    def warned(self, step: Step, text: str) -> None: ...

    def close(self) -> None:
        """No more comes."""


class Raw(Display):
    """Every trace as a line of JSON."""

    def take(self, trace: Json) -> None:
        """Print it as it came."""
        super().take(trace)
        write_all(2, document.encode(trace) + b"\n")


class Plain(Display):
    """Lines, as BuildKit's plain progress."""

    def __init__(self) -> None:
        super().__init__()
        self._current: Step | None = None

    def started(self, step: Step) -> None:
        """Its name; beside another step only once it says something."""
        if self._current is None:
            self._head(step)

    def cached(self, step: Step) -> None:
        """Its name and CACHED."""
        self._head(step)
        self._end(step, "CACHED")

    def printed(self, step: Step, lines: list[str], seconds: float) -> None:
        """Every line with the seconds since the step began."""
        self._head(step)
        self._write("".join(f"#{step.number} {seconds:.3f} {line}\n" for line in lines))

    def progressed(self, step: Step, trace: Json) -> None:
        """Only the end of a transfer is worth a line in a log."""
        total = document.number(trace, "Total")
        if total and document.number(trace, "Current") >= total:
            self._head(step)
            self._write(f"#{step.number} {_spared(step.doing)}\n")

    def finished(self, step: Step, error: str) -> None:
        """DONE and seconds, or ERROR and why."""
        self._head(step)
        self._end(step, f"ERROR: {_spared(error)}" if error else f"DONE {step.seconds:.1f}s")

    def canceled(self, step: Step) -> None:
        """CANCELED, as BuildKit says it."""
        self._head(step)
        self._end(step, "CANCELED")

    def warned(self, step: Step, text: str) -> None:
        """A line of its own."""
        where = ""
        if step.number:
            self._head(step)
            where = f"#{step.number} "
        self._write(f"{where}WARNING: {_spared(text)}\n")

    def _head(self, step: Step) -> None:
        if self._current is step:
            return
        if self._current is not None:
            self._write(f"#{self._current.number} ...\n\n")
        self._current = step
        self._write(f"#{step.number} {shown(step.name.encode('utf-8', 'surrogateescape'))}\n")

    def _end(self, step: Step, text: str) -> None:
        self._write(f"#{step.number} {text}\n\n")
        self._current = None

    def _write(self, text: str) -> None:
        write_all(2, text.encode("utf-8", "surrogateescape"))


def shown(line: bytes) -> str:
    """A line of a program's output: what it wrote last over itself, harmless on a terminal."""
    line = line.rstrip(b"\r")
    return _spared(line[line.rfind(b"\r") + 1 :].decode("utf-8", "replace"))


def _spared(text: str) -> str:
    """The text as it may be shown: a terminal is spared what would command it."""
    return text if text.isprintable() or not os.isatty(2) else without_colours(text)


def without_colours(text: str) -> str:
    """Escape sequences left out, other control characters marked."""
    from carboy.cli.printable import harmless

    kept, *escaped = text.split("\x1b")
    rests = [one[1:].lstrip("0123456789;:?<=>")[1:] if one[:1] == "[" else one[1:] for one in escaped]
    return harmless(kept + "".join(rests))


def _progress(trace: Json) -> str:
    from carboy.formats import human

    current, total = document.number(trace, "Current"), document.number(trace, "Total")
    text = document.text(trace, "Text")
    if total > 1:  # 1 of 1: a state, no transfer
        return f"{text} {human.size(current)} / {human.size(total)}".strip()
    return f"{text} {human.size(current)}".strip() if current and not total else text


def _time(trace: Json) -> float:
    value = trace.get("Time")
    return float(value) if isinstance(value, int | float) else 0.0


def _seconds(trace: Json) -> float:
    value = trace.get("Seconds")
    return float(value) if isinstance(value, int | float) else 0.0
