"""What goes into and out of containers: `cp`, `export`, `diff`.  Fulfils `api.backend.ContainerFiles`."""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

from carboy.archive.contents import BufferedReader
from carboy.archive.copying import copy_tree
from carboy.archive.packing import pack
from carboy.archive.unpacking import Unpacker, unpack
from carboy.archive.walking import Scope
from carboy.engine.containers.changes import visible
from carboy.engine.containers.document import Container
from carboy.engine.containers.filesystem import (
    READ_ONLY_ROOT,
    ContainerPlaces,
    Filesystems,
    Place,
    SubtreeScope,
    View,
    require_files,
    require_writable,
)
from carboy.engine.containers.parts import Parts
from carboy.engine.users import read_account_files, resolve
from carboy.errors import (
    Conflict,
    Corrupt,
    InvalidArgument,
    Malformed,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from carboy.formats.compression import Decompressor
from carboy.formats.dockerapi.archives import FilesystemChange, PathStat, path_stat
from carboy.linux import tree

_PIECE = 1 << 26
_UNUSABLE = (errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)


class Source(Protocol):
    """Bytes from a client."""

    def read(self, size: int, /) -> bytes: ...


class Sink(Protocol):
    """Where bytes for a client go."""

    def write(self, data: bytes | memoryview, /) -> None: ...
    def fileno(self) -> int | None: ...


class Finder(Protocol):
    """Finds containers."""

    def find(self, unsafe_ref: str) -> Container: ...


Emit = Callable[[Container, str], None]


class Archive:
    """Files of a container, about to be sent; `close` it in any case."""

    def __init__(
        self, found: PathStat | None, start: int, name: bytes, scope: Scope, held: ExitStack
    ) -> None:
        self.stat = found
        self._start = start
        self._name = name
        self._scope = scope
        self._held = held

    def write(self, sink: Sink) -> None:
        """Write the tar."""
        descriptor = sink.fileno()
        send = None if descriptor is None else _sender(descriptor)
        for piece in pack(self._start, self._name, scope=self._scope, send=send):
            sink.write(piece)

    def close(self) -> None:
        """Let go of the container's files."""
        self._held.close()


class ContainerFiles:
    """Archives of containers' files, both ways."""

    def __init__(self, parts: Parts, containers: Finder, emit: Emit) -> None:
        self._parts = parts
        self._containers = containers
        self._emit = emit
        self._filesystems = Filesystems(parts)

    def stat(self, unsafe_ref: str, unsafe_path: str) -> PathStat:
        """What is at a path; a link at its end is not followed."""
        container = self._containers.find(unsafe_ref)
        with _worded(unsafe_ref, unsafe_path), self._filesystems.open(container, write=False) as view:
            place = view.resolve(os.fsencode(unsafe_path), follow=False)
            try:
                return _stat(view, place, unsafe_path)
            finally:
                os.close(place.fd)

    def archive(self, unsafe_ref: str, unsafe_path: str) -> Archive:
        """The file or directory at a path as a tar, named as the path's last name."""
        container = self._containers.find(unsafe_ref)
        with ExitStack() as stack, _worded(unsafe_ref, unsafe_path):
            view = stack.enter_context(self._filesystems.open(container, write=False))
            place = view.resolve(os.fsencode(unsafe_path), follow=False)
            stack.callback(os.close, place.fd)
            found = _stat(view, place, unsafe_path)
            scope = SubtreeScope(view, place.path)
            name = os.fsencode(_base(unsafe_path))
            archive = Archive(found, place.fd, name, scope, stack.pop_all())
        self._emit(container, "archive-path")
        return archive

    def export(self, unsafe_ref: str) -> Archive:
        """The whole filesystem, without what is mounted in it."""
        container = self._containers.find(unsafe_ref)
        with ExitStack() as stack:
            root = self._filesystems.plain(container)
            stack.callback(os.close, root)
            archive = Archive(None, root, b"", Scope(), stack.pop_all())
        self._emit(container, "export")
        return archive

    def extract(
        self, unsafe_ref: str, unsafe_path: str, source: Source, *, keep_kinds: bool, copy_owner: bool
    ) -> None:
        """Unpack a tar, compressed or not, into the directory at a path.

        keep_kinds: no directory gives way to a file, nor a file to a directory.
        copy_owner: everything will belong to the container's user.
        """

        def put(unpacker: Unpacker) -> None:
            try:
                plain = Decompressor(source.read)
                unpack(BufferedReader(plain.read), unpacker)
                while source.read(1 << 20):
                    pass  # what follows the archive: a client is not cut off in its sending
            except Malformed:
                raise
            except Corrupt as error:
                raise Malformed(str(error)) from error

        self._write(unsafe_ref, unsafe_path, put, keep_kinds=keep_kinds, copy_owner=copy_owner)

    def copy_in(
        self,
        unsafe_ref: str,
        unsafe_path: str,
        descriptor: int,
        unsafe_name: str,
        *,
        keep_kinds: bool,
        copy_owner: bool,
    ) -> None:
        """Copy an open file or directory of this machine, as `unsafe_name`, into the directory at a path."""
        name = os.fsencode(unsafe_name)

        def put(unpacker: Unpacker) -> None:
            copy_tree(descriptor, name, unpacker)

        self._write(unsafe_ref, unsafe_path, put, keep_kinds=keep_kinds, copy_owner=copy_owner)

    def changes(self, unsafe_ref: str) -> builtins.list[FilesystemChange]:
        """What differs from the image, sorted by path."""
        container = self._containers.find(unsafe_ref)
        found = self._parts.snapshots.diff(container.id, container.diff_ids)
        return [
            FilesystemChange(path=change.path.decode("utf-8", "replace"), kind=int(change.kind))
            for change in visible(found, self._parts.paths.upper(container.id))
        ]

    def _write(
        self,
        unsafe_ref: str,
        unsafe_path: str,
        put: Callable[[Unpacker], None],
        *,
        keep_kinds: bool,
        copy_owner: bool,
    ) -> None:
        container = self._containers.find(unsafe_ref)
        with _worded(unsafe_ref, unsafe_path), self._filesystems.open(container, write=True) as view:
            place = view.resolve(os.fsencode(unsafe_path))
            try:
                if not stat.S_ISDIR(os.fstat(place.fd).st_mode):
                    raise InvalidArgument("extraction point is not a directory")
                require_writable(container, view, place)
                require_files(place)
                owner = _user(container, view) if copy_owner else None
                self._unpack(view, place, put, owner=owner, keep_kinds=keep_kinds)
            finally:
                os.close(place.fd)
        self._emit(container, "extract-to-dir")

    @staticmethod
    def _unpack(
        view: View,
        place: Place,
        put: Callable[[Unpacker], None],
        *,
        owner: tuple[int, int] | None,
        keep_kinds: bool,
    ) -> None:
        places = ContainerPlaces(view, place)
        try:
            put(Unpacker(places, owner=owner, replace=not keep_kinds, remove=tree.remove))
        except OSError as error:
            raise _refused(error) from error
        finally:
            places.close()


@contextlib.contextmanager
def _worded(unsafe_ref: str, unsafe_path: str) -> Iterator[None]:
    """Failures to resolve the path, in the words that clients match on."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"Could not find the file {unsafe_path} in container {unsafe_ref}") from error
    except NotADirectoryError as error:
        raise InvalidArgument(f"{unsafe_path}: not a directory") from error
    except OSError as error:
        if error.errno not in _UNUSABLE:
            raise
        raise InvalidArgument(f"{unsafe_path[:200]}: {error.strerror}") from error


def _refused(error: OSError) -> Exception:
    """What the filesystem said while files were made."""
    name = error.filename
    shown = os.fsdecode(name)[:200] if isinstance(name, str | bytes) else ""
    text = f"cannot copy into the container: {shown}: {error.strerror}"
    if error.errno == errno.EROFS:
        return PermissionDenied(READ_ONLY_ROOT)
    if error.errno in (errno.EPERM, errno.EACCES):
        return PermissionDenied(text)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"{text}: free some space and try again")
    if error.errno == errno.EBUSY:
        return Conflict(text)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EXDEV, errno.ENOTEMPTY, *_UNUSABLE):
        return InvalidArgument(text)
    return error


def _stat(view: View, place: Place, unsafe_path: str) -> PathStat:
    status = os.fstat(place.fd)
    target = _target(view, place) if stat.S_ISLNK(status.st_mode) else ""
    return path_stat(
        _base(unsafe_path),
        mode=status.st_mode,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        link_target=target,
    )


def _target(view: View, place: Place) -> str:
    """Where a link leads to in the end; for a broken one, as far as can be told."""
    try:
        final = view.resolve(place.path)
    except OSError:
        parent, text = (
            posixpath.dirname(os.fsdecode(place.path)),
            os.fsdecode(os.readlink(b"", dir_fd=place.fd)),
        )
        return posixpath.normpath(posixpath.join("/", parent, text))
    os.close(final.fd)
    return "/" + os.fsdecode(final.path)


def _base(unsafe_path: str) -> str:
    """The last name: "." for `x/.`, "/" for the root, as Go's filepath.Base has it."""
    clean = posixpath.normpath("/" + unsafe_path.lstrip("/"))
    if unsafe_path.rstrip("/").rpartition("/")[2] == "." and clean != "/" and not unsafe_path.endswith("/"):
        return "."
    return posixpath.basename(clean) or "/"


def _user(container: Container, view: View) -> tuple[int, int] | None:
    """The container's user, if it has one."""
    user = container.document.config.user
    if not user:
        return None
    passwd, group = read_account_files(view.root)
    found = resolve(user, (), passwd=passwd, group=group)
    return found.uid, found.gid


def _sender(descriptor: int) -> Callable[[int, int], int]:
    """Lets the kernel copy from a file to the client's."""

    def send(source: int, size: int) -> int:
        done = 0
        while done < size:
            try:
                count = os.sendfile(descriptor, source, None, min(size - done, _PIECE))
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOSYS):
                    break
                raise
            if not count:
                break
            done += count
        return done

    return send
