"""Files of containers that run nothing: each has /etc/hostname, and what was put into its directories."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Protocol

from carboy.api.backend import Sink, Source
from carboy.errors import InvalidArgument, NotFound
from carboy.formats.dockerapi.archives import FilesystemChange, PathStat, path_stat


class Named(Protocol):
    @property
    def id(self) -> str: ...


class FakeArchive:
    def __init__(self, stat: PathStat | None, files: dict[str, bytes]) -> None:
        self.stat = stat
        self._files = files

    def write(self, sink: Sink) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in self._files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        sink.write(buffer.getvalue())

    def close(self) -> None:
        """Nothing is held."""


class FakeFiles:
    """Regular files by path, in directories that exist: / and /etc."""

    def __init__(self, find: Callable[[str], Named]) -> None:
        self._find = find
        self._files: dict[str, dict[str, bytes]] = {}

    def stat(self, unsafe_ref: str, unsafe_path: str) -> PathStat:
        name, data = self._file(unsafe_ref, unsafe_path)
        mode = 0o040755 if data is None else 0o100644
        return path_stat(name, mode=mode, size=len(data or b""), mtime_ns=0)

    def archive(self, unsafe_ref: str, unsafe_path: str) -> FakeArchive:
        name, data = self._file(unsafe_ref, unsafe_path)
        return FakeArchive(self.stat(unsafe_ref, unsafe_path), {} if data is None else {name: data})

    def export(self, unsafe_ref: str) -> FakeArchive:
        files = self._of(unsafe_ref)
        return FakeArchive(None, {path.lstrip("/"): data for path, data in files.items()})

    def extract(
        self, unsafe_ref: str, unsafe_path: str, source: Source, *, keep_kinds: bool, copy_owner: bool
    ) -> None:
        if self._file(unsafe_ref, unsafe_path)[1] is not None:
            raise InvalidArgument("extraction point is not a directory")
        data = b"".join(iter(lambda: source.read(65536), b""))
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                for member in tar:
                    file = tar.extractfile(member)
                    if file is not None:
                        path = f"{unsafe_path.rstrip('/')}/{member.name}"
                        self._of(unsafe_ref)[path] = file.read()
        except tarfile.TarError as error:
            raise InvalidArgument(f"invalid tar: {error}") from error

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
        raise InvalidArgument("nothing is copied by descriptor here")

    def changes(self, unsafe_ref: str) -> list[FilesystemChange]:
        new = [path for path in self._of(unsafe_ref) if path != "/etc/hostname"]
        return [FilesystemChange(path=path, kind=1) for path in sorted(new)]

    def _of(self, unsafe_ref: str) -> dict[str, bytes]:
        return self._files.setdefault(self._find(unsafe_ref).id, {"/etc/hostname": b"fake\n"})

    def _file(self, unsafe_ref: str, unsafe_path: str) -> tuple[str, bytes | None]:
        files = self._of(unsafe_ref)
        path = "/" + unsafe_path.strip("/")
        if path in ("/", "/etc"):
            return path[1:] or "/", None
        if path not in files:
            raise NotFound(f"Could not find the file {unsafe_path} in container {unsafe_ref}")
        return path.rpartition("/")[2], files[path]
