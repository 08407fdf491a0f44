"""Signals while a container is attached: passed on to it, never lost, never in a handler.

`_signal` is the C module under `signal`, whose enums cost 6 ms to build.  The interpreter
writes the number of each arriving signal to a wakeup descriptor; the copy loop reads it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed knows only `signal`
import os

NOT_PROXIED = ("SIGCHLD", "SIGPIPE", "SIGWINCH", "SIGURG", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGCONT")
_UNCATCHABLE = ("SIGKILL", "SIGSTOP")
_FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS", "SIGPROF", "SIGVTALRM")
_ENDING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """A signal ends the command, once it has put in order what it changed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Interrupted(Ended):
    """It arrived before the container ran: what was begun is undone."""


def raise_on_end() -> None:
    """Until the container runs, the signals that end a program undo what was begun."""
    for number in _ENDING:
        if _signal.getsignal(number) != _signal.SIG_IGN:  # by nohup, or by a shell's `&`
            _signal.signal(number, _undo)


def begun() -> None:
    """The container runs: from now on a signal that nobody passes on ends this command alone."""
    for number in _ENDING:
        if _signal.getsignal(number) is _undo:
            _signal.signal(number, _end)


def restore_first() -> None:
    """What ends a program at once raises instead, as ctrl-C does: a changed terminal is put in order."""
    for number in _ENDING:
        if _signal.getsignal(number) == _signal.SIG_DFL:
            _signal.signal(number, _end)


def _undo(number: int, _frame: object) -> None:
    raise Interrupted(number)


def _end(number: int, _frame: object) -> None:
    raise Ended(number)


class Watcher:
    """Collects signals on a descriptor that a poll loop can watch."""

    def __init__(self, *, proxy: bool, window: bool) -> None:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._reading = reading
        _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        if proxy:
            for name in names():
                if name not in NOT_PROXIED + _UNCATCHABLE + _FAULTS:
                    _signal.signal(getattr(_signal, name), _ignore)
        if window:
            _signal.signal(_signal.SIGWINCH, _ignore)

    def fileno(self) -> int:
        return self._reading

    def take(self) -> bytes:
        """The numbers of the signals that arrived, one byte each."""
        try:
            return os.read(self._reading, 256)
        except BlockingIOError:
            return b""


def _ignore(_number: int, _frame: object) -> None:
    """Installed so that the wakeup descriptor is written."""


def names() -> list[str]:
    """The signals of this machine, by name."""
    return [
        name
        for name in dir(_signal)
        if name[:3] == "SIG" and "_" not in name and name not in ("SIGCLD", "SIGPOLL")
    ]


def name_of(number: int) -> str:
    """`SIGTERM` for 15; the number itself for real-time signals."""
    for name in names():
        if getattr(_signal, name) == number:
            return name
    return str(number)
