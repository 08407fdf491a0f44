"""Times as the Docker Engine API writes and takes them.

Inside Carboy a moment is an integer: nanoseconds since the epoch.
"""

from datetime import UTC, datetime

from carboy.errors import InvalidArgument

ZERO_TIME = "0001-01-01T00:00:00Z"
"""Go's zero time: what Docker shows for something that has not happened."""

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def rfc3339(nanoseconds: int) -> str:
    """The moment as text, UTC, with as many digits of the second as it needs (Go's RFC3339Nano)."""
    seconds, rest = divmod(nanoseconds, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{text}{fraction}Z"


def parse_rfc3339(unsafe_text: str) -> int:
    """Nanoseconds since the epoch; a text without a zone is UTC.  Raises InvalidArgument."""
    head, dot, tail = unsafe_text.partition(".")
    digits = ""
    if dot:
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        head += tail[len(digits) :]
    try:
        moment = datetime.fromisoformat(head)
        fraction = int(digits[:9].ljust(9, "0")) if digits else 0
        return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * 10**9 + fraction
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(f"invalid time {unsafe_text[:80]!r}: expected RFC 3339") from error


def parse_duration(unsafe_text: str) -> int:
    """Nanoseconds of a Go duration (`1h30m`, `1.5s`); raises InvalidArgument."""
    text = unsafe_text.lstrip("+-")
    total = 0.0
    rest = text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        after = rest[len(number) :]
        unit = after[: len(after) - len(after.lstrip("nuµmsh"))]
        unit = unit if unit in _UNITS else unit[:1]
        if not number.strip(".") or number.count(".") > 1 or unit not in _UNITS:
            raise InvalidArgument(f"invalid duration {unsafe_text[:80]!r}: expected something like 1h30m")
        total += float(number) * _UNITS[unit]
        rest = after[len(unit) :]
    if not text:
        raise InvalidArgument("invalid duration: it is empty")
    if total >= 1 << 63:  # as in Go; 292 years
        raise InvalidArgument(f"invalid duration {unsafe_text[:80]!r}: it is too long")
    return -int(total) if unsafe_text.startswith("-") else int(total)


def parse_moment(unsafe_text: str, *, now: int) -> int:
    """A `since` or `until`: a Unix time (`1700000000.5`), RFC 3339, or a duration before `now`."""
    seconds, dot, fraction = unsafe_text.partition(".")
    if seconds.lstrip("-").isdecimal() and seconds.isascii() and len(seconds) <= 15:
        if dot and not (fraction.isdecimal() and fraction.isascii()):
            raise InvalidArgument(f"invalid time {unsafe_text[:80]!r}")
        return int(seconds) * 10**9 + int((fraction or "0")[:9].ljust(9, "0"))
    if len(unsafe_text) >= 10 and unsafe_text[4:5] == "-":
        return parse_rfc3339(unsafe_text)
    return now - parse_duration(unsafe_text)
