"""Reading a container's log: lines chosen, dressed and framed as the API gives them.

    LogFiles (logfiles.py) ─batches─▶ since, until, streams ─▶ timestamps, details ─▶ frames

Following waits for inotify on the log's directory, or for the end of the container's run: both
wake one epoll descriptor.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from urllib.parse import quote_plus

from carboy.engine.logfiles import LogFiles, Position
from carboy.formats import stdcopy
from carboy.formats.dockerapi.streams import LogOptions
from carboy.formats.dockerapi.times import rfc3339
from carboy.formats.jsonlog import Batch
from carboy.linux import inotify, timerfd

_STREAMS = {"stdout": 1, "stderr": 2}
STALL = 10.0
"""Seconds that a client may take nothing of a replay."""

LOOK = 0.25
"""Seconds between looks at the log where inotify is used up."""

_CHANGES = inotify.IN_MODIFY | inotify.IN_CREATE | inotify.IN_MOVED_TO | inotify.IN_DELETE_SELF


class LogFile:
    """Fulfils `api.backend.LogReader`; used by one thread at a time."""

    def __init__(
        self,
        path: str,
        options: LogOptions,
        *,
        tty: bool,
        alive: Callable[[], bool],
        growing: bool = False,
    ) -> None:
        """alive: whether the run that is followed goes on.  growing: as when following, without waiting."""
        self._options = options
        self._tty = tty
        self._alive = alive
        # Nine digits: moments then compare as text, the way the log writes them.
        self._since = _moment(options.since)
        self._until = _moment(options.until)
        self._ended = False
        self._poll: select.epoll | None = None
        self._watch = self._wake = -1
        self._on_close: Callable[[], None] = lambda: None
        self._heads: dict[tuple[int, int], bytes] = {}
        self._files = LogFiles(path, growing=growing or options.follow)
        try:
            if options.follow:
                self._start_watching(os.path.dirname(path))
            if options.tail is not None:
                self._files.skip_to_tail(max(0, options.tail))
        except BaseException:
            self.close()
            raise

    @property
    def tty(self) -> bool:
        """Whether the frames are raw."""
        return self._tty

    def on_close(self, action: Callable[[], None]) -> None:
        """Have `action` called once by `close`."""
        self._on_close = action

    def wake(self) -> None:
        """Make `fileno()` readable: the run has ended."""
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def fileno(self) -> int:
        """Readable when there may be more; for followers only."""
        return self._poll.fileno() if self._poll is not None else -1

    def read(self) -> bytes | None:
        """Framed bytes; b"" when there is nothing yet, None at the end."""
        while not self._ended:
            # In this order: whatever happens after the draining makes `fileno()` readable again.
            if self._options.follow:
                self._drain_wakes()
            ended = not self._options.follow or not self._alive()
            framed = self.take()
            if framed is not None:
                return framed
            if not ended:
                return b""
            self._ended = True
        return None

    def take(self) -> bytes | None:
        """Framed bytes; None when there are no more now."""
        while not self._ended and (batches := self._files.read()) is not None:
            framed = b"".join([self._frame(batch) for batch in batches])
            if framed:
                return framed
        return None

    def stop_at(self, position: Position) -> None:
        """Read no further than `position`."""
        self._files.stop_at(position)

    def close(self) -> None:
        """Free descriptors; again is harmless."""
        action, self._on_close = self._on_close, lambda: None
        action()
        self._files.close()
        if self._poll is not None:
            self._poll.close()
            self._poll = None
        watch, self._watch = self._watch, -1
        wake, self._wake = self._wake, -1
        for descriptor in (watch, wake):
            if descriptor >= 0:
                os.close(descriptor)
        self._ended = True

    # -- following

    def _start_watching(self, directory: str) -> None:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.epoll()
        self._poll.register(self._wake, select.EPOLLIN)
        try:
            self._watch = inotify.inotify_init1()
            inotify.inotify_add_watch(self._watch, directory, _CHANGES)
        except FileNotFoundError:
            return  # never started: nothing is there, and nothing will come while it does not run
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENOSPC):
                raise
            self._look_again_and_again()
        self._poll.register(self._watch, select.EPOLLIN)

    def _look_again_and_again(self) -> None:
        """Without inotify, whose instances (128) and watches any container's root can use up."""
        if self._watch >= 0:
            os.close(self._watch)
            self._watch = -1
        self._watch = timerfd.timerfd_create()
        timerfd.timerfd_settime(self._watch, LOOK)

    def _drain_wakes(self) -> None:
        for descriptor in (self._watch, self._wake):
            try:
                while os.read(descriptor, 65536):
                    pass
            except BlockingIOError:
                continue

    # -- lines

    def _frame(self, batch: Batch) -> bytes:
        options = self._options
        wanted = options.stdout if batch.stream != "stderr" else options.stderr
        if not wanted:
            return b""
        moment = batch.time
        if len(moment) != 30 and (self._since or self._until or options.timestamps):
            moment = _padded(moment)
        if self._since and moment < self._since:
            return b""
        if self._until and moment > self._until:
            self._ended = True
            return b""
        prefix = b""
        if options.timestamps:
            prefix = moment.encode() + b" "
        if options.details:
            prefix += _details(batch.attributes) + b" "
        if self._tty or options.joined:
            text = _prefixed(batch.text, prefix) if prefix else batch.text
            return text if self._tty else stdcopy.frame(_STREAMS.get(batch.stream, 1), text)
        return self._frames(_STREAMS.get(batch.stream, 1), prefix, batch.text)

    def _frames(self, stream: int, prefix: bytes, text: bytes) -> bytes:
        """A frame for each line: clients take frames for lines."""
        heads = self._heads
        out: list[bytes] = []
        extra = len(prefix) + 1
        *lines, rest = text.split(b"\n")
        for line in lines:
            size = len(line) + extra
            head = heads.get((stream, size))
            if head is None:
                head = self._head(stream, size)
            out += (head, prefix, line, b"\n")
        if rest:
            out += (stdcopy.header(stream, len(prefix) + len(rest)), prefix, rest)
        return b"".join(out)

    def _head(self, stream: int, size: int) -> bytes:
        if len(self._heads) >= 1024:
            self._heads.clear()
        head = self._heads[stream, size] = stdcopy.header(stream, size)
        return head


class Replay:
    """A log written to a client's socket before its stream goes on: all there is, then up to a place."""

    def __init__(self, path: str, *, stdout: bool, stderr: bool, tty: bool) -> None:
        options = LogOptions(stdout=stdout, stderr=stderr, joined=True)
        self._log = LogFile(path, options, tty=tty, alive=lambda: True, growing=True)

    def write(self, client: int) -> None:
        """Everything that is there now; waits for the client, raises OSError when it does not take it."""
        with socket.socket(fileno=os.dup(client)) as connection:
            connection.settimeout(STALL)
            while (data := self._log.take()) is not None:
                connection.sendall(data)
            connection.setblocking(False)  # of the description, which others share

    def write_up_to(self, client: int, position: Position) -> None:
        """What comes before this place and was not written yet."""
        self._log.stop_at(position)
        self.write(client)

    def close(self) -> None:
        """Free descriptors."""
        self._log.close()


def _moment(nanoseconds: int | None) -> str:
    return "" if nanoseconds is None else _padded(rfc3339(max(0, nanoseconds)))


def _padded(text: str) -> str:
    head, _, fraction = text.removesuffix("Z").partition(".")
    return f"{head}.{fraction:0<9}Z"


def _prefixed(text: bytes, prefix: bytes) -> bytes:
    """`prefix` before each line."""
    body = text[:-1] if text.endswith(b"\n") else text
    return prefix + body.replace(b"\n", b"\n" + prefix) + text[len(body) :]


def _details(attributes: dict[str, str]) -> bytes:
    pairs = sorted(attributes.items())
    return ",".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in pairs).encode()
