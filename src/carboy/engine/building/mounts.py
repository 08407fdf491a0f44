"""The `--mount`s of a RUN, as detached mounts that go to the container's init by descriptor.

Every source is opened here, below the descriptor that it belongs to (openat2): a link in an image, a
context or a cache leads nowhere but within it, and nothing can be exchanged between the look and the
mount (security: buildkit 2024-23651, buildah 2024-1753, 2024-9675, 2024-11218).

    bind     layers          read-only overlay of them; rw: with a directory that is thrown away
             a context       a clone of its directory; with a mask over it where .dockerignore says so
    cache    a directory of CacheMounts, filled when it is new
    tmpfs    made by the runtime
    secret   a file of a tmpfs of its own: never on a disk
    ssh      a socket of ours that leads to the agent
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass

from carboy.build.caching.mounts import CacheMounts, HeldMount
from carboy.build.executor import (
    AnyMount,
    Job,
    MountedAgent,
    MountedCache,
    MountedSecret,
    MountedTmpfs,
    MountedTree,
)
from carboy.build.progress import Cancellation
from carboy.build.trees import LocalTree
from carboy.engine.building.agents import AgentRelay
from carboy.engine.building.masking import mask
from carboy.engine.building.scaffolding import Scaffold
from carboy.engine.volumecopy import copy_directory
from carboy.errors import InvalidArgument, NotFound, Unavailable
from carboy.linux import mount as linux_mount
from carboy.linux.mount import AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE, open_tree
from carboy.linux.paths import open_in_root
from carboy.store.paths import Paths
from carboy.store.snapshots import Snapshots

MOST = 60
"""Descriptors that one request to the spawner carries."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Entry = dict[str, object]


@dataclass(frozen=True, slots=True)
class ReadyMount:
    """One mount, as the runtime is told."""

    entry: Entry
    descriptor: int
    """-1 for none."""
    is_directory: bool


class StepMounts:
    """Makes the mounts of one step; everything is given back when `stack` is closed."""

    def __init__(self, paths: Paths, snapshots: Snapshots, caches: CacheMounts, stack: ExitStack) -> None:
        self._paths = paths
        self._snapshots = snapshots
        self._caches = caches
        self._stack = stack
        self._id = ""
        self._held: list[HeldMount] = []
        self.variables: list[str] = []

    def open(self, step_id: str, job: Job, cancellation: Cancellation) -> list[ReadyMount]:
        """All of them, outer ones first.  Raises InvalidArgument for what is not there."""
        self._id = step_id
        if len(job.mounts) > MOST:
            raise InvalidArgument(f"RUN has {len(job.mounts)} mounts; at most {MOST} are possible")
        caches = [mount for mount in job.mounts if isinstance(mount, MountedCache)]
        held = (
            self._caches.acquire_all([(mount.id, mount.sharing) for mount in caches], cancellation)
            if caches
            else []
        )
        for one in held:
            self._stack.callback(one.release)
        self._held = held
        ready = []
        for position, mount in enumerate(job.mounts):
            try:
                found = self._open(mount, position)
            except FileNotFoundError as error:
                raise NotFound(f"RUN --mount: {mount.target}: {error.strerror}: {_name(error)}") from error
            if found is not None:
                ready.append(found)
        ready.sort(key=lambda one: str(one.entry["destination"]).rstrip("/").count("/"))
        return ready

    def _open(self, mount: AnyMount, position: int) -> ReadyMount | None:
        match mount:
            case MountedTree():
                return self._tree(mount, position)
            case MountedCache():
                return self._cache(mount)
            case MountedTmpfs():
                return _tmpfs(mount)
            case MountedSecret():
                return self._secret(mount)
            case MountedAgent():
                return self._agent(mount, position)

    # bind

    def _tree(self, mount: MountedTree, position: int) -> ReadyMount:
        if mount.local is not None:
            return self._local(mount, mount.local, position)
        if mount.readonly:
            whole = self._snapshots.mount_image(self._id, mount.layers)
        else:
            whole = self._snapshots.mount_beside(self._id, f"rw-{position}", diff_ids=mount.layers)
        self._stack.callback(os.close, whole)
        return self._part(mount, whole)

    def _local(self, mount: MountedTree, tree: LocalTree, position: int) -> ReadyMount:
        masked = mask(tree, self._scratch(f"mask-{position}")) if tree.ignore is not None else None
        if masked is not None:
            self._stack.callback(os.close, masked)
        if mount.readonly and masked is None:
            return self._clone(mount, tree.root, tree.path)
        above = [masked] if masked is not None else []
        name = "" if mount.readonly else f"rw-{position}"
        whole = self._snapshots.mount_beside(self._id, name, directories=[*above, tree.root])
        self._stack.callback(os.close, whole)
        return self._part(mount, whole)

    def _scratch(self, name: str) -> str:
        path = f"{self._paths.snapshot(self._id)}/{name}"
        os.mkdir(path, 0o700)
        return path

    def _part(self, mount: MountedTree, whole: int) -> ReadyMount:
        """What lies at `source` of a mount that nobody else has: the runtime finds the same there."""
        is_directory = _is_directory(whole, mount)
        options = ["rbind", "nodev", "rro" if mount.readonly else "rw", "rprivate"]
        if mount.local is not None:
            options.append("nosuid")
        source = os.path.normpath("/" + mount.source.lstrip("/"))
        if source != "/":
            options.append(f"carboy.subpath={mount.source.lstrip('/')}")
        return self._ready(mount.target, "build", options, whole, is_directory=is_directory)

    def _clone(self, mount: MountedTree, root: int, path: str) -> ReadyMount:
        found = _find(root, mount)
        try:
            is_directory = stat.S_ISDIR(os.fstat(found).st_mode)
            copy = open_tree(found, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE)
        finally:
            os.close(found)
        self._stack.callback(os.close, copy)
        options = ["rbind", "rro", "nodev", "nosuid", "rprivate"]
        return self._ready(mount.target, path, options, copy, is_directory=is_directory)

    def _ready(
        self, target: str, source: str, options: list[str], descriptor: int, *, is_directory: bool
    ) -> ReadyMount:
        entry: Entry = {"destination": target, "type": "bind", "source": source, "options": options}
        return ReadyMount(entry, descriptor, is_directory)

    # cache

    def _cache(self, mount: MountedCache) -> ReadyMount:
        held = self._held.pop(0)
        fd = os.open(held.path, _DIRECTORY)
        try:
            if held.fresh:
                self._fill(mount, fd)
                held.filled()
            copy = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE)
        finally:
            os.close(fd)
        self._stack.callback(os.close, copy)
        options = ["rbind", "nodev", "rro" if mount.readonly else "rw", "rprivate"]
        return self._ready(mount.target, "cache", options, copy, is_directory=True)

    def _fill(self, mount: MountedCache, fd: int) -> None:
        if not mount.layers:
            os.fchown(fd, mount.uid, mount.gid)
            os.fchmod(fd, mount.mode)
            return
        whole = self._snapshots.mount_image(self._id, mount.layers)
        try:
            source = open_in_root(whole, mount.source, os.O_RDONLY | os.O_DIRECTORY)
            try:
                copy_directory(source, fd)
            finally:
                os.close(source)
        finally:
            os.close(whole)

    # secret, ssh

    def _secret(self, mount: MountedSecret) -> ReadyMount | None:
        if mount.env:
            self.variables.append(f"{mount.env}={_value(mount)}")
        if not mount.target:
            return None
        memory = _memory(len(mount.data))
        self._stack.callback(os.close, memory)
        fd = os.open("secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=memory)
        with os.fdopen(fd, "wb") as file:
            file.write(mount.data)
            file.flush()
            os.fchown(fd, mount.uid, mount.gid)
            os.fchmod(fd, mount.mode & 0o7777)
        options = ["rbind", "rro", "nosuid", "nodev", "noexec", "rprivate", "carboy.subpath=secret"]
        return self._ready(mount.target, "secret", options, memory, is_directory=False)

    def _agent(self, mount: MountedAgent, position: int) -> ReadyMount:
        directory = self._paths.container_run(self._id)
        try:
            relay = AgentRelay(
                directory,
                f"agent-{position}",
                mount.socket,
                mode=mount.mode & 0o7777,
                uid=mount.uid,
                gid=mount.gid,
            )
        except OSError as error:
            raise Unavailable(f"RUN --mount=type=ssh: no socket can be made: {error}") from error
        self._stack.callback(relay.close)
        copy = open_tree(linux_mount.AT_FDCWD, relay.path, OPEN_TREE_CLONE)
        self._stack.callback(os.close, copy)
        self.variables.append(f"SSH_AUTH_SOCK={mount.target}")
        options = ["bind", "nosuid", "nodev", "noexec", "rprivate"]
        return self._ready(mount.target, "ssh agent", options, copy, is_directory=False)


def entries_of(ready: list[ReadyMount]) -> tuple[list[Entry], list[int]]:
    """The `mounts` of config.json, and the descriptors that go with them."""
    entries: list[Entry] = []
    descriptors: list[int] = []
    for one in ready:
        entry = dict(one.entry)
        if one.descriptor >= 0:
            options = entry["options"]
            assert isinstance(options, list)
            entry["options"] = [*options, f"carboy.descriptor={len(descriptors)}"]
            descriptors.append(one.descriptor)
        entries.append(entry)
    return entries, descriptors


def add_targets(scaffold: Scaffold, ready: list[ReadyMount]) -> None:
    """Have their mount points made."""
    for one in ready:
        scaffold.add(str(one.entry["destination"]), is_directory=one.is_directory)


def _tmpfs(mount: MountedTmpfs) -> ReadyMount:
    options = ["nosuid", "nodev", "mode=1777", *([f"size={mount.size}"] if mount.size else [])]
    entry: Entry = {"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options}
    return ReadyMount(entry, -1, True)


def _is_directory(root: int, mount: MountedTree) -> bool:
    found = _find(root, mount)
    try:
        return stat.S_ISDIR(os.fstat(found).st_mode)
    finally:
        os.close(found)


def _find(root: int, mount: MountedTree) -> int:
    try:
        return open_in_root(root, mount.source, os.O_PATH)
    except OSError as error:
        raise NotFound(
            f"RUN --mount=type=bind,target={mount.target}: its source {mount.source or '/'}: {error.strerror}"
        ) from error


def _value(mount: MountedSecret) -> str:
    """The secret as the value of a variable: it goes through JSON, and ends at a NUL."""
    try:
        text = mount.data.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(_no_value(mount, "is no UTF-8 text")) from error
    if "\0" in text:
        raise InvalidArgument(_no_value(mount, "holds a NUL byte"))
    return text


def _no_value(mount: MountedSecret, why: str) -> str:
    return f"RUN --mount=type=secret: the secret for the variable {mount.env} {why}: mount it as a file"


def _memory(size: int) -> int:
    """A tmpfs, mounted nowhere, with room for one file; not swapped where the kernel can promise that."""
    for flags in (("noswap",), ()):
        context = linux_mount.fsopen("tmpfs")
        try:
            linux_mount.fsconfig_set_string(context, "source", "tmpfs")
            linux_mount.fsconfig_set_string(context, "size", str((size // 4096 + 2) * 4096))
            linux_mount.fsconfig_set_string(context, "mode", "0755")
            try:
                for flag in flags:
                    linux_mount.fsconfig_set_flag(context, flag)
            except OSError:
                continue  # before Linux 6.4
            linux_mount.fsconfig_create(context)
            return linux_mount.fsmount(context)
        finally:
            os.close(context)
    raise AssertionError


def _name(error: OSError) -> str:
    name = error.filename
    return os.fsdecode(name)[:200] if isinstance(name, str | bytes) else ""
