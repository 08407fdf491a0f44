"""The terminal's way out: to a console socket, or to the terminal that carboy-runtime itself has.

`supervise` is the foreground of `run` and `exec`: signals are forwarded, bytes of the terminal
copied, the window's size followed, until the process ends.
"""

from __future__ import annotations

import os
import select
import signal
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812 - the C type

from carboy.errors import InvalidArgument, Unavailable
from carboy.linux import process, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOT_FORWARDED = (signal.SIGCHLD, signal.SIGURG, signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE)


def connect(path: str) -> Socket:
    """The console socket; before anything is made, so that a wrong path costs nothing."""
    socket = Socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        socket.connect(path)
    except OSError as error:
        socket.close()
        raise Unavailable(f"console socket {path}: {error.strerror}") from error
    return socket


def check(path: str, *, wants_terminal: bool, detached: bool) -> None:
    """--console-socket goes with a terminal, and a terminal that nobody waits for needs it."""
    if path and not wants_terminal:
        raise InvalidArgument("--console-socket is given, but process.terminal is false")
    if wants_terminal and detached and not path:
        raise InvalidArgument("process.terminal is true: --console-socket must say where the terminal goes")


def hand_over(socket: Socket, master: int) -> None:
    """Send the master and close both."""
    name = f"/dev/pts/{terminal.pty_number(master)}".encode()
    socket.sendmsg([name], [(SOL_SOCKET, SCM_RIGHTS, master.to_bytes(4, "little"))])
    socket.close()
    os.close(master)


def supervise(pid: int, pidfd: int, master: int = -1) -> int:
    """Stay until the process has ended; its exit code, 128 + n after signal n.

    master: its terminal, which is joined to our standard streams; closed here.
    """
    wake, tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    for number in signal.valid_signals() - set(NOT_FORWARDED):
        try:
            signal.signal(number, lambda *_: None)
        except (OSError, ValueError):
            continue  # the C library keeps two for itself
    restore = _raw_mode() if master >= 0 else None
    try:
        _loop(pidfd, wake, master)
    finally:
        if restore is not None:
            import termios  # loaded by _raw_mode

            termios.tcsetattr(0, termios.TCSADRAIN, restore)
        if master >= 0:
            os.close(master)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _loop(pidfd: int, wake: int, master: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(wake, select.POLLIN)
    if master >= 0:
        poll.register(master, select.POLLIN)
        poll.register(0, select.POLLIN)
        _follow_size(master)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if wake in ready:
            for number in os.read(wake, 64):
                _forward(pidfd, number, master)
        if master in ready and not _copy(master, 1):
            poll.unregister(master)
        if 0 in ready and not _copy(0, master):
            poll.unregister(0)
        if pidfd in ready:
            while master >= 0 and select.select([master], [], [], 0)[0] and _copy(master, 1):
                continue  # what it wrote last
            return


def _copy(source: int, target: int) -> bool:
    """Some bytes; False at the end."""
    try:
        data = os.read(source, 65536)
    except OSError:
        return False  # EIO: nobody has the terminal open any more
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return bool(data)


def _forward(pidfd: int, number: int, master: int) -> None:
    if number == signal.SIGWINCH and master >= 0:
        _follow_size(master)
        return
    if number in NOT_FORWARDED:
        return
    try:
        process.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        return


def _follow_size(master: int) -> None:
    try:
        rows, cols = terminal.window_size(0)
    except OSError:
        return  # no terminal of our own
    terminal.set_window_size(master, rows, cols)


def _raw_mode() -> list[Any] | None:
    """Our terminal as the container's line discipline wants it; what to set back later."""
    import termios
    import tty

    try:
        before: list[Any] = termios.tcgetattr(0)
        tty.setraw(0)
    except termios.error:
        return None
    return before
