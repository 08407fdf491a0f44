"""A container's root filesystem: its layers, and above them what it has changed.

    layer (EROFS mount or tree/) ... layer, upper/ ──▶ overlay, a detached mount

The mount is a descriptor, visible nowhere on the host; it travels to the container's init.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum

from carboy.digest import Digest
from carboy.errors import InvalidArgument, NotFound
from carboy.linux import layers as linux_layers
from carboy.linux import tree as linux_tree
from carboy.linux.mount import AT_EMPTY_PATH, OPEN_TREE_CLONE, open_tree
from carboy.store.changes import Changes
from carboy.store.differ import Found, disk_usage, find, refuse_holes, write_tar
from carboy.store.intake import Intake
from carboy.store.layers import MAX_LAYERS, Layer, LayerStore
from carboy.store.lower import Lowers
from carboy.store.oldbytecode import bytecode_of
from carboy.store.paths import Paths

Interruptible = Callable[[Callable[[BaseException], None]], Callable[[], None]]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ChangeKind(IntEnum):
    """How a path differs from the image; the numbers are the Docker API's."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One changed path, absolute in the container."""

    path: bytes
    kind: ChangeKind


@dataclass(frozen=True, slots=True)
class StepChanges:
    """What a build's step has left."""

    layer: Layer | None
    """None: nothing has changed."""
    removed: tuple[bytes, ...]
    """Residues that were left out."""


class Snapshots:
    """The writable layers of containers, by container id."""

    def __init__(self, paths: Paths, layers: LayerStore) -> None:
        self._paths = paths
        self._layers = layers

    def prepare(self, container_id: str, diff_ids: Sequence[Digest] = ()) -> None:
        """Make the directories of a new container above `diff_ids` (bottom first).

        The root directory gets the image's mode and owner.  Directories that a layer only implies
        keep what the layers below say of them: they are made again in `parents/`, above all layers.
        """
        if len(diff_ids) > MAX_LAYERS:
            raise InvalidArgument(
                f"the image has {len(diff_ids)} layers; at most {MAX_LAYERS} can be mounted"
            )
        snapshot = self._paths.snapshot(container_id)
        os.makedirs(self._paths.container(container_id), 0o711, exist_ok=True)
        os.mkdir(snapshot, 0o700)
        for path in (self._paths.upper(container_id), self._paths.work(container_id)):
            os.mkdir(path, 0o700)
            os.chmod(path, 0o755)
        with Lowers(self._layers, diff_ids) as lowers:
            upper_fd = os.open(self._paths.upper(container_id), _DIRECTORY)
            try:
                lowers.copy_root(upper_fd)
            finally:
                os.close(upper_fd)
            # No sync: it would cost `run` milliseconds, and the container's record is committed after it.
            lowers.make_parents(f"{snapshot}/parents")

    def mount(
        self,
        container_id: str,
        diff_ids: Sequence[Digest],
        *,
        read_only: bool = False,
        volatile: bool = False,
    ) -> int:
        """A detached overlay mount; the caller closes the descriptor.

        A read-only one can live beside the container's own: it has the upper directory as a lower one.
        A volatile one is mounted once only, and its end does not wait for the disk.
        """
        snapshot = self._paths.snapshot(container_id)
        with ExitStack() as stack:
            # The mount's options name its directories: from a detached mount of their own they are
            # "/upper" and "/work", and a program inside learns nothing of the host.
            top = self._detached(stack, snapshot, container_id)
            upper = self._open_at(stack, "upper", top)
            lowers = self._lower_fds(stack, diff_ids, top)
            if read_only:
                lowers = [upper, *lowers]
                if len(lowers) < 2:
                    lowers.append(self._empty(stack, snapshot))
                return linux_layers.mount_overlay(lowers, None, None)
            work = self._open_at(stack, "work", top)
            options = {"volatile": ""} if volatile else {}
            return linux_layers.mount_overlay(
                lowers or [self._empty(stack, snapshot)], upper, work, options=options
            )

    @contextmanager
    def scaffold(self, container_id: str, diff_ids: Sequence[Digest]) -> Iterator[int]:
        """What is made in this mount is there in the container, but never one of its changes.

        For mount points: call it between `prepare` and `mount`, at most once.  Directories that get
        something new keep their times.
        """
        snapshot = self._paths.snapshot(container_id)
        with ExitStack() as stack:
            top = self._open(stack, snapshot, container_id)
            for name in ("scaffold", "scaffold-work"):
                os.mkdir(name, 0o755, dir_fd=top)
            lowers = self._lower_fds(stack, diff_ids, top)[1:]
            upper = self._open_at(stack, "scaffold", top)
            with Lowers(self._layers, diff_ids) as base:
                base.copy_root(upper)
                mounted = linux_layers.mount_overlay(
                    lowers or [self._empty(stack, snapshot)],
                    upper,
                    self._open_at(stack, "scaffold-work", top),
                    options={"volatile": ""},
                )
                try:
                    yield mounted
                finally:
                    os.close(mounted)
                _keep_times(upper, base)

    def mount_image(self, container_id: str, diff_ids: Sequence[Digest]) -> int:
        """A detached read-only mount of an image, for a container that mounts it beside its own."""
        snapshot = self._paths.snapshot(container_id)
        with ExitStack() as stack:
            lowers = self._lower_fds(stack, diff_ids)
            while len(lowers) < 2:
                lowers.append(self._empty(stack, snapshot, len(lowers)))
            return linux_layers.mount_overlay(lowers, None, None)

    def mount_beside(
        self,
        container_id: str,
        name: str,
        *,
        diff_ids: Sequence[Digest] = (),
        directories: Sequence[int] = (),
    ) -> int:
        """A detached overlay of open directories (topmost first) above layers, beside a container's own.

        name: where what is written to it goes, which ends with the container; empty: it is read-only.
        """
        snapshot = self._paths.snapshot(container_id)
        with ExitStack() as stack:
            lowers = [*directories, *self._lower_fds(stack, diff_ids)]
            while len(lowers) < (1 if name else 2):
                lowers.append(self._empty(stack, snapshot, len(lowers)))
            if not name:
                return linux_layers.mount_overlay(lowers, None, None)
            place = f"{snapshot}/{name}"
            for path in (place, f"{place}/upper", f"{place}/work"):
                os.mkdir(path, 0o700)
            top = self._open(stack, place, container_id)
            upper, work = self._open_at(stack, "upper", top), self._open_at(stack, "work", top)
            status = os.stat(".", dir_fd=lowers[0])
            os.fchown(upper, status.st_uid, status.st_gid)
            os.fchmod(upper, stat.S_IMODE(status.st_mode))
            return linux_layers.mount_overlay(lowers, upper, work, options={"volatile": ""})

    def remove(self, container_id: str) -> None:
        """Remove what the container has changed; quietly when there is nothing."""
        try:
            fd = os.open(self._paths.container(container_id), _DIRECTORY)
        except FileNotFoundError:
            return
        try:
            if os.path.lexists(self._paths.snapshot(container_id)):
                linux_tree.remove(fd, "snapshot")
        finally:
            os.close(fd)

    def diff(self, container_id: str, diff_ids: Sequence[Digest]) -> Iterator[Change]:
        """What the container has changed, sorted by path."""
        found = self._find(container_id)
        with Lowers(self._layers, diff_ids) as lowers:
            for item in found:
                yield Change(b"/" + item.path, _kind(item, lowers))

    def write_layer(
        self,
        container_id: str,
        diff_ids: Sequence[Digest],
        *,
        epoch: int | None = None,
        omit: frozenset[bytes] = frozenset(),
    ) -> Layer:
        """Make a layer of what the container has changed.

        Times are clamped to `epoch`; paths in `omit` (relative, no slash at the end) are left out.
        """
        with ExitStack() as stack:
            upper = self._open(stack, self._paths.upper(container_id), container_id)
            intake = stack.enter_context(self._layers.begin())
            try:
                found = find(upper, omit=omit)
                self._keep_true_opaques(found, diff_ids)
                write_tar(upper, found, intake, epoch=epoch)
            except BaseException as error:
                self._layers.discard(intake, error)
                raise
            return self._layers.commit(intake)

    def write_step(
        self,
        container_id: str,
        diff_ids: Sequence[Digest],
        *,
        epoch: int,
        lent: frozenset[bytes] = frozenset(),
        residue: Callable[[bytes], bool] | None = None,
        interruptible: Interruptible | None = None,
    ) -> StepChanges:
        """Make a layer of what a build's step has changed, if it has (see `changes.py`).

        interruptible: told how to end the writing early; what it gives is called when that is over.
        """
        with ExitStack() as stack:
            # What was found is forgotten before the layer is read and indexed: both may be large.
            intake, removed = self._write_changes(
                stack,
                container_id,
                diff_ids,
                epoch=epoch,
                lent=lent,
                residue=residue,
                interruptible=interruptible,
            )
            return StepChanges(None if intake is None else self._layers.commit(intake), removed)

    def _write_changes(
        self,
        stack: ExitStack,
        container_id: str,
        diff_ids: Sequence[Digest],
        *,
        epoch: int,
        lent: frozenset[bytes],
        residue: Callable[[bytes], bool] | None,
        interruptible: Interruptible | None,
    ) -> tuple[Intake | None, tuple[bytes, ...]]:
        """The written tar, closed by `stack`, and what was left out of it."""
        scaffold = f"{self._paths.snapshot(container_id)}/scaffold"
        top = scaffold if os.path.isdir(scaffold) else ""
        upper = self._open(stack, self._paths.upper(container_id), container_id)
        found = find(upper)
        if not found:
            return None, ()
        base = stack.enter_context(Lowers(self._layers, diff_ids))
        shown = stack.enter_context(Lowers(self._layers, diff_ids, top=top)) if top else base
        changes = Changes(upper, base=base, shown=shown, lent=lent, residue=residue)
        found = changes.choose(found)
        if not found:
            return None, tuple(changes.removed)
        refuse_holes(found)
        bytecode = bytecode_of(found, base, epoch, view=lambda: self.mount_image(container_id, diff_ids))
        intake = stack.enter_context(self._layers.begin())
        if interruptible is not None:
            stack.callback(interruptible(intake.abort))
        try:
            write_tar(upper, found, intake, epoch=epoch, bytecode=bytecode)
        except BaseException as error:
            self._layers.discard(intake, error)
            raise
        return intake, tuple(changes.removed)

    def _keep_true_opaques(self, found: list[Found], diff_ids: Sequence[Digest]) -> None:
        """Overlay marks every new directory opaque; a layer says so only where that hides something."""
        opaque = [item for item in found if item.opaque]
        if not opaque:
            return
        with Lowers(self._layers, diff_ids) as lowers:
            for item in opaque:
                below = lowers.status(item.path)
                item.opaque = below is not None and stat.S_ISDIR(below.st_mode)

    def usage(self, container_id: str) -> int:
        """Bytes on disk that the container's changes take."""
        return disk_usage(self._find(container_id))

    def _find(self, container_id: str) -> list[Found]:
        with ExitStack() as stack:
            return find(self._open(stack, self._paths.upper(container_id), container_id))

    @staticmethod
    def _open(stack: ExitStack, path: str, container_id: str) -> int:
        try:
            fd = os.open(path, _DIRECTORY)
        except FileNotFoundError:
            raise NotFound(f"container {container_id}: its files are missing ({path})") from None
        stack.callback(os.close, fd)
        return fd

    def _detached(self, stack: ExitStack, path: str, container_id: str) -> int:
        """A detached clone of the mount at `path`, or the plain directory where there can be none."""
        plain = self._open(stack, path, container_id)
        try:
            cloned = open_tree(plain, "", AT_EMPTY_PATH | OPEN_TREE_CLONE)
        except OSError:
            return plain  # below an unbindable mount
        stack.callback(os.close, cloned)
        return cloned

    @staticmethod
    def _open_at(stack: ExitStack, name: str, directory: int) -> int:
        fd = os.open(name, _DIRECTORY, dir_fd=directory)
        stack.callback(os.close, fd)
        return fd

    def _lower_fds(
        self, stack: ExitStack, diff_ids: Sequence[Digest], snapshot: int | None = None
    ) -> list[int]:
        """Descriptors of the lower directories, topmost first; with those of a snapshot (a descriptor)."""
        fds = []
        if snapshot is not None:
            for name in ("scaffold", "parents"):
                with suppress(FileNotFoundError):
                    fds.append(self._open_at(stack, name, snapshot))
        # A layer may be there twice (the same COPY again).  Overlay refuses that, and the upper one alone
        # gives the same: whatever the lower one could still show, the upper one shows.
        for diff_id in dict.fromkeys(reversed(diff_ids)):
            fd = self._layers.mount(diff_id)
            stack.callback(os.close, fd)
            fds.append(fd)
        return fds

    def _empty(self, stack: ExitStack, snapshot: str, number: int = 0) -> int:
        """An empty directory; overlay refuses the same one twice."""
        path = f"{snapshot}/empty{number or ''}"
        os.makedirs(path, 0o755, exist_ok=True)
        return self._open(stack, path, snapshot)


def _kind(item: Found, lowers: Lowers) -> ChangeKind:
    if item.is_whiteout:
        return ChangeKind.DELETED
    below = lowers.status(item.path)
    if below is None:
        return ChangeKind.ADDED
    if stat.S_IFMT(below.st_mode) != stat.S_IFMT(item.status.st_mode):
        return ChangeKind.ADDED
    return ChangeKind.MODIFIED


def _keep_times(upper: int, base: Lowers) -> None:
    """Directories that were copied up get their times back; what is new has a time of its own."""
    for item in reversed(find(upper)):
        below = base.status(item.path)
        time = 0 if below is None else below.st_mtime_ns
        fd = os.open(item.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=upper)
        try:
            os.utime(fd, ns=(time, time))
        finally:
            os.close(fd)
