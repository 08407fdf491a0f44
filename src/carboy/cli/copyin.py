"""`cp` into a container: by descriptor on the daemon's own machine, else as a tar stream."""

from __future__ import annotations

import os
import stat

from carboy.cli import copypaths
from carboy.cli.archive import HEADER, READ
from carboy.cli.copystat import Progress, destination
from carboy.client.transport import ServerError
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carboy.cli.copypaths import Side
    from carboy.cli.session import Session

_NOT_HERE = 501


def copy_in(
    session: Session, source: str, container: str, path: str, *, follow: bool, owner: bool, quiet: bool
) -> None:
    """Copy a path of this machine, or the tar on standard input, to a path of a container."""
    there, ours = destination(session, container, path)
    progress = Progress("Copying to container - ", quiet=quiet)
    target = _Target(session, container, owner=owner, local=ours and bool(session.address.path))
    if source == "-":
        if not there.is_directory:
            raise InvalidArgument(f'destination "{container}:{path}" must be a directory')
        target.send_archive(there.path, 0, progress)
        progress.finish(None, f"{container}:{there.path}")
        return
    here = copypaths.local_source(copypaths.absolute(source), follow=follow)
    directory, name = copypaths.place(here, there)
    target.send_tree(directory, here, name or here.name or copypaths.split_entry(here.path)[1], progress)
    progress.finish(None if quiet else _contents(here.path), f"{container}:{there.path}")


class _Target:
    """A container that is copied into."""

    def __init__(self, session: Session, container: str, *, owner: bool, local: bool) -> None:
        self._session = session
        self._path = f"/containers/{container}/archive"
        self._owner = owner
        self._local = local

    def send_archive(self, directory: str, descriptor: int, progress: Progress) -> None:
        """Send a tar; a file on the daemon's machine is handed over."""
        if self._local and stat.S_ISREG(os.fstat(descriptor).st_mode):
            self._put(directory, descriptor=descriptor)
            return
        self._put(directory, upload=progress.count(_read(descriptor)))

    def send_tree(self, directory: str, here: Side, name: str, progress: Progress) -> None:
        """Send a file or a directory."""
        if self._local and os.geteuid() == 0 and self._hand_over(directory, here, name):
            return
        from carboy.archive.packing import pack  # only here: the tar writer costs a few milliseconds

        start = os.open(here.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._put(directory, upload=progress.count(pack(start, os.fsencode(name))))
        finally:
            os.close(start)

    def _hand_over(self, directory: str, here: Side, name: str) -> bool:
        """Let the daemon copy what is on its own machine; False when it will not."""
        if stat.S_IFMT(os.lstat(here.path).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            return False
        if not name.isascii() and not _is_text(name):
            return False
        descriptor = os.open(here.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._put(directory, (("name", name),), descriptor=descriptor)
        except ServerError as error:
            if error.status != _NOT_HERE:
                raise
            return False
        finally:
            os.close(descriptor)
        return True

    def _put(
        self,
        directory: str,
        more: tuple[tuple[str, str], ...] = (),
        *,
        descriptor: int | None = None,
        upload: Iterable[bytes] | None = None,
    ) -> None:
        query = (("path", directory), ("noOverwriteDirNonDir", "true"), *more)
        if self._owner:
            query += (("copyUIDGID", "true"),)
        headers = () if descriptor is None else ((HEADER, str(descriptor)),)
        response = self._session.client.request("PUT", self._path, query, headers=headers, upload=upload)
        response.read()
        self._session.client.keep(response)


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _read(descriptor: int) -> Iterator[bytes]:
    while data := os.read(descriptor, READ):
        yield data


def _contents(path: str) -> int:
    """Bytes in the regular files at a path."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size if stat.S_ISREG(status.st_mode) else 0
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
