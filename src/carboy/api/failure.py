"""Errors to statuses: the one place where that is decided."""

from __future__ import annotations

import errno
import logging

from carboy.api.reply import Reply
from carboy.errors import CarboyError
from carboy.formats.dockerapi.wire import encode

_log = logging.getLogger(__name__)


def reply_to(error: Exception) -> Reply:
    """What a client is told of an error; unforeseen ones are logged with their traceback."""
    status, text = describe(error)
    if status == 304:
        return Reply(status=304)
    return Reply(status=status, body=encode({"message": text}) + b"\n", content_type="application/json")


def describe(error: Exception) -> tuple[int, str]:
    """The status and the text of an error."""
    if isinstance(error, CarboyError):
        return error.status, str(error)
    if isinstance(error, OSError):
        _log.exception("a system call failed")
        advice = ": free some space and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return 500, f"{error}{advice}"
    _log.error("unforeseen error", exc_info=error)
    return 500, f"internal error: {type(error).__name__}: {error} (the daemon's log has the details)"
