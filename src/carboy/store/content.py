"""Blobs by digest: manifests, configs and compressed layers, as the bytes that were received.

    <blobs>/<hex>                    whole, verified, on the disk: or not there at all
    <ingest>/content-<hash of ref>/  what is being received under the name `ref`
        ref                          the name, for people
        data                         the bytes so far; taken up again where they end

An ingest is locked (flock) by whoever writes it: the kernel lets go when the process dies, so
a killed daemon leaves at most a `data` that the next ingest of the same ref continues.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from carboy.digest import Digest
from carboy.errors import Corrupt, InvalidArgument, NotFound, Unavailable

INGEST_PREFIX: Final = "content-"
"""How this store's directories under `ingest` begin; the layer store has others there."""

_CHUNK = 1 << 20
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Blob:
    """What is known of a stored blob without reading it."""

    digest: Digest
    size: int


def storage_error(error: OSError, what: str) -> Unavailable:
    """An `OSError` of the disk that holds the store, in words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"cannot {what}: no space left on device: free some space and try again")
    return Unavailable(f"cannot {what}: {error.strerror or error}")


def write_all(descriptor: int, data: bytes | memoryview, what: str) -> None:
    """Write everything to a file of the store; Unavailable, with `what` was tried, when the disk refuses."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise storage_error(error, what) from error


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ContentStore:
    """Blobs under `blobs`, unfinished ones under `ingest`: two directories on one filesystem."""

    def __init__(self, blobs: str, ingest: str) -> None:
        self._directory = blobs
        self._ingest = ingest
        os.makedirs(self._directory, mode=0o700, exist_ok=True)

    def path(self, digest: Digest) -> str:
        """Where the blob is when it is there."""
        return os.path.join(self._directory, digest.hex)

    def exists(self, digest: Digest) -> bool:
        """Whether the blob is stored."""
        return os.path.exists(self.path(digest))

    def open(self, digest: Digest) -> int:
        """A descriptor to read the blob from; the caller closes it.  Not verified: see `read`."""
        try:
            return os.open(self.path(digest), os.O_RDONLY | _OPEN)
        except FileNotFoundError:
            raise NotFound(f"no such blob: {digest}") from None

    def read(self, digest: Digest, *, limit: int = 1 << 23) -> bytes:
        """All of a small blob, verified; raises Corrupt when the disk has not kept it."""
        descriptor = self.open(digest)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            size = os.fstat(descriptor).st_size
            if size > limit:
                raise InvalidArgument(f"blob {digest} has {size} bytes, more than {limit}")
            data = file.readall()
        if Digest.of(data) != digest:
            raise Corrupt(f"blob {digest} is damaged on the disk: its bytes have another digest")
        return data

    def put(self, data: bytes) -> Blob:
        """Store a small blob."""
        digest = Digest.of(data)
        if not self.exists(digest):
            with self.ingest(f"put-{digest.hex}-{os.urandom(8).hex()}") as ingest:
                ingest.write(data)
                ingest.commit(expected=digest, size=len(data))
        return Blob(digest, len(data))

    def ingest(self, ref: str) -> Ingest:
        """Begin or continue receiving a blob under the name `ref`.

        Raises Unavailable when another thread or process is receiving the same.
        """
        name = INGEST_PREFIX + hashlib.sha256(ref.encode("utf-8", "surrogateescape")).hexdigest()
        try:
            return Ingest(self, os.path.join(self._ingest, name), ref)
        except OSError as error:
            raise storage_error(error, f"store the blob of {ref}") from error

    def delete(self, digest: Digest) -> int:
        """Remove a blob, if it is there; returns the bytes freed."""
        try:
            size = os.stat(self.path(digest)).st_size
            os.unlink(self.path(digest))
        except FileNotFoundError:
            return 0
        return size

    def walk(self) -> Iterator[Blob]:
        """Every stored blob, in no order."""
        with os.scandir(self._directory) as entries:
            for entry in entries:
                try:
                    digest = Digest(entry.name)
                    yield Blob(digest, entry.stat(follow_symlinks=False).st_size)
                except (InvalidArgument, FileNotFoundError):
                    continue

    def sweep(self) -> None:
        """Remove every unfinished ingest that nobody writes."""
        for name in os.listdir(self._ingest):
            if name.startswith(INGEST_PREFIX):
                _remove_unlocked(os.path.join(self._ingest, name))

    def sync(self) -> None:
        """Make names that were added to or taken from the store durable."""
        sync_directory(self._directory)


class Ingest:
    """A blob that is being received: write, then commit; close without commit keeps it for later."""

    def __init__(self, store: ContentStore, directory: str, ref: str) -> None:
        self._store = store
        self._directory = directory
        self._ref = ref
        self._file = _lock(directory, ref)
        self._hash = hashlib.sha256()
        self._offset = 0
        try:
            while chunk := os.read(self._file, _CHUNK):
                self._hash.update(chunk)
                self._offset += len(chunk)
        except BaseException:
            os.close(self._file)
            raise

    @property
    def offset(self) -> int:
        """Bytes received so far: where to continue."""
        return self._offset

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`."""
        view = memoryview(data)
        self._hash.update(view)
        try:
            while view:
                written = os.write(self._file, view)
                self._offset += written
                view = view[written:]
        except OSError as error:
            # The hash is ahead of the file now: only another ingest, which reads the file, may go on.
            self.close()
            raise storage_error(error, f"store the blob of {self._ref}") from error

    def restart(self) -> None:
        """Forget what was received, for a sender that cannot continue."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self._offset = 0

    def commit(self, *, expected: Digest | None = None, size: int | None = None) -> Blob:
        """Verify, make durable and make visible; what is wrong is discarded and raises Corrupt."""
        digest = Digest(self._hash.hexdigest())
        if size is not None and size != self._offset:
            self.abort()
            raise Corrupt(
                f"the blob of {self._ref} has {self._offset} bytes, not the {size} that were announced"
            )
        if expected is not None and digest != expected:
            self.abort()
            raise Corrupt(f"the blob of {self._ref} has the digest {digest}, not the expected {expected}")
        try:
            os.fsync(self._file)
            os.rename(os.path.join(self._directory, "data"), self._store.path(digest))
            self._store.sync()
        except OSError as error:
            raise storage_error(error, f"store the blob of {self._ref}") from error
        self._remove()
        self.close()
        return Blob(digest, self._offset)

    def abort(self) -> None:
        """Throw away what was received."""
        self._remove()
        self.close()

    def close(self) -> None:
        """Let go; what was received stays, to be continued under the same ref."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _remove(self) -> None:
        for name in ("ref", "data"):
            try:
                os.unlink(os.path.join(self._directory, name))
            except FileNotFoundError:
                pass
        try:
            os.rmdir(self._directory)
        except FileNotFoundError:
            pass


def _lock(directory: str, ref: str) -> int:
    """The locked data file of an ingest directory, made when needed."""
    path = os.path.join(directory, "data")
    while True:
        try:
            os.mkdir(directory, 0o700)
            _write_file(os.path.join(directory, "ref"), ref.encode("utf-8", "surrogateescape"))
        except FileExistsError:
            pass
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _OPEN, 0o600)
        except FileNotFoundError:
            # The one who had it finished between our two calls.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise Unavailable(f"{ref} is being received already: wait for it, then try again") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    """Whether the open file still has this name: it may have been committed before it was locked."""
    try:
        there, ours = os.stat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _remove_unlocked(directory: str) -> None:
    try:
        descriptor = os.open(os.path.join(directory, "data"), os.O_RDWR | _OPEN)
    except FileNotFoundError:
        descriptor = -1
    try:
        if descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
    except (BlockingIOError, FileNotFoundError):
        pass
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _write_file(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _OPEN, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
