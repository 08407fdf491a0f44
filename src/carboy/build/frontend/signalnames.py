"""What STOPSIGNAL takes: a number, or a name with or without SIG."""

from __future__ import annotations

import re
import signal

_HIGHEST = 64
_REALTIME = re.compile(r"RT(?:MIN(?:\+([0-9]{1,2}))?|MAX(?:-([0-9]{1,2}))?)")
_SPAN_MIN, _SPAN_MAX = 15, 14
"""Names reach from RTMIN to RTMIN+15 and from RTMAX-14 to RTMAX, as in Docker's table."""


def is_signal(unsafe_text: str) -> bool:
    """Whether a container could be sent it."""
    if unsafe_text.isascii() and unsafe_text.isdigit():
        return len(unsafe_text) <= 3 and 0 < int(unsafe_text) <= _HIGHEST
    name = unsafe_text.upper().removeprefix("SIG")
    match = _REALTIME.fullmatch(name)
    if match:
        return int(match[1] or 0) <= _SPAN_MIN and int(match[2] or 0) <= _SPAN_MAX
    return "SIG" + name in signal.Signals.__members__
