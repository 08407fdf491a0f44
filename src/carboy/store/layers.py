"""Layers: each is its uncompressed tar, named by its DiffID, and something that overlay can mount.

    <diffid>/layer.tar    the bytes that the DiffID names: verify, save and push read nothing else
    <diffid>/meta.erofs   ErofsLayers: an index into the tar, mounted as a file-backed EROFS
    <diffid>/sparse.data  ErofsLayers, rarely: what the index cannot address inside the tar
    <diffid>/implied      paths of directories that the tar has no member for, NUL-separated; seldom there
    <diffid>/tree/        DirectoryLayers: the tar extracted, for kernels before 6.12

A layer is made in `ingest/`, synced, and renamed: it is there whole or not at all.  Both
drivers pass `tests/suites/layers.py`.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from carboy.digest import Digest
from carboy.errors import Corrupt, NotFound, Unavailable
from carboy.formats.layertree import build_tree, walk
from carboy.formats.tar import TarEntry, scan
from carboy.linux import layers as linux_layers
from carboy.linux import tree as linux_tree
from carboy.store.content import sync_directory
from carboy.store.intake import TAR_NAME, Intake, Reader
from carboy.store.layerdrivers import DirectoryDriver, Driver, ErofsDriver, LayerTar, read_whole, write_synced
from carboy.store.paths import Paths

SIZE_LIMIT = 1 << 40
MAX_LAYERS = 128
"""As many as a container or a view is mounted from."""
_READ = os.O_RDONLY | os.O_CLOEXEC
_HASH = 1 << 24
_IMPLIED_NAME = "implied"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer in the store."""

    diff_id: Digest
    size: int
    """Bytes of the tar."""


class LayerStore(Protocol):
    """Layers by DiffID."""

    def ingest(
        self, source: Reader, *, expected: Digest | None = None, size_limit: int = SIZE_LIMIT
    ) -> Layer:
        """Take in a tar.  A FileWindow is copied inside the kernel.  Corrupt when it is not `expected`."""
        ...

    def begin(self, *, size_limit: int = SIZE_LIMIT) -> Intake:
        """A place to write a tar to, for `commit`."""
        ...

    def commit(
        self,
        intake: Intake,
        *,
        expected: Digest | None = None,
        members: Iterable[TarEntry] | None = None,
    ) -> Layer:
        """Make a layer of what was written.

        members: what a reader of the tar would find, from a writer who knows: it is not read again.
        """
        ...

    def discard(self, intake: Intake, error: BaseException) -> None:
        """Give up what was begun, because of `error`."""
        ...

    def get(self, diff_id: Digest) -> Layer:
        """The layer; NotFound."""
        ...

    def implied(self, diff_id: Digest) -> list[bytes]:
        """Paths of directories below the root that the layer has members in, but does not describe."""
        ...

    def exists(self, diff_id: Digest) -> bool:
        """True when the layer is here."""
        ...

    def open_tar(self, diff_id: Digest) -> int:
        """A descriptor of the tar; the caller closes it."""
        ...

    def verify(self, diff_id: Digest) -> None:
        """Read everything; Corrupt when it is not what the DiffID names."""
        ...

    def remove(self, diff_id: Digest) -> None:
        """Remove the layer; its space is free on return, unless a container still has it mounted."""
        ...

    def list(self) -> list[Layer]:
        """All layers, by DiffID."""
        ...

    def mount(self, diff_id: Digest) -> int:
        """A descriptor that overlay takes as a lower directory; the caller closes it.

        The store keeps one mount per layer, so containers share its page cache.
        """
        ...

    def close(self) -> None:
        """Let go of all mounts."""
        ...


def _no_step(_name: str) -> None:
    """Tests of sudden death are told of each step."""


class _Layers:
    """The store, less its driver."""

    def __init__(self, paths: Paths, driver: Driver, on_step: Callable[[str], None]) -> None:
        self._paths = paths
        self._driver = driver
        self._step = on_step
        # Guards the table of mounts, and publishing and removing: one at a time.
        self._lock = threading.Lock()
        self._mounts: dict[Digest, int] = {}

    def ingest(
        self, source: Reader, *, expected: Digest | None = None, size_limit: int = SIZE_LIMIT
    ) -> Layer:
        """Copy, hash and read the tar at once; then publish."""
        with self.begin(size_limit=size_limit) as intake, _full_disk("taking in a layer"):
            intake.fill(source)
            return self.commit(intake, expected=expected)

    def begin(self, *, size_limit: int = SIZE_LIMIT) -> Intake:
        """A place to write a tar to."""
        return Intake(self._paths.ingest, size_limit=size_limit)

    def commit(
        self,
        intake: Intake,
        *,
        expected: Digest | None = None,
        members: Iterable[TarEntry] | None = None,
    ) -> Layer:
        """Read what is (being) written, index it, and publish it under its DiffID."""
        try:
            with _full_disk("storing a layer"):
                return self._commit(intake, expected, members)
        finally:
            if os.path.isdir(intake.path):
                linux_tree.remove_in(self._paths.ingest, os.path.basename(intake.path))

    def _commit(self, intake: Intake, expected: Digest | None, members: Iterable[TarEntry] | None) -> Layer:
        self._step("writing")
        try:
            if members is None:
                members = scan(intake.read_at, require_end=expected is None)
            root = build_tree(members)
        except Corrupt as error:
            # When the bytes themselves are wrong, say that instead of what they look like.
            intake.give_up(error)
            raise
        diff_id, size = intake.finish()
        if expected is not None and diff_id != expected:
            raise Corrupt(f"layer {expected}: its contents have the digest {diff_id}")
        layer = Layer(diff_id, size)
        if self.exists(diff_id):
            return layer
        self._step("written")
        self._driver.prepare(intake.path, LayerTar(intake.fd, size, root, diff_id))
        implied = b"\0".join(path for path, node in walk(root) if node.implied and path)
        if implied:
            write_synced(f"{intake.path}/{_IMPLIED_NAME}", implied)
        self._step("indexed")
        sync_directory(intake.path)
        self._step("synced")
        self._publish(intake.path, diff_id)
        self._step("published")
        return layer

    def discard(self, intake: Intake, error: BaseException) -> None:
        """Stop its threads, remove its directory."""
        try:
            intake.give_up(error)
        finally:
            linux_tree.remove_in(self._paths.ingest, os.path.basename(intake.path))

    def implied(self, diff_id: Digest) -> list[bytes]:
        """Paths that the layer implies; most layers have none."""
        try:
            paths = read_whole(f"{self._paths.layer(diff_id)}/{_IMPLIED_NAME}")
        except FileNotFoundError:
            return []
        return [path for path in paths.split(b"\0") if path]

    def _publish(self, path: str, diff_id: Digest) -> None:
        with self._lock:
            try:
                os.rename(path, self._paths.layer(diff_id))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                return  # somebody else was as fast; the same bytes
            sync_directory(self._paths.layers)

    def get(self, diff_id: Digest) -> Layer:
        """The layer; NotFound."""
        try:
            return Layer(diff_id, os.stat(self._tar(diff_id)).st_size)
        except FileNotFoundError:
            raise NotFound(f"No such layer: {diff_id}") from None

    def exists(self, diff_id: Digest) -> bool:
        """True when the layer is here."""
        return os.path.exists(self._tar(diff_id))

    def open_tar(self, diff_id: Digest) -> int:
        """A descriptor of the tar."""
        try:
            return os.open(self._tar(diff_id), _READ)
        except FileNotFoundError:
            raise NotFound(f"No such layer: {diff_id}") from None

    def verify(self, diff_id: Digest) -> None:
        """Hash the tar, and make its index again to compare."""
        fd = self.open_tar(diff_id)
        try:
            size = os.fstat(fd).st_size
            actual = _hash(fd, size)
            if actual != diff_id:
                raise Corrupt(
                    f"layer {diff_id}: its tar has changed on disk (digest {actual}); fetch it again"
                )
            root = build_tree(scan(lambda offset, count: os.pread(fd, count, offset)))
            self._driver.check(self._paths.layer(diff_id), LayerTar(fd, size, root, diff_id))
        finally:
            os.close(fd)

    def remove(self, diff_id: Digest) -> None:
        """Unpublish by a rename, then free the space."""
        grave = f"removed-{secrets.token_hex(8)}"
        with self._lock:
            mounted = self._mounts.pop(diff_id, None)
            if mounted is not None:
                os.close(mounted)
            try:
                os.rename(self._paths.layer(diff_id), f"{self._paths.ingest}/{grave}")
            except FileNotFoundError:
                raise NotFound(f"No such layer: {diff_id}") from None
        linux_tree.remove_in(self._paths.ingest, grave)

    def list(self) -> list[Layer]:
        """All layers, by DiffID."""
        names = sorted(name for name in os.listdir(self._paths.layers) if len(name) == 64)
        return [self.get(Digest(name)) for name in names]

    def mount(self, diff_id: Digest) -> int:
        """A descriptor of the layer's mount, made when first asked for."""
        with self._lock:
            kept = self._mounts.get(diff_id)
            if kept is None:
                self.get(diff_id)
                kept = self._mounts[diff_id] = self._driver.mount(self._paths.layer(diff_id))
            return os.dup(kept)

    def close(self) -> None:
        """Let go of all mounts; containers keep those they use."""
        with self._lock:
            while self._mounts:
                os.close(self._mounts.popitem()[1])

    def _tar(self, diff_id: Digest) -> str:
        return f"{self._paths.layer(diff_id)}/{TAR_NAME}"


class ErofsLayers(_Layers):
    """A LayerStore whose layers are mounted from their tars (kernel 6.12 or newer, real root)."""

    def __init__(self, paths: Paths, *, on_step: Callable[[str], None] = _no_step) -> None:
        super().__init__(paths, ErofsDriver(), on_step)


class DirectoryLayers(_Layers):
    """A LayerStore that extracts."""

    def __init__(self, paths: Paths, *, on_step: Callable[[str], None] = _no_step) -> None:
        super().__init__(paths, DirectoryDriver(), on_step)


def open_layers(paths: Paths) -> LayerStore:
    """The best store that this kernel can have."""
    if linux_layers.supports_erofs_files():
        return ErofsLayers(paths)
    return DirectoryLayers(paths)


def sweep_ingest(paths: Paths) -> None:
    """Remove what an earlier life left unfinished.  Call it at start, before anything is ingested."""
    for name in os.listdir(paths.ingest):
        linux_tree.remove_in(paths.ingest, name)


def _hash(fd: int, size: int) -> Digest:
    digest = hashlib.sha256()
    for start in range(0, size, _HASH):
        with mmap.mmap(fd, min(_HASH, size - start), prot=mmap.PROT_READ, offset=start) as mapped:
            digest.update(mapped)
    return Digest(digest.hexdigest())


@contextmanager
def _full_disk(what: str) -> Iterator[None]:
    """Give the one system error that users meet a category and a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(f"{what}: no space left on the disk; remove images or containers") from error
        raise
