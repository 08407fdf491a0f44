"""One line of a log as other log services take it: syslog's formats, and journald's own protocol.

    unix         <30>Jan  2 03:04:05 tag[123]: text           what syslog(3) writes
    rfc3164      <30>Jan  2 03:04:05 host tag[123]: text
    rfc5424      <30>1 2026-01-02T03:04:05+01:00 host tag 123 tag - text     (…micro: with microseconds)

Times arrive broken down, as `time.localtime` gives them: this module has no clock.
"""

from __future__ import annotations

from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from time import struct_time

FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")

FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("", "", "", ""),
    *(f"local{number}" for number in range(8)),
)
"""Names by number; the empty ones have a number only."""

SEVERITY = {1: 6, 2: 3}
"""Docker's: what comes from stdout is information, from stderr an error."""

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def syslog_head(
    kind: str,
    stream: int,
    *,
    facility: int,
    moment: struct_time,
    microsecond: int,
    hostname: str,
    tag: str,
    pid: int,
) -> bytes:
    """What stands before the text, in one of FORMATS."""
    priority = facility << 3 | SEVERITY[stream]
    if kind.startswith("rfc5424"):
        digits = f".{microsecond:06d}" if kind == "rfc5424micro" else ""
        date = (
            f"{moment.tm_year:04d}-{moment.tm_mon:02d}-{moment.tm_mday:02d}T"
            f"{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}{digits}{_zone(moment.tm_gmtoff)}"
        )
        return f"<{priority}>1 {date} {hostname} {tag} {pid} {tag} - ".encode()
    date = (
        f"{_MONTHS[moment.tm_mon - 1]} {moment.tm_mday:2d} "
        f"{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}"
    )
    host = f"{hostname} " if kind == "rfc3164" else ""
    return f"<{priority}>{date} {host}{tag}[{pid}]: ".encode()


def _zone(offset: int) -> str:
    if not offset:
        return "Z"
    sign = "+" if offset > 0 else "-"
    hours, minutes = divmod(abs(offset) // 60, 60)
    return f"{sign}{hours:02d}:{minutes:02d}"


def journal_field(name: str, value: bytes) -> bytes:
    """One field of a datagram for journald; a value with newlines goes with its length."""
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def journal_name(text: str) -> str:
    """The name of a field for a label or a variable: capitals, digits and inner underscores."""
    kept = "".join(
        one.upper() if one.isascii() and one.isalnum() else "_"  # whatever else becomes an underscore
        for one in text
    )
    return kept.lstrip("_")


def facility_number(unsafe_name: str) -> int:
    """The number of a facility's name or number; raises InvalidArgument for neither."""
    if not unsafe_name:
        return FACILITIES.index("daemon")
    if unsafe_name in FACILITIES:
        return FACILITIES.index(unsafe_name)
    if unsafe_name.isascii() and unsafe_name.isdigit() and len(unsafe_name) < 4 and int(unsafe_name) < 24:
        return int(unsafe_name)
    raise InvalidArgument("invalid syslog facility")
