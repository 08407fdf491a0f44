"""Times and sizes as Docker prints them in its tables."""

from __future__ import annotations

_DAYS_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


def duration(seconds: float) -> str:
    """ "About a minute", "5 hours": go-units' HumanDuration."""
    if seconds < 1:
        return "Less than a second"
    whole = int(seconds)
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"


def size(count: float, precision: int = 3) -> str:
    """ "1.23MB": decimal units, three significant digits (go-units' HumanSize)."""
    units = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
    index = 0
    while count >= 1000 and index < len(units) - 1:
        count /= 1000
        index += 1
    return _significant(count, precision) + units[index]


def binary_size(count: float) -> str:
    """ "15.62GiB": binary units, four significant digits (go-units' BytesSize)."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
    index = 0
    while count >= 1024 and index < len(units) - 1:
        count /= 1024
        index += 1
    return _significant(count, 4) + units[index]


def _significant(value: float, digits: int) -> str:
    return f"{value:.{digits}g}"


def unix_time(timestamp: str) -> float:
    """Seconds since 1970 from RFC 3339; 0.0 for the zero time and for what is no time.

    Written out because `datetime` costs 3 ms to import, a seventh of what `ps` may take.
    """
    try:
        year, month, day = int(timestamp[0:4]), int(timestamp[5:7]), int(timestamp[8:10])
        clock = int(timestamp[11:13]) * 3600 + int(timestamp[14:16]) * 60 + int(timestamp[17:19])
        rest = timestamp[19:]
        fraction = ""
        if rest[:1] == ".":
            fraction = rest[1 : len(rest) - len(rest[1:].lstrip("0123456789"))]
            rest = rest[1 + len(fraction) :]
        offset = 0
        if rest and rest not in "Zz":
            offset = (int(rest[1:3]) * 3600 + int(rest[4:6]) * 60) * (1 if rest[0] == "+" else -1)
        if year <= 1 or not 1 <= month <= 12:
            return 0.0
    except (ValueError, IndexError):
        return 0.0
    leap = year - (month <= 2)
    days = (year - 1970) * 365 + _DAYS_BEFORE[month - 1] + day - 1
    days += leap // 4 - leap // 100 + leap // 400 - 477
    return days * 86400 + clock - offset + (float("0." + fraction) if fraction else 0.0)


def ago(seconds: float, now: float) -> str:
    """ "5 minutes ago", or N/A for what has no time."""
    return duration(now - seconds) + " ago" if seconds else "N/A"
