"""Reading a container's json-file log: rotated files first, then the live one, then what comes.

    ID-json.log.2  ID-json.log.1  ID-json.log        oldest to newest

Lines are decoded in bulk (formats/jsonlog.py) and framed for the wire.  Following waits for
inotify on the log's directory, or for the container's end: both wake one epoll descriptor.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable

from carboy.errors import Corrupt
from carboy.formats import jsonlog, stdcopy
from carboy.formats.dockerapi.streams import LogOptions
from carboy.formats.dockerapi.times import rfc3339
from carboy.linux import inotify

_CHUNK = 1 << 20
_STREAMS = {"stdout": 1, "stderr": 2}
_CHANGES = inotify.IN_MODIFY | inotify.IN_CREATE | inotify.IN_MOVED_TO | inotify.IN_DELETE_SELF


class LogFile:
    """Fulfils `api.backend.LogReader`; used by one thread at a time."""

    def __init__(self, path: str, options: LogOptions, *, tty: bool, alive: Callable[[], bool]) -> None:
        self._path = path
        self._options = options
        self._tty = tty
        self._alive = alive
        # Nine digits: moments then compare as text, the way the log writes them.
        self._since = _moment(options.since)
        self._until = _moment(options.until)
        self._remainder = b""
        self._ended = False
        self._poll: select.epoll | None = None
        self._watch = self._wake = -1
        self._on_close: Callable[[], None] = lambda: None
        if options.follow:
            self._start_watching()
        self._files = self._open_all()
        self._limit = os.fstat(self._files[-1]).st_size if self._files else 0
        if options.tail is not None:
            self._skip_to_tail(max(0, options.tail))

    @property
    def tty(self) -> bool:
        """Whether the frames are raw."""
        return self._tty

    def on_close(self, action: Callable[[], None]) -> None:
        """Have `action` called once by `close`."""
        self._on_close = action

    def wake(self) -> None:
        """Make `fileno()` readable: the container has ended."""
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def fileno(self) -> int:
        """Readable when there may be more."""
        return self._poll.fileno() if self._poll is not None else self._files[-1] if self._files else -1

    def read(self) -> bytes | None:
        """Framed bytes; b"" when there is nothing yet, None at the end."""
        while not self._ended:
            # In this order: whatever happens after the draining makes `fileno()` readable again.
            if self._options.follow:
                self._drain_wakes()
            ended = not self._options.follow or not self._alive()
            data = self._next_data()
            if data:
                framed = self._frame(data)
                if framed:
                    return framed
                continue
            if self._advance():
                continue
            if ended:
                self._ended = True
                break
            return b""
        return None

    def close(self) -> None:
        """Free descriptors; again is harmless."""
        action, self._on_close = self._on_close, lambda: None
        action()
        for descriptor in self._files:
            os.close(descriptor)
        self._files = []
        if self._poll is not None:
            self._poll.close()
            self._poll = None
            os.close(self._watch)
            wake, self._wake = self._wake, -1
            os.close(wake)
        self._ended = True

    # -- files

    def _open_all(self) -> list[int]:
        found = []
        number = 0
        while True:
            name = self._path if number == 0 else f"{self._path}.{number}"
            try:
                found.append(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
            except FileNotFoundError:
                break
            number += 1
        return found[::-1]

    def _next_data(self) -> bytes:
        if not self._files:
            return b""
        size = _CHUNK
        if not self._options.follow and len(self._files) == 1:
            # What a busy container writes meanwhile is not part of the answer.
            size = min(size, self._limit - os.lseek(self._files[0], 0, os.SEEK_CUR))
        return os.read(self._files[0], size) if size > 0 else b""

    def _advance(self) -> bool:
        """Go on with the next file; False when this is the last one."""
        if len(self._files) > 1:
            os.close(self._files.pop(0))
            self._remainder = b""
            return True
        if not self._options.follow:
            return False
        try:
            newest = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        if self._files and os.fstat(newest).st_ino == os.fstat(self._files[0]).st_ino:
            os.close(newest)
            return False
        self._files.append(newest)
        return True

    def _skip_to_tail(self, lines: int) -> None:
        """Forget whole files and move in the first that is left, so that `lines` lines follow."""
        for position in range(len(self._files) - 1, -1, -1):
            descriptor = self._files[position]
            offset, lines = _offset_of_tail(descriptor, lines)
            os.lseek(descriptor, offset, os.SEEK_SET)
            if lines == 0:
                for old in self._files[:position]:
                    os.close(old)
                del self._files[:position]
                return

    # -- following

    def _start_watching(self) -> None:
        self._watch = inotify.inotify_init1()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.epoll()
        self._poll.register(self._watch, select.EPOLLIN)
        self._poll.register(self._wake, select.EPOLLIN)
        inotify.inotify_add_watch(self._watch, os.path.dirname(self._path), _CHANGES)

    def _drain_wakes(self) -> None:
        for descriptor in (self._watch, self._wake):
            try:
                while os.read(descriptor, 65536):
                    pass
            except BlockingIOError:
                continue

    # -- lines

    def _frame(self, data: bytes) -> bytes:
        data = self._remainder + data
        try:
            batches, used = jsonlog.decode(data)
        except Corrupt:
            # A torn line (the machine went down while it was written): keep what follows it.
            used = data.rfind(b"\n") + 1
            batches = _decode_what_can_be(data[:used])
        self._remainder = data[used:]
        return b"".join(self._frame_batch(batch) for batch in batches)

    def _frame_batch(self, batch: jsonlog.Batch) -> bytes:
        options = self._options
        wanted = options.stdout if batch.stream != "stderr" else options.stderr
        if not wanted:
            return b""
        moment = batch.time
        if (self._since or self._until) and len(moment) != 30:
            moment = _padded(moment)
        if self._since and moment < self._since:
            return b""
        if self._until and moment > self._until:
            self._ended = True
            return b""
        text = batch.text
        prefix = b""
        if options.timestamps:
            prefix = batch.time.encode() + b" "
        if options.details:
            prefix += ",".join(f"{key}={value}" for key, value in batch.attributes.items()).encode() + b" "
        if prefix:
            body = text[:-1] if text.endswith(b"\n") else text
            end = text[len(body) :]
            text = prefix + body.replace(b"\n", b"\n" + prefix) + end
        return text if self._tty else stdcopy.frame(_STREAMS.get(batch.stream, 1), text)


def replay(log: LogFile, client: int) -> None:
    """Write the whole log to a client's socket, waiting for it; raises OSError when it has gone."""
    try:
        with socket.socket(fileno=os.dup(client)) as connection:
            connection.settimeout(10)
            while data := log.read():
                connection.sendall(data)
    finally:
        log.close()


def _moment(nanoseconds: int | None) -> str:
    return "" if nanoseconds is None else _padded(rfc3339(max(0, nanoseconds)))


def _padded(text: str) -> str:
    head, _, fraction = text.removesuffix("Z").partition(".")
    return f"{head}.{fraction:0<9}Z"


def _offset_of_tail(descriptor: int, lines: int) -> tuple[int, int]:
    """Where the last `lines` lines begin, and how many of them the file lacks."""
    end = os.fstat(descriptor).st_size
    if lines == 0:
        return end, 0
    position, missing = end, lines + 1  # the newline before the first wanted line counts as well
    while position > 0:
        start = max(0, position - _CHUNK)
        block = os.pread(descriptor, position - start, start)
        count = block.count(b"\n")
        if count >= missing:
            cut = len(block)
            for _ in range(missing):
                cut = block.rfind(b"\n", 0, cut)
            return start + cut + 1, 0
        missing -= count
        position = start
    return 0, missing - 1


def _decode_what_can_be(data: bytes) -> list[jsonlog.Batch]:
    found: list[jsonlog.Batch] = []
    for line in data.splitlines(keepends=True):
        try:
            found += jsonlog.decode(line)[0]
        except Corrupt:
            continue
    return found
