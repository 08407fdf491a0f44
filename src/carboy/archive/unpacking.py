"""Tar entries as files below a directory; hostile archives stay below it.

    entry.unsafe_path ──clean──▶ parents, name ──Places.directory──▶ descriptor ──▶ made there by name

A name has no "..", no path is ever resolved by the kernel in one go, and what is made is made
with O_EXCL or without following links, in a directory that is held open.  Whether links among
the parents are followed, and to where, is the business of `Places`: the strict one follows
none, the one of a container follows them inside it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from carboy.archive.contents import ArchiveContents, as_malformed
from carboy.errors import Corrupt, InvalidArgument, Malformed
from carboy.formats.tar.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, HARDLINK, REGULAR, SYMLINK
from carboy.formats.tar.reader import ForwardReader, scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from carboy.formats.tar.entry import TarEntry

    Parts = tuple[bytes, ...]

    class Contents(Protocol):
        """Where a file's data comes from."""

        def copy(self, entry: TarEntry, target: int) -> None: ...

    class Directories(Protocol):
        """Where directories are."""

        def directory(self, parts: Parts) -> int: ...
        def forget(self, parts: Parts) -> None: ...
        def close(self) -> None: ...


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_PLACE = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
_ATTEMPTS = 16  # somebody inside makes the name again and again
_KEPT_OPEN = 16


class Places:
    """Directories below `root`, by the names that lead there; no link among them is followed."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._open: dict[Parts, int] = {}

    def directory(self, parts: Parts) -> int:
        """A descriptor of the directory, which is made with its parents where it is missing.

        It stays the property of this object, and valid until another one is asked for.
        """
        if not parts:
            return self._root
        found = self._open.pop(parts, None)
        if found is None:
            found = self._find(parts)
        self._open[parts] = found  # the one used last is thrown out last
        if len(self._open) > _KEPT_OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        return found

    def forget(self, parts: Parts) -> None:
        """What is at `parts` is being removed: descriptors of it and below it are of no use."""
        for known in [known for known in self._open if known[: len(parts)] == parts]:
            os.close(self._open.pop(known))

    def close(self) -> None:
        """Let go of all of them."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _find(self, parts: Parts) -> int:
        known = len(parts) - 1
        while known and parts[:known] not in self._open:
            known -= 1
        current = os.dup(self._open[parts[:known]] if known else self._root)
        for position in range(known, len(parts)):
            try:
                child = self._child(current, parts[: position + 1])
            finally:
                os.close(current)
            current = child
        return current

    def _child(self, directory: int, parts: Parts) -> int:
        name = parts[-1]
        try:
            return os.open(name, _DIRECTORY, dir_fd=directory)
        except FileNotFoundError:
            return self._make(directory, name)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            return self._not_a_directory(parts, error)

    @staticmethod
    def _make(directory: int, name: bytes) -> int:
        made = True
        try:
            os.mkdir(name, 0o755, dir_fd=directory)
        except FileExistsError:
            made = False
        fd = os.open(name, _DIRECTORY, dir_fd=directory)
        if made:
            os.fchmod(fd, 0o755)  # whatever the umask
        return fd

    def _not_a_directory(self, parts: Parts, error: OSError) -> int:
        """A link (or a file) is in the way."""
        raise InvalidArgument(f"cannot unpack through {_shown(parts)}: it is not a directory") from error


class Unpacker:
    """Makes files of entries, in order; `finish` sets the times of directories.

    owner: whom everything is to belong to; None for those of the entries.
    keep_owner: whether owners are set at all.
    replace_directories: whether a directory may give way to a file, and a file to a directory.
    remove: removes a name with all below it, in a directory.
    """

    def __init__(
        self,
        places: Directories,
        *,
        owner: tuple[int, int] | None = None,
        keep_owner: bool = True,
        replace: bool = False,
        remove: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self._places = places
        self._owner = owner
        self._keep_owner = keep_owner
        self._replace = replace
        self._remove = remove
        self._times: list[tuple[Parts, int]] = []
        self._makes = (os.geteuid(), os.getegid())

    def put(self, entry: TarEntry, contents: Contents) -> None:
        """Make one file, in place of what has its name."""
        parts = clean(entry.unsafe_path)
        if not parts:
            if entry.kind != DIRECTORY:
                raise Malformed(f"tar: {entry.unsafe_path[:200]!r} is no name for a file")
            return  # the directory that is unpacked into keeps what it has
        directory = self._places.directory(parts[:-1])
        if entry.kind == DIRECTORY:
            self._directory(directory, parts, entry)
        elif entry.kind == REGULAR:
            self._file(directory, parts, entry, contents)
        elif entry.kind == HARDLINK:
            self._hard_link(parts, entry)
        else:
            self._special(directory, parts, entry)

    def finish(self) -> None:
        """Set the times of directories, which making names in them has changed."""
        for parts, time in reversed(self._times):
            with contextlib.suppress(OSError, InvalidArgument):  # replaced since by a later entry
                os.utime(self._places.directory(parts), ns=(time, time))
        self._times.clear()

    def _directory(self, directory: int, parts: Parts, entry: TarEntry) -> None:
        name = parts[-1]
        for _ in range(_ATTEMPTS):
            try:
                os.mkdir(name, 0o700, dir_fd=directory)
                break
            except FileExistsError:
                if self._is_directory(directory, name):
                    break
                self._clear(directory, parts, entry)
        fd = self._places.directory(parts)
        self._dress(fd, entry, new=False)
        self._times.append((parts, _time(entry)))

    def _file(self, directory: int, parts: Parts, entry: TarEntry, contents: Contents) -> None:
        fd, new = self._create(directory, parts, entry)
        self._fill(fd, directory, parts[-1], entry, contents, new=new)

    def begin(self, directory: int, parts: Parts, entry: TarEntry, contents: Contents) -> Callable[[], None]:
        """Make a regular file that is empty yet; what is returned fills it, on any thread."""
        fd, new = self._create(directory, parts, entry)
        held = os.dup(directory)

        def fill() -> None:
            try:
                self._fill(fd, held, parts[-1], entry, contents, new=new)
            finally:
                os.close(held)

        return fill

    def quick(self, directory: int, name: bytes, data: bytes, status: os.stat_result) -> bool:
        """Make a small file that has no attributes; False where something has its name.

        Half of what `cp` takes for many small files is spent here: nothing is made but system calls.
        """
        mode = status.st_mode & 0o7777
        try:
            fd = os.open(name, _CREATE, mode & 0o777, dir_fd=directory)
        except FileExistsError:
            return False
        try:
            if data and os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
            made = os.fstat(fd)
            owner = self._owner or (status.st_uid, status.st_gid)
            if self._keep_owner and (made.st_uid, made.st_gid) != owner:
                os.fchown(fd, *owner)
                os.fchmod(fd, mode)
            elif made.st_mode & 0o7777 != mode:
                os.fchmod(fd, mode)
            time = status.st_mtime_ns
            os.utime(fd, ns=(time, time))
        except BaseException:
            _take_away(directory, name)
            raise
        finally:
            os.close(fd)
        return True

    def enter(self, parts: Parts) -> int:
        """The directory at `parts`; valid until another one is asked for."""
        return self._places.directory(parts)

    def _fill(
        self, fd: int, directory: int, name: bytes, entry: TarEntry, contents: Contents, *, new: bool
    ) -> None:
        try:
            contents.copy(entry, fd)
            self._dress(fd, entry, new=new)
            time = _time(entry)
            os.utime(fd, ns=(time, time))
        except BaseException:
            if new:
                _take_away(directory, name)
            raise
        finally:
            os.close(fd)

    def _create(self, directory: int, parts: Parts, entry: TarEntry) -> tuple[int, bool]:
        name = parts[-1]
        for _ in range(_ATTEMPTS):
            try:
                return os.open(name, _CREATE, entry.mode & 0o777, dir_fd=directory), True
            except FileExistsError:
                try:
                    self._clear(directory, parts, entry)
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    return self._open_mounted(directory, name), False
        raise _occupied(entry)

    def _open_mounted(self, directory: int, name: bytes) -> int:
        """A file with something mounted on it, as /etc/hosts of a container: written in place."""
        fd = os.open(name, _IN_PLACE, dir_fd=directory)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), name)
        return fd

    def _hard_link(self, parts: Parts, entry: TarEntry) -> None:
        name, target = parts[-1], clean(entry.link)
        if not target:
            raise Malformed(f"tar: {entry.unsafe_path[:200]!r} is a hard link to no file")
        if target == parts:
            return
        source = os.dup(self._places.directory(target[:-1]))
        try:
            for _ in range(_ATTEMPTS):
                directory = self._places.directory(parts[:-1])
                try:
                    os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
                    return
                except FileExistsError:
                    if _same(source, target[-1], directory, name):
                        return
                    self._clear(directory, parts, entry)
            raise _occupied(entry)
        finally:
            os.close(source)

    def _special(self, directory: int, parts: Parts, entry: TarEntry) -> None:
        name = parts[-1]
        for _ in range(_ATTEMPTS):
            try:
                self._make_special(directory, name, entry)
                break
            except FileExistsError:
                self._clear(directory, parts, entry)
        else:
            raise _occupied(entry)
        if self._keep_owner:
            uid, gid = self._owner or (entry.uid, entry.gid)
            os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
        time = _time(entry)
        os.utime(name, ns=(time, time), dir_fd=directory, follow_symlinks=False)

    def _make_special(self, directory: int, name: bytes, entry: TarEntry) -> None:
        if entry.kind == SYMLINK:
            os.symlink(entry.link, name, dir_fd=directory)
            return
        if entry.kind == FIFO:
            os.mkfifo(name, 0o600, dir_fd=directory)
        elif entry.kind in (CHARACTER, BLOCK):
            if entry.kind == CHARACTER and entry.rdev == (0, 0):
                raise Malformed(f"tar: {entry.unsafe_path[:200]!r} is a device 0:0, which means removal")
            os.mknod(name, entry.kind | 0o600, os.makedev(*entry.rdev), dir_fd=directory)
        else:
            raise Malformed(f"tar: {entry.unsafe_path[:200]!r} is of an unknown kind")
        self._chmod_special(directory, name, entry)

    @staticmethod
    def _chmod_special(directory: int, name: bytes, entry: TarEntry) -> None:
        """By a descriptor: a link put in the node's place would be followed."""
        place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            if stat.S_IFMT(os.fstat(place).st_mode) == entry.kind:
                os.chmod(f"/proc/self/fd/{place}", entry.mode & 0o7777)
        finally:
            os.close(place)

    def _dress(self, fd: int, entry: TarEntry, *, new: bool) -> None:
        """Owner before mode (chown clears set-id bits), both before attributes."""
        status = os.fstat(fd)
        if self._keep_owner:
            wanted = self._owner or (entry.uid, entry.gid)
            if (status.st_uid, status.st_gid) != wanted:
                os.fchown(fd, *wanted)
                new = False
        if not new or status.st_mode & 0o7777 != entry.mode:
            os.fchmod(fd, entry.mode & 0o7777)
        for key, value in (entry.xattrs or {}).items():
            if key == b"security.capability" or key.startswith(b"user."):
                try:
                    os.setxattr(fd, key, value)
                except OSError as error:
                    if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                        raise

    def _clear(self, directory: int, parts: Parts, entry: TarEntry) -> None:
        """Take away what has the name."""
        name = parts[-1]
        if self._is_directory(directory, name):
            if not self._replace:
                raise InvalidArgument(
                    f"cannot overwrite directory {_text(name)} with non-directory {_text(entry.unsafe_path)}"
                )
            if self._remove is not None:
                self._places.forget(parts)
                self._remove(directory, name)
                return
        elif entry.kind == DIRECTORY and not self._replace:
            raise InvalidArgument(
                f"cannot overwrite non-directory {_text(name)} with directory {_text(entry.unsafe_path)}"
            )
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)

    @staticmethod
    def _is_directory(directory: int, name: bytes) -> bool:
        try:
            return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False


def unpack(
    read: Callable[[int], bytes], unpacker: Unpacker, rename: Callable[[bytes], bytes] | None = None
) -> None:
    """Make the files of a plain tar stream; `rename` changes the names of members and hard links' targets.

    Raises Malformed for what is no tar.
    """
    read_at = ForwardReader(read)
    contents = ArchiveContents(read_at)
    try:
        for entry in scan(read_at):
            if rename is not None:
                entry.unsafe_path = rename(entry.unsafe_path)
                if entry.kind == HARDLINK:
                    entry.link = rename(entry.link)
            unpacker.put(entry, contents)
    except Corrupt as error:
        raise as_malformed(error) from error
    unpacker.finish()


def clean(unsafe_path: bytes) -> Parts:
    """The names of a path, without "." and inner ".."; raises Malformed for one that leads above."""
    parts: list[bytes] = []
    for part in unsafe_path.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not parts:
                raise Malformed(
                    f"tar: {unsafe_path[:200]!r} leads out of the directory that is unpacked into"
                )
            parts.pop()
        else:
            parts.append(part)
    return tuple(parts)


def _take_away(directory: int, name: bytes) -> None:
    """Half a file is none."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=directory)


def _same(one_directory: int, one: bytes, other_directory: int, other: bytes) -> bool:
    try:
        first = os.stat(one, dir_fd=one_directory, follow_symlinks=False)
        second = os.stat(other, dir_fd=other_directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _time(entry: TarEntry) -> int:
    return entry.mtime * 1_000_000_000 + entry.mtime_nsec


def _occupied(entry: TarEntry) -> InvalidArgument:
    return InvalidArgument(
        f"cannot make {_text(entry.unsafe_path)}: something else is made there again and again"
    )


def _shown(parts: Parts) -> str:
    return _text(b"/".join(parts))


def _text(name: bytes) -> str:
    return f'"{name[:200].decode(errors="replace")}"'
