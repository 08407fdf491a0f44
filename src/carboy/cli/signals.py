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


class Interrupted(KeyboardInterrupt):
    """A signal that should end the command arrived before the container ran."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def raise_on_end() -> None:
    """Until the container runs, the signals that end a program undo what was begun."""
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
        _signal.signal(number, _raise)


def _raise(number: int, _frame: object) -> None:
    raise Interrupted(number)


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
        else:
            for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
                _signal.signal(
                    number, _signal.SIG_DFL if number != _signal.SIGINT else _signal.default_int_handler
                )
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
