"""Starting our own daemon when its socket does not answer (docs/design/0005).

    flock <run>/start.lock ── connects now? done
                           └─ fork ─ setsid ─ fork ─ exec python -X utf8 -m carboy.daemon ... --ready-fd N
                              wait for "ready" on the pipe, or its end: then the log says why

The double fork leaves no child to reap and no controlling terminal.
"""

from __future__ import annotations

import os
import sys

from carboy.client.transport import Connection
from carboy.errors import PermissionDenied, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.address import Address, Home

LOG_NAME = "daemon.log"
PROGRAM = (sys.executable, "-X", "utf8", "-m", "carboy.daemon")
"""What names of files mean is not for the locale of the first caller to say."""


def wake(home: Home, address: Address, program: tuple[str, ...] = PROGRAM) -> None:
    """Start the daemon of this home and return when it listens; one of many callers does it."""
    import fcntl

    try:
        os.makedirs(home.run, 0o711, exist_ok=True)
        os.makedirs(home.root, 0o711, exist_ok=True)
        lock = os.open(home.run + "/start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except PermissionError as error:
        raise PermissionDenied(
            f"cannot start the daemon: no permission for {error.filename}: run as root, or set CARBOY_ROOT "
            "and CARBOY_RUN to directories of your own"
        ) from error
    except OSError as error:
        raise Unavailable(f"cannot start the daemon: {error.filename}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _answers(address):
            _start(home, address, program)
    finally:
        os.close(lock)


def _answers(address: Address) -> bool:
    try:
        Connection(address).close()
    except OSError:
        return False
    return True


def _start(home: Home, address: Address, program: tuple[str, ...]) -> None:
    log = home.root + "/" + LOG_NAME
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot start the daemon: {log}: {error.strerror}") from error
    size = os.fstat(output).st_size
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _detach(home, address, output, writing, program)
    os.close(writing)
    os.close(output)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.readline()
    if answer.strip() != b"ready":
        raise Unavailable(f"the daemon did not start: {_last_line(log, size)} (see {log})")


def _detach(home: Home, address: Address, output: int, ready: int, program: tuple[str, ...]) -> None:
    """In the child: leave the session and become the daemon. Never returns."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open("/dev/null", os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.set_inheritable(ready, True)
        os.chdir("/")
        arguments = ["--root", home.root, "--run", home.run, "--host", address.url]
        command = [*program, *arguments, "--on-demand", "--ready-fd", str(ready)]
        os.execve(program[0], command, _environment())
    except OSError as error:
        os.write(2, f"cannot execute {program[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _environment() -> dict[str, str]:
    """The caller's environment, with import paths made absolute: the daemon starts in /."""
    environment = dict(os.environ)
    path = environment.get("PYTHONPATH")
    if path:
        environment["PYTHONPATH"] = ":".join(os.path.abspath(part) for part in path.split(":") if part)
    return environment


def _last_line(log: str, start: int) -> str:
    """The last thing that the failed daemon said."""
    with open(log, "rb") as file:
        file.seek(max(start, os.fstat(file.fileno()).st_size - 8192))
        lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
