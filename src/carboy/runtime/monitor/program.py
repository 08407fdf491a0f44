"""A running process and our ends of its streams."""

from __future__ import annotations

import os


class Program:
    """A process and our ends of its streams.

    outputs: stream number (1 stdout, 2 stderr) by descriptor; a terminal's is 1.
    console: the terminal's master, which outputs and stdin are copies of; -1 without one.
    """

    __slots__ = ("console", "outputs", "pid", "pidfd", "stdin", "terminal", "warnings")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.terminal = False
        self.console = -1
        self.outputs: dict[int, int] = {}
        self.stdin: int | None = None
        self.warnings: list[str] = []

    def close(self) -> None:
        """After the end: the descriptors that no session owns."""
        for fd in (self.pidfd, self.console):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.console = -1

    def reap(self) -> int:
        """The exit code, 128 + n after signal n; the process has ended."""
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code
