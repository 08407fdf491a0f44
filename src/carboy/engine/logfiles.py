"""The files of one log in order, oldest first, decoded: what `logs` and a replay read.

    path.2.gz  path.1  path        oldest to newest; `path` grows

A file is recognised by its inode, also when it was renamed meanwhile (rotation), and when it was
compressed by inode and last change, which the gzip header names (runtime/monitor/compress.py): so a
reader that is slower than several rotations misses nothing that still exists, and reads nothing twice.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from dataclasses import dataclass
from typing import Protocol

from carboy.errors import Corrupt
from carboy.formats import jsonlog, locallog
from carboy.formats.jsonlog import Batch

CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_ATTEMPTS = 20
_MOST = 10_000
_GAPS = 2
"""Numbers that may have no file while others follow: a rotation renames one after the other."""


class Form(Protocol):
    """How entries lie in a file."""

    def decode(self, data: bytes) -> tuple[list[Batch], int]:
        """(batches, bytes consumed); raises Corrupt."""

    def salvage(self, data: bytes) -> tuple[list[Batch], int]:
        """As `decode`, past what is torn."""

    def tail(self, descriptor: int, lines: int) -> tuple[int, int]:
        """Where the last `lines` entries begin, and how many of them the file lacks."""


class JsonForm:
    """json-file."""

    def decode(self, data: bytes) -> tuple[list[Batch], int]:
        """All complete lines."""
        return jsonlog.decode(data)

    def salvage(self, data: bytes) -> tuple[list[Batch], int]:
        """Every line that is one: the machine went down while another was written."""
        found: list[Batch] = []
        used = data.rfind(b"\n") + 1
        for line in data[:used].splitlines(keepends=True):
            with contextlib.suppress(Corrupt):
                found += jsonlog.decode(line)[0]
        return found, used

    def tail(self, descriptor: int, lines: int) -> tuple[int, int]:
        """Counts newlines from the end."""
        end = os.fstat(descriptor).st_size
        if lines == 0:
            return end, 0
        position, missing = end, lines + 1  # the newline before the first wanted line counts as well
        while position > 0:
            start = max(0, position - CHUNK)
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


class LocalForm:
    """local."""

    def decode(self, data: bytes) -> tuple[list[Batch], int]:
        """All complete entries."""
        return locallog.decode(data)

    def salvage(self, data: bytes) -> tuple[list[Batch], int]:
        """What comes before the torn entry: behind it, nothing tells where the next one begins."""
        low, high = 0, len(data)
        found: list[Batch] = []
        while low < high:  # the longest beginning that decodes
            middle = (low + high + 1) // 2
            try:
                found, _ = locallog.decode(data[:middle])
                low = middle
            except Corrupt:
                high = middle - 1
        return found, len(data)

    def tail(self, descriptor: int, lines: int) -> tuple[int, int]:
        """Walks back over the lengths behind the entries."""
        position = os.fstat(descriptor).st_size
        start, block = position, b""
        while lines and position > 8:
            if position - 4 < start:
                start, block = _block_before(descriptor, position)
            size = int.from_bytes(block[position - 4 - start : position - start], "big") + 8
            if size > position or size > locallog.MAX_ENTRY + 8:
                return position, lines  # torn: what follows can be read
            position -= size
            lines -= 1
        return position, lines


def _block_before(descriptor: int, position: int) -> tuple[int, bytes]:
    start = max(0, position - CHUNK)
    return start, os.pread(descriptor, position - start, start)


@dataclass(slots=True)
class _File:
    """One open file; `inode` and `changed` are those of the plain one.

    An inode is used again as soon as its file has gone, so for a file that was compressed the change
    counts as well; `changed` is 0 for a plain one, which may still grow.
    """

    descriptor: int
    inode: int
    changed: int
    compressed: bool

    def same(self, other: _File) -> bool:
        """Whether both are, or were made of, one file."""
        if self.inode != other.inode:
            return False
        plain = not self.changed and not other.changed
        return plain or self.change() == other.change()

    def change(self) -> int:
        """When it was written last."""
        return self.changed or os.fstat(self.descriptor).st_mtime_ns


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a log: everything before it is older."""

    inode: int
    offset: int
    changed: int = 0
    """When its file was written last, then: of several that had one inode, it is the first not older."""


class LogFiles:
    """Reads entries in order.  Used by one thread at a time."""

    def __init__(self, path: str, *, growing: bool) -> None:
        """growing: go on with what is written later; else the end is where the log ends now."""
        self._path = path
        self._form: Form = LocalForm() if path.endswith("/container.log") else JsonForm()
        self._remainder = b""
        self._files = self._open_since(None)
        self._growing = growing
        self._stop: tuple[_File, int] | None = None
        if not growing and self._files:
            newest = self._files[-1]
            self._stop = newest, os.fstat(newest.descriptor).st_size

    def stop_at(self, position: Position) -> None:
        """Read no further than `position`, which the log has just reached."""
        self._files += self._open_since(self._files[0] if self._files else None, but=self._files[1:])
        self._growing = False
        fitting = [
            file for file in self._files if file.inode == position.inode and file.change() >= position.changed
        ]
        if fitting:
            self._stop = fitting[0 if position.changed else -1], position.offset

    def close(self) -> None:
        """Free descriptors; again is harmless."""
        for file in self._files:
            os.close(file.descriptor)
        self._files = []

    def read(self) -> list[Batch] | None:
        """The next entries ([]: none in the piece that was read); None when there are no more now."""
        while True:
            data = self._next_data()
            if data:
                return self._decode(data)
            if not self._advance():
                return None

    def skip_to_tail(self, lines: int) -> None:
        """Forget whole files and move in the first that is left, so that `lines` entries follow."""
        for number in range(len(self._files) - 1, -1, -1):
            file = self._files[number]
            self._plain(file)
            offset, lines = self._form.tail(file.descriptor, lines)
            os.lseek(file.descriptor, offset, os.SEEK_SET)
            if lines == 0:
                for old in self._files[:number]:
                    os.close(old.descriptor)
                del self._files[:number]
                return

    def _decode(self, data: bytes) -> list[Batch]:
        data = self._remainder + data if self._remainder else data
        try:
            batches, used = self._form.decode(data)
        except Corrupt:
            batches, used = self._form.salvage(data)
        self._remainder = data[used:] if used < len(data) else b""
        return batches

    def _next_data(self) -> bytes:
        if not self._files:
            return b""
        file = self._files[0]
        self._plain(file)
        here = os.lseek(file.descriptor, 0, os.SEEK_CUR)
        size = CHUNK
        if self._stop is not None and self._stop[0] is file:
            size = min(size, self._stop[1] - here)
        data = os.read(file.descriptor, size) if size > 0 else b""
        if not data and size > 0 and os.fstat(file.descriptor).st_size < here:
            # Started again in place (max-file 1): so do we.
            os.lseek(file.descriptor, 0, os.SEEK_SET)
            self._remainder = b""
            data = os.read(file.descriptor, size)
        return data

    def _advance(self) -> bool:
        """Go on with the next file; False when this is the last one, or the stop is in it."""
        if self._files and self._stop is not None and self._stop[0] is self._files[0]:
            return False
        if len(self._files) > 1:
            os.close(self._files.pop(0).descriptor)
            self._remainder = b""
            return True
        if not self._growing:
            return False
        newer = self._open_since(self._files[0] if self._files else None)
        self._files += newer
        # The file may have got its last lines between our read and its rotation: read it again first.
        return bool(newer)

    # -- opening

    def _open_since(self, last: _File | None, but: list[_File] | None = None) -> list[_File]:
        """The files newer than `last` (all when it is not there), oldest first; not those in `but`."""
        found: list[_File] = []
        for _ in range(_ATTEMPTS):
            found = self._open_once(last)
            if self._is_newest(found[-1] if found else last):
                break
            # Rotated between two of the opens.
            for file in found:
                os.close(file.descriptor)
            found = []
            time.sleep(0.001)
        fresh = []
        for file in found:
            if any(file.same(known) for known in but or ()):
                os.close(file.descriptor)
            else:
                fresh.append(file)
        return fresh

    def _open_once(self, last: _File | None) -> list[_File]:
        found: list[_File] = []
        missing = 0
        for number in range(_MOST):
            file = _open(self._path if number == 0 else f"{self._path}.{number}", plain_only=number == 0)
            if file is None:
                missing += 1
                if missing > _GAPS:
                    break
                continue
            missing = 0
            if last is not None and file.same(last):
                os.close(file.descriptor)
                break
            if found and file.same(found[-1]):
                os.close(file.descriptor)  # rotated while we looked
                continue
            found.append(file)
        return found[::-1]

    def _is_newest(self, file: _File | None) -> bool:
        try:
            found = os.stat(self._path, follow_symlinks=False)
            return file is not None and not file.changed and found.st_ino == file.inode
        except (FileNotFoundError, NotADirectoryError):
            return not os.path.lexists(f"{self._path}.1")

    def _plain(self, file: _File) -> None:
        """Have a compressed file decompressed, into a file without a name."""
        if not file.compressed:
            return
        try:
            target = os.open(os.path.dirname(self._path), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:  # a filesystem without them
            target = os.memfd_create("log", os.MFD_CLOEXEC)
        try:
            _decompress(file.descriptor, target)
        except (zlib.error, OSError):
            pass  # damaged, or no room: what there is of it
        os.lseek(target, 0, os.SEEK_SET)
        os.close(file.descriptor)
        file.descriptor, file.compressed = target, False


def _open(path: str, *, plain_only: bool) -> _File | None:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    for name in (path,) if plain_only else (path, f"{path}.gz"):
        try:
            descriptor = os.open(name, flags)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if name.endswith(".gz"):
            inode, changed = _origin(descriptor)
            return _File(descriptor, inode, changed, compressed=True)
        return _File(descriptor, os.fstat(descriptor).st_ino, 0, compressed=False)
    return None


def _origin(descriptor: int) -> tuple[int, int]:
    """Inode and change of the file that was compressed; what no file has when another program did it."""
    head = os.pread(descriptor, 96, 0)
    if head[:2] == _GZIP and head[3:4] == b"\x10" and head[10:16] == b"inode ":
        words = head[16:].partition(b"\0")[0].split(b" ")
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            return int(words[0]), int(words[1])
    return -os.fstat(descriptor).st_ino, -1


def _decompress(source: int, target: int) -> None:
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    os.lseek(source, 0, os.SEEK_SET)
    while piece := os.read(source, 256 * 1024):
        while piece:
            view = memoryview(inflater.decompress(piece, CHUNK))
            while view:
                view = view[os.write(target, view) :]
            piece = inflater.unconsumed_tail
    os.write(target, inflater.flush())
