"""Archives to and from the daemon: by descriptor on the same machine, else as a stream.

docs/design/0001: a client on the unix socket may name one of its own descriptors, which
the daemon takes with pidfd_getfd: nothing is copied through the socket, and no path is trusted.
"""

from __future__ import annotations

import os
import stat

from carboy.cli.progress import Progress
from carboy.cli.session import write_all
from carboy.client import document, transport
from carboy.client.transport import ServerError
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.cli.session import Session
    from carboy.client.document import Json

    Query = tuple[tuple[str, str], ...]

READ = 1 << 20
HEADER = "X-Carboy-Descriptor"


def upload(
    session: Session, path: str, target: str, query: Query, *, label: str = "Sending", quiet: bool = False
) -> Iterator[Json]:
    """Post a file (`-`: standard input) and yield the daemon's progress messages."""
    if path == "-" and os.isatty(0):
        raise InvalidArgument("this reads an archive from standard input: redirect a file to it, or name one")
    descriptor = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise InvalidArgument(f"{path}: is a directory: name a tar archive, or pipe `tar -c` into -")
        response = _send(session, target, query, descriptor, Progress(label, _size(descriptor), quiet=quiet))
        for message in response.documents():
            error = document.text(message, "error")
            if error:
                raise ServerError(error, 500)
            yield message
    finally:
        if descriptor:
            os.close(descriptor)


def _send(
    session: Session, target: str, query: Query, descriptor: int, progress: Progress
) -> transport.Response:
    """The response's head; the daemon reads our descriptor, whose position tells how far it is."""
    client = session.client
    try:
        if not _by_descriptor(session, descriptor):
            return client.request("POST", target, query, upload=progress.count(_read(descriptor)))
        connection = client.connect()
        client.send(connection, "POST", target, query, headers=((HEADER, str(descriptor)),))
        progress.watch(connection, lambda: os.lseek(descriptor, 0, os.SEEK_CUR))
        return transport.checked(connection.read_head("POST"))
    finally:
        progress.finish()


def _size(descriptor: int) -> int:
    facts = os.fstat(descriptor)
    return facts.st_size if stat.S_ISREG(facts.st_mode) else 0


def download(session: Session, target: str, query: Query, descriptor: int, *, label: str = "Saving") -> None:
    """Get an archive into an open file or pipe."""
    client, progress = session.client, Progress(label, quiet=descriptor == 1)
    try:
        if _by_descriptor(session, descriptor):
            connection = client.connect()
            client.send(connection, "GET", target, query, headers=((HEADER, str(descriptor)),))
            progress.watch(connection, lambda: os.fstat(descriptor).st_size)
            response = transport.checked(connection.read_head("GET"))
        else:
            response = client.request("GET", target, query)
        for piece in progress.count(response.chunks()):
            write_all(descriptor, piece)
    finally:
        progress.finish()


def _by_descriptor(session: Session, descriptor: int) -> bool:
    """Only regular files, only on a unix socket, only to a server that says it is Carboy."""
    if not session.address.path or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    return session.client.is_carboy()


def _read(descriptor: int) -> Iterator[bytes]:
    while data := os.read(descriptor, READ):
        yield data
