"""Places in a Dockerfile, and errors that point at them.

Lines count from 1 and columns from 0, in characters; ends are exclusive.  A logical line that was
continued lies on several physical lines: one `Span` for each.
"""

from __future__ import annotations

import msgspec

from carboy.errors import InvalidArgument

MAX_SHOWN_LINES = 4
"""Source lines that an error shows at most."""
MAX_SHOWN_COLUMNS = 160
"""What is longer is cut, so that a hostile line of a megabyte does not fill the terminal."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """A stretch of one physical line."""

    line: int
    start: int
    end: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything a Dockerfile may have; what is beyond is refused, not cut."""

    text: int = 1 << 20
    """Characters (or bytes, when bytes are given) of the whole file."""
    instructions: int = 50_000
    heredocs: int = 1_000
    """Of one instruction."""
    words: int = 100_000
    """Arguments of one instruction."""
    stages: int = 5_000
    expanded: int = 1 << 20
    """Characters of one word after its variables are replaced."""
    expanded_together: int = 64 << 20
    """Of all words that have variables: what `ENV A=$B$B` again and again may fill."""
    depth: int = 32
    """`${a:-${b:-…}}` inside each other."""


DEFAULT_LIMITS = Limits()


class Remark(msgspec.Struct, frozen=True):
    """Something that works and should not stay: `rule` is the name of Docker's lint rule."""

    rule: str
    message: str
    spans: tuple[Span, ...]


class DockerfileError(InvalidArgument):
    """A Dockerfile that cannot be understood: says what, where, and when known what to do.

    `str()` is one line, as BuildKit words it; `pointed()` shows the text.
    """

    def __init__(self, message: str, spans: tuple[Span, ...] = (), *, mend: str = "") -> None:
        self.message = printable(message)
        self.spans = spans
        self.mend = mend
        where = f"dockerfile parse error on line {spans[0].line}: " if spans else ""
        super().__init__(where + self.message + (f": {mend}" if mend else ""))

    @property
    def line(self) -> int:
        """The first line that is meant, 0 when the file as a whole is."""
        return self.spans[0].line if self.spans else 0

    def pointed(self, text: str, *, name: str = "Dockerfile") -> str:
        """The message with the source lines below it and marks under what is meant."""
        return (
            f"{name}:{self.line or 1}: {self.message}"
            + (f"\n{point(text, self.spans)}" if self.spans else "")
            + (f"\n{self.mend}" if self.mend else "")
        )


def point(text: str, spans: tuple[Span, ...]) -> str:
    """Source lines, numbered, with marks under the spans."""
    lines = text.removeprefix("\ufeff").split("\n")
    width = len(str(spans[min(len(spans), MAX_SHOWN_LINES) - 1].line)) if spans else 1
    shown = []
    for span in spans[:MAX_SHOWN_LINES]:
        whole = lines[span.line - 1].rstrip("\r") if 0 < span.line <= len(lines) else ""
        line = printable(whole[:MAX_SHOWN_COLUMNS])
        # Tabs stay tabs below the line, so that the marks stand where the text does.
        lead = "".join("\t" if one == "\t" else " " for one in line[: span.start])
        marks = "^" * max(1, min(span.end, len(line)) - span.start)
        shown.append(f"{span.line:>{width}} | {line}\n{'':>{width}} | {lead}{marks}")
    if len(spans) > MAX_SHOWN_LINES:
        shown.append("…")
    return "\n".join(shown)


def printable(text: str) -> str:
    """Text without what a terminal would obey or an encoder would refuse."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\t" else "\ufffd" for one in text)


def distance(one: str, other: str) -> int:
    """How many letters are added, removed, changed or swapped with their neighbour."""
    older: list[int] = []
    old = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        new = [row]
        for place, another in enumerate(other, 1):
            cost = min(old[place] + 1, new[-1] + 1, old[place - 1] + (letter != another))
            if row > 1 and place > 1 and letter == other[place - 2] and one[row - 2] == another:
                cost = min(cost, older[place - 2] + 1)
            new.append(cost)
        older, old = old, new
    return old[-1]


def suggestion(unsafe_word: str, known: tuple[str, ...]) -> str:
    """ " (did you mean FROM?)" when a known word is near, else nothing."""
    word = unsafe_word.lower()
    if not known or not 1 < len(word) <= 40:
        return ""
    near = min((distance(word, each.lower()), each) for each in sorted(known))
    return f" (did you mean {near[1]}?)" if near[0] <= (1 if len(word) <= 3 else 2) else ""
