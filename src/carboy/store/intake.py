"""Taking in a layer's tar: written, hashed and read in one pass.

    source ──copier thread──▶ ingest/<random>/layer.tar ──▶ hash thread (reads what is written)
                                                        └─▶ caller: `read_at`, waits for its bytes

The three run at once: copying and hashing are done outside the interpreter's lock.  The hash
and the reader see our own copy, so nobody can change a file between the two.
An intake is a directory of its own: `LayerStore.commit` makes a layer of it or removes it,
`LayerStore.discard` removes it, and the daemon's next start what neither was asked for.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import secrets
import threading
from types import TracebackType
from typing import Protocol

from carboy.digest import Digest
from carboy.errors import Corrupt, InvalidArgument

TAR_NAME = "layer.tar"
# Every piece ends with taking the interpreter's lock, which a busy thread keeps for 5 ms: few, large pieces.
_COPY = 1 << 24
_READ = 1 << 20
_HASH = 1 << 24


class Reader(Protocol):
    """A stream: up to so many bytes, nothing at the end."""

    def read(self, size: int, /) -> bytes: ...


class FileWindow:
    """A part of a regular file; an intake copies it inside the kernel."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self.fd = fd
        self.offset = offset
        self.size = size
        self._position = 0

    @classmethod
    def whole(cls, fd: int) -> FileWindow:
        """All of the file."""
        return cls(fd, 0, os.fstat(fd).st_size)

    def read(self, size: int, /) -> bytes:
        """The next bytes of the window; the descriptor's own position is not used."""
        wanted = min(size, self.size - self._position)
        data = os.pread(self.fd, wanted, self.offset + self._position)
        self._position += len(data)
        return data


class Intake:
    """A tar on its way in.  Use as a context: its end stops the threads and closes the tar, no more."""

    def __init__(self, ingest: str, *, size_limit: int) -> None:
        self.path = f"{ingest}/layer-{secrets.token_hex(8)}"
        os.mkdir(self.path, 0o700)
        self.size = 0
        """Bytes written so far."""
        self._limit = size_limit
        self._fd = os.open(
            f"{self.path}/{TAR_NAME}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        self._changed = threading.Condition()
        self._ended = False
        self._failure: BaseException | None = None
        self._hash = hashlib.sha256()
        self._hasher = threading.Thread(target=self._follow, name="hash", daemon=True)
        self._copier: threading.Thread | None = None
        self._hasher.start()

    def __enter__(self) -> Intake:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(error)
        os.close(self._fd)

    @property
    def fd(self) -> int:
        """The tar; the intake's own descriptor."""
        return self._fd

    def write(self, data: bytes) -> None:
        """Append bytes."""
        view = memoryview(data)
        self._check_limit(len(view))
        while view:
            done = os.write(self._fd, view)
            view = view[done:]
            self._grow(done)

    def write_from(self, fd: int, offset: int, size: int) -> None:
        """Append part of a file, copied inside the kernel; Corrupt when the file ends early."""
        self._check_limit(size)
        while size:
            done = _copy(fd, offset, self._fd, min(size, _COPY))
            if not done:
                raise Corrupt(
                    f"reading a file for a layer: it ends {size} bytes early (was it changed meanwhile?)"
                )
            offset += done
            size -= done
            self._grow(done)

    def fill(self, source: Reader) -> None:
        """Begin to copy all of `source` in a thread; `read_at` and `finish` wait for it."""
        self._copier = threading.Thread(target=self._copy_all, args=(source,), name="copy", daemon=True)
        self._copier.start()

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes of the tar, as soon as they are there; fewer only at its end."""
        if offset + size > self.size:
            self._wait(offset + size)
        return os.pread(self._fd, size, offset)

    def finish(self) -> tuple[Digest, int]:
        """All is written and synced: the digest and the size.  Raises what went wrong on the way."""
        if self._copier is not None:
            self._copier.join()
        else:
            self._end()
            self._sync()
        self._stop(None)
        if self._failure is not None:
            raise self._failure
        return Digest(self._hash.hexdigest()), self.size

    def give_up(self, error: BaseException) -> None:
        """Stop copying and hashing: what is there is of no use."""
        self._stop(error)

    def abort(self, error: BaseException) -> None:
        """Have whoever copies or waits raise `error` soon; from any thread, waits for nothing."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _stop(self, error: BaseException | None) -> None:
        with self._changed:
            self._failure = self._failure or error
            if self._copier is None or error is not None:
                self._ended = True
            self._changed.notify_all()
        if self._copier is not None:
            self._copier.join()
        self._hasher.join()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _check_limit(self, more: int) -> None:
        if self.size + more > self._limit:
            raise InvalidArgument(f"the layer is larger than {self._limit} bytes")
        if self._failure is not None:
            raise self._failure

    def _grow(self, done: int) -> None:
        with self._changed:
            self.size += done
            self._changed.notify_all()
        if self._failure is not None:
            raise self._failure

    def _wait(self, size: int) -> None:
        with self._changed:
            while self.size < size and not self._ended and self._failure is None:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure

    def _copy_all(self, source: Reader) -> None:
        try:
            if isinstance(source, FileWindow):
                self.write_from(source.fd, source.offset, source.size)
            else:
                while data := source.read(_READ):
                    self.write(data)
        except BaseException as error:  # handed to the thread that waits in `finish`
            with self._changed:
                self._failure = self._failure or error
        finally:
            self._end()
        if self._failure is None:
            self._sync()

    def _sync(self) -> None:
        """To the disk, while the hash thread is still busy."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            with self._changed:
                self._failure = self._failure or error

    def _follow(self) -> None:
        """The hash thread: at most one block behind the writer."""
        done = 0
        try:
            while True:
                with self._changed:
                    while self.size == done and not self._ended:
                        self._changed.wait()
                    available = self.size
                    if self._failure is not None or (self._ended and available == done):
                        return
                # A mapping is read without a copy; it begins at a page, and `done` may not.  Its pages
                # count as our memory, and a slow hash can be far behind: a bounded piece at a time.
                start = done & ~(mmap.PAGESIZE - 1)
                length = min(available - start, _HASH)
                with (
                    mmap.mmap(self._fd, length, prot=mmap.PROT_READ, offset=start) as mapped,
                    memoryview(mapped) as whole,
                    whole[done - start :] as view,
                ):
                    self._hash.update(view)
                done = start + length
        except (OSError, ValueError) as error:
            with self._changed:
                self._failure = self._failure or error


def _copy(source: int, offset: int, target: int, size: int) -> int:
    """Copy inside the kernel, where the filesystems can; else through us."""
    try:
        return os.sendfile(target, source, offset, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
    return os.write(target, os.pread(source, size, offset))
