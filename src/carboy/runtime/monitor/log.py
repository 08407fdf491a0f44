"""The json-file log of one container: appended, rotated by size, never a reason to stop.

path       the newest
path.1     the one before … up to path.<max_file - 1>
"""

from __future__ import annotations

import os

from carboy.formats import jsonlog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Log(Protocol):
        """Where a container's output is kept; `lost` counts the bytes that it could not take."""

        lost: int

        def write(self, stream: int, data: bytes, nanoseconds: int) -> None: ...
        def finish(self, nanoseconds: int) -> None: ...
        def reopen(self) -> None: ...


class NoLog:
    """The driver `none`."""

    __slots__ = ("lost",)

    def __init__(self) -> None:
        self.lost = 0

    def write(self, stream: int, data: bytes, nanoseconds: int) -> None:
        """Forget it."""

    def finish(self, nanoseconds: int) -> None:
        """Nothing to finish."""

    def reopen(self) -> None:
        """Nothing to reopen."""


class JsonFile:
    """The driver `json-file`."""

    __slots__ = ("_encoders", "_fd", "_max_file", "_max_size", "_path", "_size", "lost")

    def __init__(
        self, path: str, *, max_size: int = 0, max_file: int = 1, attributes: dict[str, str] | None = None
    ) -> None:
        self._path = path
        self._max_size = max_size
        self._max_file = max(1, max_file)
        self._encoders = {
            1: jsonlog.Encoder("stdout", attributes),
            2: jsonlog.Encoder("stderr", attributes),
        }
        self._fd = -1
        self._size = 0
        self.lost = 0
        self.reopen()

    def write(self, stream: int, data: bytes, nanoseconds: int) -> None:
        """Append what is complete of `data`."""
        self._append(self._encoders[stream].feed(data, jsonlog.timestamp(nanoseconds)))

    def finish(self, nanoseconds: int) -> None:
        """Append unfinished lines, and close."""
        for encoder in self._encoders.values():
            self._append(encoder.flush(jsonlog.timestamp(nanoseconds)))
        fd, self._fd = self._fd, -1
        try:
            os.close(fd)
        except OSError:
            self.lost += (
                1  # what was written before is in doubt; the container's end must be told all the same
            )

    def reopen(self) -> None:
        """Open the path anew: after a rotation by somebody else."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fresh = os.open(self._path, flags, 0o640)  # before the old one goes: without it that one is kept
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fresh
        self._size = os.fstat(fresh).st_size

    def _append(self, encoded: bytes) -> None:
        view = memoryview(encoded)
        while view:
            if self._max_size and self._size >= self._max_size:
                self._rotate()
            piece = view
            room = self._max_size - self._size
            if self._max_size and len(view) > room:
                # Up to the end of the line that crosses the limit, as Docker does.
                start = len(encoded) - len(view)
                piece = view[: encoded.index(b"\n", start + max(0, room - 1)) + 1 - start]
            view = view[len(piece) :]
            self._put(piece)

    def _put(self, piece: memoryview) -> None:
        while piece:
            try:
                written = os.write(self._fd, piece)
            except OSError:
                # A full disk must not stop the container; `lost` is told with the exit.
                self.lost += len(piece)
                return
            self._size += written
            piece = piece[written:]

    def _rotate(self) -> None:
        try:
            if self._max_file == 1:
                os.ftruncate(self._fd, 0)
                self._size = 0
                return
            for number in range(self._max_file - 1, 0, -1):
                older = self._path if number == 1 else f"{self._path}.{number - 1}"
                try:
                    os.rename(older, f"{self._path}.{number}")
                except FileNotFoundError:
                    continue
            self.reopen()
        except OSError:
            self._size = 0  # the directory is in trouble: go on with the open file


def open_log(options: dict[str, Any]) -> Log:
    """The log that the `log` field of a launch describes."""
    if options.get("driver", "json-file") == "none" or not options.get("path"):
        return NoLog()
    return JsonFile(
        str(options["path"]),
        max_size=int(options.get("max_size") or 0),
        max_file=int(options.get("max_file") or 1),
        attributes=options.get("attrs") or None,
    )
