"""How starts and runs end: what is noted, what those who wait are told, and errors in Docker's words."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator

from carboy.engine.containers.document import Container
from carboy.engine.monitors import Exit
from carboy.errors import CarboyError, InvalidArgument, Unavailable
from carboy.formats.dockerapi.containers import WaitResponse
from carboy.formats.dockerapi.times import rfc3339
from carboy.formats.spawner import StepError

EXIT_UNKNOWN = 255


@contextlib.contextmanager
def system_errors(what: str) -> Iterator[None]:
    """A full disk and its kin, as an error that says what was tried."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR):
            # Names of the image or the client that lead nowhere.
            name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
            raise InvalidArgument(f"{what}: {error.strerror}: {name[:200]}") from error
        hint = ": free some space and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise Unavailable(f"{what}: {error}{hint}") from error


def response_of(container: Container) -> WaitResponse:
    """What those who wait are told."""
    return WaitResponse(status_code=container.document.exit_code)


def unknown_exit() -> Exit:
    """An end that nobody saw."""
    return Exit(
        exit_code=EXIT_UNKNOWN,
        oom=False,
        finished_at=rfc3339(time.time_ns()),
        error="exit unknown: the container's monitor ended without telling (killed, or a reboot)",
    )


def exit_code_of(error: BaseException) -> int:
    """Docker's exit code of a start that failed."""
    text = str(error)
    if "executable file not found" in text or "no such file or directory" in text.lower():
        return 127
    if "permission denied" in text.lower() or "is a directory" in text.lower():
        return 126
    return 128


def start_error(error: CarboyError, container: Container) -> CarboyError:
    """A failed start in the words that clients match on."""

    if not isinstance(error, StepError):
        return error
    if error.step == "log":
        text = f"failed to create task for container: {error.text}"
        return StepError(error.category, error.step, text, errno=error.errno)
    text = (
        f"failed to create task for container {container.id[:12]}: OCI runtime create failed:"
        f" {error.text}: unknown"
    )
    lower = error.text.lower()
    if error.step in ("exec", "cwd", "user") or "not found in $path" in lower or "permission denied" in lower:
        return InvalidArgument(text)
    return StepError(error.category, error.step, text, errno=error.errno)
