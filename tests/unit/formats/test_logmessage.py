"""Lines for syslog and journald."""

from __future__ import annotations

import time

import pytest

from carboy.errors import InvalidArgument
from carboy.formats import logmessage

MOMENT = time.struct_time((2026, 1, 2, 3, 4, 5, 4, 2, 0, "CET", 3600))


def head(kind: str, stream: int = 1) -> bytes:
    return logmessage.syslog_head(
        kind, stream, facility=3, moment=MOMENT, microsecond=7, hostname="h", tag="web", pid=9
    )


def test_the_formats_of_syslog() -> None:
    assert head("") == b"<30>Jan  2 03:04:05 web[9]: "
    assert head("rfc3164", 2) == b"<27>Jan  2 03:04:05 h web[9]: "
    assert head("rfc5424") == b"<30>1 2026-01-02T03:04:05+01:00 h web 9 web - "
    assert head("rfc5424micro") == b"<30>1 2026-01-02T03:04:05.000007+01:00 h web 9 web - "


def test_facilities() -> None:
    assert [logmessage.facility_number(name) for name in ("", "kern", "local7", "13")] == [3, 0, 23, 13]
    for wrong in ("x", "24", "-1", "²"):
        with pytest.raises(InvalidArgument, match="invalid syslog facility"):
            logmessage.facility_number(wrong)


def test_fields_for_the_journal() -> None:
    assert logmessage.journal_field("A", b"x=1") == b"A=x=1\n"
    assert logmessage.journal_field("A", b"x\ny") == b"A\n\x03\0\0\0\0\0\0\0x\ny\n"
    assert logmessage.journal_name("_com.example-é1") == "COM_EXAMPLE__1"
