"""Volumes: named directories that outlive containers; the first use fills them from the image."""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from carboy.engine.events import Events
from carboy.engine.spec.mounts import check_volume_name, random_volume_name
from carboy.engine.usage import directory_size, in_parallel
from carboy.engine.volumecopy import copy_directory
from carboy.engine.volumemounts import VolumeMounts, bound_path, check_options, is_read_only
from carboy.errors import Conflict, InvalidArgument, NotFound
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.times import rfc3339
from carboy.formats.dockerapi.volumes import (
    UsageData,
    Volume,
    VolumeCreateRequest,
    VolumeList,
    VolumesPruned,
)
from carboy.linux import tree
from carboy.linux.paths import open_in_root
from carboy.store.metadata import Database
from carboy.store.paths import Paths

_UNUSABLE = (errno.ELOOP, errno.ENAMETOOLONG)
"""What resolving a path of a hostile image may end with."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DATA = "_data"
_FILLING = "_filling"
_REMOVED = ".removed-"
"""No volume's name begins with a dot."""
_ANONYMOUS = "com.docker.volume.anonymous"
_KNOWN = ("name", "label", "driver", "dangling")


class VolumeDocument(msgspec.Struct, kw_only=True):
    """The row of table `volumes`."""

    version: int = 1
    name: str
    created_at: int
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    populated: bool = False


class Volumes:
    """The named volumes of one daemon."""

    def __init__(self, paths: Paths, database: Database, events: Events) -> None:
        self._paths = paths
        self._database = database
        self._events = events
        self._lock = threading.RLock()
        self._volumes: dict[str, VolumeDocument] = {}
        self._mounts = VolumeMounts(paths.volumes)
        self.users: Callable[[], Iterable[tuple[str, str]]] = lambda: ()
        """Gives (volume name, container id) for every use; set by the containers."""
        with database.read() as connection:
            rows = connection.execute("SELECT document FROM volumes").fetchall()
        for (text,) in rows:
            document = msgspec.json.decode(text, type=VolumeDocument)
            self._volumes[document.name] = document
        self._finish_removals()

    # -- for containers

    def ensure(
        self,
        name: str,
        labels: dict[str, str],
        *,
        options: dict[str, str] | None = None,
        anonymous: bool = False,
    ) -> bool:
        """Make the volume unless it exists; says whether it has never been filled."""
        check_options(options or {})
        with self._lock:
            document = self._volumes.get(name)
            if document is None:
                found = {**labels, _ANONYMOUS: ""} if anonymous else labels
                document = VolumeDocument(
                    name=name, created_at=time.time_ns(), labels=found, options=options or {}
                )
                self._make(document)
            return not document.populated

    def acquire(self, name: str, container_id: str) -> tuple[str, bool]:
        """What to bind for a container that starts, and whether read-only; raises NotFound."""
        document = self._volumes.get(name)
        if document is None:
            raise NotFound(f"get {name[:80]}: no such volume")
        path = bound_path(document.options)
        if path and not os.path.isdir(path):
            raise InvalidArgument(
                f"error while mounting volume '{self._paths.volume_data(name)}': failed to mount local"
                f" volume: mount {path}: no such directory"
            )
        if document.options and not path:
            self._mounts.acquire(name, container_id, document.options)
        return path or self._paths.volume_data(name), is_read_only(document.options)

    def release(self, container_id: str) -> None:
        """A container has ended, or could not start."""
        self._mounts.release(container_id)

    def adopt(self, uses: Iterable[tuple[str, str]]) -> None:
        """At the start: (volume, container) of every container that runs."""
        special = {one.name for one in self._volumes.values() if one.options and not bound_path(one.options)}
        self._mounts.adopt([(name, user) for name, user in uses if name in special], special)

    def open(self, name: str, subpath: str = "") -> int:
        """A descriptor (O_PATH) of the volume, or of a part of it: never of anything outside it."""
        document = self._volumes.get(name)
        if document is None:
            raise NotFound(f"get {name[:80]}: no such volume")
        path = bound_path(document.options) or self._paths.volume_data(name)
        root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if not subpath:
            return root
        try:
            return open_in_root(root, subpath, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound(
                f"volume {name}: cannot use the subpath {subpath[:80]!r}: {error.strerror}"
            ) from error
        finally:
            os.close(root)

    def populate(self, name: str, rootfs: int, unsafe_path: str) -> None:
        """Fill a new volume with what the image has at the place where it is mounted."""
        with self._lock:
            document = self._volumes[name]
            if document.populated or document.options:
                return
            if not os.listdir(self._paths.volume_data(name)):
                self._fill(name, rootfs, unsafe_path)
            document.populated = True
            self._save(document)

    # -- api.backend.Volumes

    def create(self, request: VolumeCreateRequest) -> Volume:
        """Make a volume, or give the one that has the name already."""
        if request.driver not in ("", "local"):
            raise NotFound(
                f"create {request.name[:80]}: error looking up volume plugin {request.driver[:80]}: "
                f'plugin "{request.driver[:80]}" not found'
            )
        name = check_volume_name(request.name) if request.name else random_volume_name()
        try:
            check_options(request.driver_opts or {})
        except InvalidArgument as error:
            raise InvalidArgument(f"create {name[:80]}: {error}") from error
        self.ensure(name, request.labels, options=request.driver_opts, anonymous=not request.name)
        return self.inspect(name)

    def list(self, filters: Filters) -> VolumeList:
        """The volumes that pass the filters, by name."""
        filters.require_known(_KNOWN)
        used = {name for name, _ in self.users()} if "dangling" in filters else set()
        found = []
        for document in sorted(self._volumes.values(), key=lambda one: one.name):
            dangling = filters.boolean("dangling", default=document.name not in used)
            if (
                filters.pattern("name", document.name)
                and filters.labels(document.labels)
                and filters.exact("driver", "local")
                and ("dangling" not in filters or dangling == (document.name not in used))
            ):
                found.append(self._shown(document))
        return VolumeList(volumes=found)

    def inspect(self, unsafe_name: str) -> Volume:
        """One volume; raises NotFound."""
        document = self._volumes.get(unsafe_name)
        if document is None:
            raise NotFound(f"get {unsafe_name[:80]}: no such volume")
        return self._shown(document)

    def remove(self, unsafe_name: str, *, force: bool) -> None:
        """Remove a volume that no container uses."""
        with self._lock:
            document = self._volumes.get(unsafe_name)
            if document is None:
                if force:
                    return
                raise NotFound(f"get {unsafe_name[:80]}: no such volume")
            used = [container for name, container in self.users() if name == unsafe_name]
            if used:
                raise Conflict(f"remove {unsafe_name}: volume is in use - [{', '.join(dict.fromkeys(used))}]")
            self._delete(document)

    def prune(self, filters: Filters) -> VolumesPruned:
        """Remove what no container uses: anonymous ones, all with the filter `all`."""
        filters.require_known(("label", "label!", "all"))
        everything = filters.boolean("all", default=False)
        result = VolumesPruned()
        used = {name for name, _ in self.users()}
        for document in list(self._volumes.values()):
            wanted = everything or _ANONYMOUS in document.labels
            if (
                wanted
                and document.name not in used
                and filters.labels(document.labels)
                and filters.without_labels(document.labels)
            ):
                size = directory_size(self._paths.volume_data(document.name))  # long: without the lock
                with contextlib.suppress(Conflict, NotFound):
                    self.remove(document.name, force=False)
                    result.volumes_deleted.append(document.name)
                    result.space_reclaimed += size
        self._events.publish("volume", "prune", "", {"reclaimed": str(result.space_reclaimed)})
        return result

    def usage(self) -> builtins.list[Volume]:
        """Every volume with its size and its number of users."""
        counts = Counter(name for name, _ in self.users())
        found = [self._shown(document) for document in list(self._volumes.values())]
        sizes = in_parallel([partial(directory_size, volume.mountpoint) for volume in found])
        for volume, size in zip(found, sizes, strict=True):
            volume.usage_data = UsageData(size=size, ref_count=counts[volume.name])
        return found

    # -- inside

    def _fill(self, name: str, rootfs: int, unsafe_path: str) -> None:
        """Copy all or nothing, even when we are killed: what is half full would count as filled."""
        volume = os.open(self._paths.volume(name), _DIRECTORY)
        try:
            # Who has it mounted already (with `nocopy`) would not see another directory.
            if any(used == name for used, _ in self.users()):
                _copy_into(volume, _DATA, rootfs, unsafe_path)
                return
            tree.remove(volume, _FILLING)
            _make_data(volume, _FILLING)
            try:
                _copy_into(volume, _FILLING, rootfs, unsafe_path)
                os.rename(_FILLING, _DATA, src_dir_fd=volume, dst_dir_fd=volume)
            except BaseException:
                tree.remove(volume, _FILLING)
                raise
        finally:
            os.close(volume)

    def _make(self, document: VolumeDocument) -> None:
        path = self._paths.volume(document.name)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o701)
        volume = os.open(path, _DIRECTORY)
        try:
            with contextlib.suppress(FileExistsError):
                _make_data(volume, _DATA)
        finally:
            os.close(volume)
        self._save(document)
        self._volumes[document.name] = document
        self._events.publish("volume", "create", document.name, {"driver": "local"})

    def _save(self, document: VolumeDocument) -> None:
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO volumes(name, created_at, document) VALUES (?, ?, ?)",
                (document.name, document.created_at / 1e9, msgspec.json.encode(document)),
            )

    def _delete(self, document: VolumeDocument) -> None:
        """The directory gets another name first: a volume that is made later never finds old files in it."""
        grave = f"{_REMOVED}{secrets.token_hex(8)}"
        directory = os.open(self._paths.volumes, _DIRECTORY)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.rename(document.name, grave, src_dir_fd=directory, dst_dir_fd=directory)
            self._forget(document.name)
            tree.remove(directory, grave)
        finally:
            os.close(directory)
        self._events.publish("volume", "destroy", document.name, {"driver": "local"})

    def _forget(self, name: str) -> None:
        with self._database.write() as connection:
            connection.execute("DELETE FROM volumes WHERE name = ?", (name,))
        self._volumes.pop(name, None)

    def _finish_removals(self) -> None:
        """At the start: what an earlier daemon had begun to remove when it was killed."""
        directory = os.open(self._paths.volumes, _DIRECTORY)
        try:
            names = set(os.listdir(directory))
            graves = {name for name in names if name.startswith(_REMOVED)}
            if graves:
                for name in self._volumes.keys() - names:
                    self._forget(name)
            for grave in graves:
                tree.remove(directory, grave)
        finally:
            os.close(directory)

    def _shown(self, document: VolumeDocument) -> Volume:
        return Volume(
            name=document.name,
            mountpoint=self._paths.volume_data(document.name),
            created_at=rfc3339(document.created_at),
            labels=document.labels or None,
            options=document.options or None,
        )


def _make_data(volume: int, name: str) -> None:
    os.mkdir(name, 0o755, dir_fd=volume)
    os.chmod(name, 0o755, dir_fd=volume)  # whatever the umask


def _copy_into(volume: int, name: str, rootfs: int, unsafe_path: str) -> None:
    """Copy from the image; what cannot be copied whole is removed again."""
    target = os.open(name, _DIRECTORY, dir_fd=volume)
    try:
        _copy_from_image(rootfs, unsafe_path, target)
    except BaseException as error:
        for left in os.listdir(target):
            tree.remove(target, left)
        if isinstance(error, OSError) and error.errno in _UNUSABLE:
            raise InvalidArgument(
                f"cannot mount a volume at {unsafe_path[:200]!r} of the image: {error.strerror}"
            ) from error
        raise
    finally:
        os.close(target)


def _copy_from_image(rootfs: int, unsafe_path: str, target: int) -> None:
    try:
        source = open_in_root(rootfs, unsafe_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        copy_directory(source, target)
    finally:
        os.close(source)
