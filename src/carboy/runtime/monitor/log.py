"""The log of one container in files: appended, rotated by size, never a reason to stop.

path                    the newest
path.1 or path.1.gz     the one before … up to path.<max_file - 1>

Two forms: Docker's json-file (formats/jsonlog.py) and its `local` (formats/locallog.py).  What
sends lines to another service is in remote.py.
"""

from __future__ import annotations

import os

from carboy.errors import Unsupported
from carboy.formats import jsonlog, locallog
from carboy.formats.spawner import StepError
from carboy.linux import process
from carboy.runtime.monitor.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from carboy.runtime.monitor.loop import Loop

    class Log(Protocol):
        """Where a container's output is kept; `lost` counts the bytes that it could not take."""

        lost: int
        most: int
        """Bytes to be given to it at a time."""

        @property
        def full(self) -> bool:
            """Whether the program should wait: `on_room` is called when it need not any more."""

        on_room: Callable[[], None]

        def write(self, stream: int, data: bytes, nanoseconds: int) -> None: ...
        def finish(self, nanoseconds: int) -> None: ...
        def reopen(self) -> None: ...
        def position(self) -> dict[str, Any]: ...
        def unwritten(self, stream: int) -> bytes: ...

    class Encoder(Protocol):
        """Cuts one stream into lines."""

        pending: bytes

        def feed(self, data: bytes, time: Any, /) -> bytes: ...
        def flush(self, time: Any, /) -> bytes: ...


def _nothing() -> None: ...


READ_SIZE = 256 * 1024
_ENCODED = 16 << 20


def most_at_once(attributes: dict[str, Any], cost: int = 64) -> int:
    """How much of a program's output may be read at a time: each line of it may carry all of these.

    A program that prints newlines only would have the monitor hold megabytes for each kilobyte.
    cost: of a line without them, in bytes of memory.
    """
    cost += sum(len(str(name)) + len(str(value)) for name, value in attributes.items())
    return max(512, min(READ_SIZE, _ENCODED // cost))


class NoLog:
    """The driver `none`."""

    __slots__ = ("full", "lost", "most", "on_room")

    def __init__(self) -> None:
        self.lost = 0
        self.most = READ_SIZE
        self.full = False
        self.on_room: Callable[[], None] = _nothing

    def write(self, stream: int, data: bytes, nanoseconds: int) -> None:
        """Forget it."""

    def finish(self, nanoseconds: int) -> None:
        """Nothing to finish."""

    def reopen(self) -> None:
        """Nothing to reopen."""

    def position(self) -> dict[str, Any]:
        """Nothing can be read."""
        return {}

    def unwritten(self, stream: int) -> bytes:
        """Nothing is kept."""
        del stream
        return b""


class FileLog:
    """What both forms share: one file that grows, and those before it."""

    __slots__ = (
        "_compress",
        "_compressor",
        "_encoders",
        "_fd",
        "_loop",
        "_max_file",
        "_max_size",
        "_path",
        "_size",
        "full",
        "lost",
        "most",
        "on_room",
    )

    def __init__(
        self,
        path: str,
        *,
        max_size: int = 0,
        max_file: int = 1,
        compress: bool = False,
        attributes: dict[str, str] | None = None,
        loop: Loop | None = None,
    ) -> None:
        """loop: tells when a rotated file is compressed; without it, that is asked for when it matters."""
        self._path = path
        self._max_size = max_size
        self._max_file = max(1, max_file)
        self._compress = compress
        self._compressor = (0, -1)
        self._loop = loop
        self._encoders = {1: self._encoder("stdout", attributes), 2: self._encoder("stderr", attributes)}
        self._fd = -1
        self._size = 0
        self.lost = 0
        self.most = READ_SIZE
        self.full = False
        self.on_room: Callable[[], None] = _nothing
        self._make_place()
        self.reopen()

    def finish(self, nanoseconds: int) -> None:
        """Append unfinished lines, and close."""
        for encoder in self._encoders.values():
            self._append(encoder.flush(self._time(nanoseconds)))
        self._wait_for_compressor()
        fd, self._fd = self._fd, -1
        try:
            os.close(fd)
        except OSError:
            self.lost += (
                1  # what was written before is in doubt; the container's end must be told all the same
            )

    def write(self, stream: int, data: bytes, nanoseconds: int) -> None:
        """Append what is complete of `data`."""
        self._append(self._encoders[stream].feed(data, self._time(nanoseconds)))

    def reopen(self) -> None:
        """Open the path anew: after a rotation by somebody else."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fresh = os.open(self._path, flags, 0o640)  # before the old one goes: without it that one is kept
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fresh
        self._size = os.fstat(fresh).st_size
        if self._size:
            self._mend()

    def position(self) -> dict[str, Any]:
        """Where the next entry begins: what a reader that goes on elsewhere reads up to."""
        if self._fd < 0:
            return {}
        found = os.fstat(self._fd)
        return {"inode": found.st_ino, "offset": found.st_size, "changed": found.st_mtime_ns}

    def unwritten(self, stream: int) -> bytes:
        """The beginning of a line, which is not in the file yet."""
        return self._encoders[stream].pending

    def _make_place(self) -> None:
        """The file's directory is there, unless the driver has one of its own."""

    @staticmethod
    def _encoder(stream: str, attributes: dict[str, str] | None) -> Encoder:
        """Of one stream."""
        raise NotImplementedError

    def _time(self, nanoseconds: int) -> object:
        """As the encoders take it."""
        raise NotImplementedError

    @staticmethod
    def _boundary(encoded: bytes, start: int, room: int) -> int:
        """The end of the entry in which the byte at `start + room` lies, or that ends before it."""
        raise NotImplementedError

    def _append(self, encoded: bytes) -> None:
        view = memoryview(encoded)
        while view:
            if self._max_size and self._size >= self._max_size:
                self._rotate()
            piece = view
            room = self._max_size - self._size
            if self._max_size and len(view) > room:
                # Up to the end of the entry that crosses the limit, as Docker does.
                start = len(encoded) - len(view)
                piece = view[: self._boundary(encoded, start, max(1, room)) - start]
            view = view[len(piece) :]
            self._put(piece)

    def _put(self, piece: memoryview) -> None:
        start = self._size
        while piece:
            try:
                written = os.write(self._fd, piece)
            except OSError:
                # A full disk must not stop the container; `lost` is told with the exit.
                self.lost += len(piece)
                self._torn(start)
                return
            self._size += written
            piece = piece[written:]

    def _mend(self) -> None:
        """The last entry may be torn: its monitor was killed, or the machine went down, meanwhile."""
        raise NotImplementedError

    def _torn(self, start: int) -> None:
        """What was appended from `start` on may end within an entry: here the next line shows where."""

    def _rotate(self) -> None:
        try:
            if self._max_file == 1:
                os.ftruncate(self._fd, 0)
                self._size = 0
                return
            self._wait_for_compressor()
            for number in range(self._max_file - 1, 1, -1):
                self._shift(number)
            self._remove(1)
            os.rename(self._path, f"{self._path}.1")
            self.reopen()
        except OSError:
            self._size = 0  # the directory is in trouble: go on with the open file
            return
        if self._compress:
            self._start_compressor()

    def _shift(self, number: int) -> None:
        self._remove(number)
        for suffix in ("", ".gz"):
            try:
                os.rename(f"{self._path}.{number - 1}{suffix}", f"{self._path}.{number}{suffix}")
            except FileNotFoundError:
                continue

    def _remove(self, number: int) -> None:
        for suffix in ("", ".gz"):
            try:
                os.unlink(f"{self._path}.{number}{suffix}")
            except FileNotFoundError:
                continue

    # Compression: in a child, for it takes a second and the program must not wait

    def _start_compressor(self) -> None:
        try:
            child = os.fork()
        except OSError:
            return  # the file stays as it is
        if child == 0:
            try:
                process.close_range(3)  # streams and clients must end when the monitor ends them
                from carboy.runtime.monitor import compress  # of a child: the monitor stays small

                compress.compress(f"{self._path}.1")
            finally:
                os._exit(0)
        pidfd = -1
        if self._loop is not None:
            pidfd = os.pidfd_open(child)
            self._loop.watch(pidfd, READ, lambda _: self._wait_for_compressor())
        self._compressor = (child, pidfd)

    def _wait_for_compressor(self) -> None:
        (child, pidfd), self._compressor = self._compressor, (0, -1)
        if pidfd >= 0 and self._loop is not None:
            self._loop.forget(pidfd)
            os.close(pidfd)
        if child:
            try:
                os.waitpid(child, 0)
            except ChildProcessError:
                return


class JsonFile(FileLog):
    """The driver `json-file`."""

    __slots__ = ()

    @staticmethod
    def _encoder(stream: str, attributes: dict[str, str] | None) -> Encoder:
        return jsonlog.Encoder(stream, attributes)

    def _time(self, nanoseconds: int) -> object:
        return jsonlog.timestamp(nanoseconds)

    @staticmethod
    def _boundary(encoded: bytes, start: int, room: int) -> int:
        return encoded.index(b"\n", start + room - 1) + 1

    def _mend(self) -> None:
        if os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._put(memoryview(b"\n"))  # else the next entry would be a part of the torn one


class LocalFile(FileLog):
    """The driver `local`; its directory is made when it is not there."""

    __slots__ = ()

    @staticmethod
    def _encoder(stream: str, attributes: dict[str, str] | None) -> Encoder:
        return locallog.Encoder(stream, attributes)

    def _make_place(self) -> None:
        try:
            os.mkdir(os.path.dirname(self._path), 0o700)
        except FileExistsError:
            pass

    def _time(self, nanoseconds: int) -> object:
        return nanoseconds

    def _torn(self, start: int) -> None:
        """Nothing but its length says where an entry ends: a torn one would hide all that follow."""
        self.lost += self._size - start
        try:
            os.ftruncate(self._fd, start)
        except OSError:
            return
        self._size = start

    def _mend(self) -> None:
        last = os.pread(self._fd, 4, max(0, self._size - 4))
        size = int.from_bytes(last, "big")
        if self._entry(self._size - size - 8) == size + 8:
            return
        # Only from the beginning: a program may print what looks like entries.
        whole = 0
        while entry := self._entry(whole):
            whole += entry
        os.ftruncate(self._fd, whole)
        self._size = whole

    def _entry(self, position: int) -> int:
        """The length of the whole entry that is there; 0 when none is."""
        if position < 0:
            return 0
        length = os.pread(self._fd, 4, position)
        size = int.from_bytes(length, "big")
        if not 0 < size <= locallog.MAX_ENTRY or os.pread(self._fd, 4, position + 4 + size) != length:
            return 0
        return size + 8

    @staticmethod
    def _boundary(encoded: bytes, start: int, room: int) -> int:
        return locallog.boundary(encoded, start, room)


def open_log(options: dict[str, Any], loop: Loop | None = None) -> Log:
    """The log that the `log` field of a launch describes; raises StepError (step `log`) when it cannot be."""
    driver = options.get("driver", "json-file")
    try:
        if driver in ("syslog", "journald"):
            from carboy.runtime.monitor import remote  # loaded by the spawner: a look-up

            if loop is None:
                raise Unsupported(f"the log driver {driver} needs a loop")
            return remote.open_remote(options, loop)
        if driver == "none" or not options.get("path"):
            return NoLog()
        kind = LocalFile if driver == "local" else JsonFile
        made = kind(
            str(options["path"]),
            max_size=int(options.get("max_size") or 0),
            max_file=int(options.get("max_file") or 1),
            compress=bool(options.get("compress")),
            attributes=options.get("attrs") or None,
            loop=loop,
        )
        made.most = most_at_once(options.get("attrs") or {}, 512 if driver == "local" else 64)
        return made
    except OSError as error:
        raise StepError(
            "Internal",
            "log",
            f"failed to initialize logging driver: {error.strerror or error}",
            errno=error.errno or 0,
        ) from error
