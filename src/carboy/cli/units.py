"""Sizes and durations as users write them: 512m, 1.5g, 1h30m, and timestamps."""

from __future__ import annotations

from carboy.errors import InvalidArgument

_SIZES = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATIONS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_END = 1 << 63
"""The API's integers end before it."""


def parse_size(unsafe_text: str, what: str) -> int:
    """Bytes from `512m`, `1.5g`, `64KiB`: binary units, as Docker's memory flags have them."""
    text = unsafe_text.strip().lower()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(digits) :].strip()
    for ending in ("ib", "b"):
        if len(unit) > len(ending) and unit.endswith(ending):
            unit = unit[: -len(ending)]
            break
    if unit not in _SIZES or not _is_decimal(digits):
        raise InvalidArgument(f"invalid {what} {unsafe_text!r}: write a number with b, k, m or g, as 512m")
    size = float(digits) * 1024 ** _SIZES[unit]
    if size >= _END:
        raise InvalidArgument(f"invalid {what} {unsafe_text[:80]!r}: it does not fit into 64 bits")
    return int(size)


def parse_duration(unsafe_text: str, what: str) -> int:
    """Nanoseconds from Go's `1h30m`, `300ms`, `1.5s`."""
    total, rest = 0.0, unsafe_text.strip()
    negative = rest[:1] == "-"
    rest = rest.lstrip("+-")
    if rest == "0":
        return 0
    valid = bool(rest)
    while rest and valid:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(digits) :]
        unit = rest[: len(rest) - len(rest.lstrip("nsuµmh"))]
        while unit and unit not in _DURATIONS:
            unit = unit[:-1]
        valid = bool(unit) and _is_decimal(digits)
        if valid:
            total += float(digits) * _DURATIONS[unit]
            rest = rest[len(unit) :]
    if not valid or total >= _END:
        raise InvalidArgument(f"invalid {what} {unsafe_text!r}: write a duration as 300ms, 10s or 1h30m")
    return -round(total) if negative else round(total)


def parse_cpus(unsafe_text: str) -> int:
    """NanoCpus from `1.5`."""
    if not _is_decimal(unsafe_text):
        raise InvalidArgument(f"invalid --cpus {unsafe_text!r}: write a number as 1.5")
    count = float(unsafe_text) * 10**9
    if count >= _END:
        raise InvalidArgument(f"invalid --cpus {unsafe_text[:80]!r}: it does not fit into 64 bits")
    return round(count)


def parse_time(unsafe_text: str, now: float, what: str) -> str:
    """A timestamp for the API (`seconds.nanoseconds`) from a time, a Unix time, or how long ago."""
    text = unsafe_text.strip()
    if _is_decimal(text):
        return text
    try:
        ago = parse_duration(text, what)
    except InvalidArgument:
        return _parse_date(text, what)
    return f"{now - ago / 1e9:.9f}"


def _parse_date(text: str, what: str) -> str:
    from datetime import datetime  # costs 3 ms: only for absolute times

    try:
        # without a zone: local time, as Docker
        return f"{datetime.fromisoformat(text).timestamp():.9f}"
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(
            f'{what}: failed to parse value as time or duration: "{text}": '
            "write 2024-01-31T12:00:00Z, 42m or Unix seconds"
        ) from error


def _is_decimal(text: str) -> bool:
    whole, point, fraction = text.partition(".")
    return (
        (whole + fraction).isascii()
        and (whole + fraction).isdigit()
        and (not point or bool(fraction) or bool(whole))
    )
