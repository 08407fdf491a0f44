"""What run, start, exec and attach share: which streams, a raw terminal, signals, exit codes.

prepare ─▶ (hijack) ─▶ [start] ─▶ run_streams ─▶ wait ─▶ exit code
"""

from __future__ import annotations

import os
import time

from carboy.cli import streams
from carboy.cli.flags import UsageError
from carboy.client.transport import ServerError
from carboy.errors import CarboyError, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.cli.session import Session
    from carboy.cli.signals import Watcher
    from carboy.cli.terminal import RawTerminal
    from carboy.client.transport import Connection, Response

_SIGWINCH = 28
_IMPATIENCE = 3.0  # seconds
_NOT_FOUND = ("executable file not found", "no such file or directory", "system cannot find the file")
_NOT_RUNNABLE = ("permission denied", "is a directory", "exec format error")


def check_terminal(*, tty: bool, stdin: bool) -> None:
    """Refuse -t with an input that is no terminal, as Docker does."""
    if tty and stdin and not os.isatty(0):
        raise UsageError("the input device is not a TTY: leave out -t, or run it in a terminal", 1)


def start_exit_code(error: CarboyError) -> int:
    """Docker's exit code for a container that could not start: 127, 126 or 125."""
    message = str(error).lower()
    if any(text in message for text in _NOT_FOUND):
        return 127
    if any(text in message for text in _NOT_RUNNABLE):
        return 126
    return 125


class Terminal:
    """Raw mode and window size of an attached tty; does nothing without one."""

    def __init__(self, session: Session, resize_path: str, *, tty: bool, stdin: bool) -> None:
        self._session = session
        self._path = resize_path
        self._raw: RawTerminal | None = None
        self._tty = tty
        if tty and stdin and os.isatty(0):
            from carboy.cli.signals import restore_first
            from carboy.cli.terminal import RawTerminal

            restore_first()
            self._raw = RawTerminal(0)

    def resize(self) -> None:
        """Tell the daemon our size; a container that just ended is no error."""
        if not self._tty:
            return
        from carboy.cli.terminal import size

        current = size(1) or size(0)
        if current:
            rows, columns = current
            try:
                self._session.client.post(self._path, (("h", str(rows)), ("w", str(columns))))
            except CarboyError:
                pass

    def restore(self) -> None:
        """Undo raw mode."""
        if self._raw:
            self._raw.restore()
            self._raw = None


def make_watcher(*, proxy: bool, tty: bool) -> Watcher | None:
    """A signal watcher when there is something to watch."""
    if not proxy and not tty:
        return None
    from carboy.cli.signals import Watcher

    return Watcher(proxy=proxy, window=tty)


def signal_handler(
    session: Session, container: str, terminal: Terminal, *, proxy: bool
) -> Callable[[int], None]:
    """What to do with an arriving signal: resize, or pass it on.

    A program that is process 1 and has no handler is deaf to SIGINT: whoever presses ctrl-C three
    times in a row wants to leave, as in Docker.
    """
    interrupts: list[float] = []

    def handle(number: int) -> None:
        from carboy.cli.signals import NOT_PROXIED, name_of

        name = name_of(number)
        if name == "SIGINT" and proxy and os.isatty(0):
            interrupts.append(time.monotonic())
            if len(interrupts) > 2 and interrupts[-1] - interrupts[-3] < _IMPATIENCE:
                session.fail(
                    f"left the container, which does not react to ctrl-C and runs on: "
                    f"`carboy kill {container[:12]}` ends it; run with --init, the program would have ended"
                )
                raise KeyboardInterrupt
        if number == _SIGWINCH:
            terminal.resize()
        elif proxy and name not in NOT_PROXIED:
            try:
                session.client.post(f"/containers/{container}/kill", (("signal", name.removeprefix("SIG")),))
            except CarboyError:
                pass  # it has ended: its exit code tells

    return handle


def run_streams(
    connection: Connection,
    *,
    tty: bool,
    stdin: bool,
    detach_keys: str,
    watcher: Watcher | None = None,
    on_signal: Callable[[int], None] | None = None,
) -> bool:
    """Copy until the stream ends; False when the user detached."""
    scanner = None
    if tty and stdin:
        from carboy.cli.terminal import DEFAULT_DETACH_KEYS, DetachScanner, parse_detach_keys

        scanner = DetachScanner(parse_detach_keys(detach_keys or DEFAULT_DETACH_KEYS))
    return streams.copy(
        connection, tty=tty, stdin=0 if stdin else None, scanner=scanner, watcher=watcher, on_signal=on_signal
    )


def exit_status(response: Response) -> int:
    """The exit code in the reply of /wait."""
    from carboy.client import document

    reply = document.as_object(response.json())
    message = document.text(document.child(reply, "Error"), "Message")
    if message:
        raise Unavailable(f"waiting for the container failed: {message}")
    return document.number(reply, "StatusCode") & 0xFF


def final_status(session: Session, path: str, waiting: Response) -> int:
    """The exit code; a daemon that died while we waited is followed by one that knows it."""
    try:
        return exit_status(waiting)
    except Unavailable as lost:
        session.client.close()  # connections to the dead one
        try:
            return exit_status(session.client.request("POST", path + "/wait"))
        except ServerError as error:
            if error.status != 404:
                raise
            raise Unavailable(
                "the daemon died while the container ran; it ended and was removed: its exit code is unknown"
            ) from lost
