"""What people see of a step, and what an image's history says: the forms that BuildKit made usual.

    [linux/arm64 build 2/5] RUN make        a vertex: platform (of several), stage, place, instruction
    RUN |1 VERSION=2 /bin/sh -c make # buildkit     a line of history

Texts hold no credentials of addresses, and a secret that comes in a variable is `****`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from carboy.build.frontend.addresses import redacted
from carboy.errors import InvalidArgument
from carboy.formats import reference as references
from carboy.formats.dockerapi.containers import HealthConfig
from carboy.formats.dockerfile.instructions import CommandLine, is_lone_heredoc
from carboy.formats.dockerfile.nodes import Node
from carboy.formats.dockerfile.words import Lexer, WordError

MARK = " # buildkit"
"""Behind the history of a step that was run or copied: tools look for it."""

_LONGEST_NAME = 4096
_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    "\\": "\\\\", '"': '\\"',
}  # fmt: skip


class Names:
    """Texts of instructions with their variables replaced."""

    def __init__(self, escape: str) -> None:
        self._words = Lexer(escape)
        self._raw = Lexer(escape, raw_quotes=True, keep_unset=True)

    def of_run(self, node: Node, command: CommandLine, variables: Mapping[str, str]) -> str:
        """A RUN: quotes stay, and so do variables that its shell may know."""
        text = node.source
        if command.heredocs and command.arguments and is_lone_heredoc(command.arguments[0]):
            lines = command.heredocs[0].content.strip().replace("\r\n", "\n").split("\n")
            text += f" ({lines[0]}{'...' if len(lines) > 1 else ''})"
        return _shown(self._raw, text, variables)

    def of_other(self, node: Node, variables: Mapping[str, str]) -> str:
        """Any other."""
        return _shown(self._words, node.source, variables)


def _shown(lexer: Lexer, text: str, variables: Mapping[str, str]) -> str:
    try:
        text = lexer.expand(text, variables).text
    except WordError:
        pass  # it is for people only: as written, then
    keyword, blank, rest = text.partition(" ")
    return redacted(keyword.upper() + blank + rest)[:_LONGEST_NAME]


def image_name(unsafe_reference: str) -> str:
    """The whole name of an image; as written when it is none."""
    try:
        return str(references.parse(unsafe_reference).tagged())
    except InvalidArgument:
        return unsafe_reference


def context_key(unsafe_name: str) -> str:
    """One spelling of all names of an image: `debian` for `docker.io/library/debian:latest`, too."""
    try:
        return references.parse(unsafe_name).tagged().familiar.removesuffix(":latest")
    except InvalidArgument:
        return unsafe_name.lower()


def pairs(name: str, values: Iterable[tuple[str, str]]) -> str:
    """`ENV A=1 B=2`."""
    return " ".join((name, *(f"{key}={value}" for key, value in values)))


def quoted(words: Sequence[str]) -> str:
    """`["a" "b"]`."""
    return "[" + " ".join([_quote(word) for word in words]) + "]"


def listed(words: Sequence[str]) -> str:
    """`[a b]`."""
    return "[" + " ".join(words) + "]"


def _quote(text: str) -> str:
    return '"' + "".join([_ESCAPES.get(one) or _visible(one) for one in text]) + '"'


def _visible(one: str) -> str:
    if one.isprintable():
        return one
    code = ord(one)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def health(check: HealthConfig) -> str:
    """A HEALTHCHECK in history."""
    return (
        f"HEALTHCHECK {{Test:{listed(check.test)} Interval:{duration(check.interval)} "
        f"Timeout:{duration(check.timeout)} StartPeriod:{duration(check.start_period)} "
        f"StartInterval:{duration(check.start_interval)} Retries:{check.retries}}}"
    )


def duration(nanoseconds: int) -> str:
    """As Go prints a time.Duration: `1m30s`, `1.5s`, `100ms`, `0s`."""
    if nanoseconds == 0:
        return "0s"
    sign = "-" if nanoseconds < 0 else ""
    rest = abs(nanoseconds)
    for limit, unit, name in ((10**3, 1, "ns"), (10**6, 10**3, "µs"), (10**9, 10**6, "ms")):
        if rest < limit:
            return f"{sign}{_decimal(rest, unit)}{name}"
    seconds, rest = rest % (60 * 10**9), rest // (60 * 10**9)
    hours, minutes = divmod(rest, 60)
    text = f"{_decimal(seconds, 10**9)}s"
    if rest:
        text = f"{minutes}m{text}"
    return sign + (f"{hours}h{text}" if hours else text)


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = len(str(unit)) - 1
    return str(whole) + (f".{rest:0{digits}d}".rstrip("0") if rest else "")
