"""`cp` out of a container: a tar stream, unpacked here without following any link."""

from __future__ import annotations

import os
import stat

from carboy.cli import copypaths
from carboy.cli.archive import download
from carboy.cli.copystat import Progress, is_directory, link_target, stat_of
from carboy.cli.copystat import stat as stat_there
from carboy.cli.flags import UsageError
from carboy.client import document
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carboy.cli.session import Session


def copy_out(
    session: Session, container: str, path: str, destination: str, *, follow: bool, quiet: bool
) -> None:
    """Copy a path of a container to this machine, or as a tar to standard output."""
    if destination != "-":
        destination = copypaths.absolute(destination)
        _check_output(destination)
    name = ""
    if follow and (answer := stat_there(session, container, path)) is not None:
        target = link_target(answer[0], path)
        if target:
            path, name = copypaths.asked_name(path, target)
    target_path, query = f"/containers/{container}/archive", (("path", path),)
    if destination == "-":
        if os.isatty(1):
            raise UsageError("this would write a binary archive to your terminal: redirect it", 1)
        download(session, target_path, query, 1)
        return
    response = session.client.request("GET", target_path, query)
    found = stat_of(response)
    source = copypaths.Side(path, exists=True, is_directory=is_directory(found), name=name)
    progress = Progress("Copying from container - ", quiet=quiet)
    _unpack(source, destination, progress.count(response.chunks()))
    session.client.keep(response)
    progress.finish(None if source.is_directory else document.number(found, "size"), destination)


def _unpack(source: copypaths.Side, destination: str, pieces: Iterator[bytes]) -> None:
    from carboy.archive.contents import BufferedReader  # the tar reader is for this direction only
    from carboy.archive.unpacking import Places, Unpacker, unpack

    there = copypaths.local_destination(destination)
    directory, name = copypaths.place(source, there)
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    places = Places(root)
    try:
        before = copypaths.split_entry(source.path)[1]
        rename = _renamer(before, name or source.name or before)
        unpack(BufferedReader(_reader(pieces)), Unpacker(places, keep_owner=False), rename)
        for _ in pieces:
            pass  # up to the end of the reply, so that the connection is whole
    finally:
        places.close()
        os.close(root)


def _renamer(before: str, after: str) -> Callable[[bytes], bytes]:
    """Names as the daemon gives them to names here; whatever else it sends was not asked for."""
    old, new = copypaths.renamer(before, after)

    def rename(unsafe_name: bytes) -> bytes:
        rest = unsafe_name[len(old) :]
        if not unsafe_name.startswith(old) or (rest and not rest.startswith(b"/")):
            raise InvalidArgument(f"the daemon sent {unsafe_name[:200]!r}, which was not asked for")
        return new + rest

    return rename


def _reader(pieces: Iterator[bytes]) -> Callable[[int], bytes]:
    def read(size: int) -> bytes:
        del size  # the pieces are as large as they came; the buffer above does not mind
        return next(pieces, b"")

    return read


def _check_output(path: str) -> None:
    """Refuse early what cannot be written to, in Docker's words."""
    folder = os.path.dirname(copypaths.clean(path))
    if folder and not os.path.isdir(folder):
        raise InvalidArgument(f'invalid output path: directory "{folder}" does not exist')
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise InvalidArgument(
            f'invalid output path: "{path}" must be a directory or a regular file: got a device'
        )
