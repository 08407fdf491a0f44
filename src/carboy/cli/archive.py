"""Archives to and from the daemon: by descriptor on the same machine, else as a stream.

docs/design/0001: a client on the unix socket may name one of its own descriptors, which
the daemon takes with pidfd_getfd: nothing is copied through the socket, and no path is trusted.
"""

from __future__ import annotations

import os
import stat

from carboy.cli.session import write_all
from carboy.client import document
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


def upload(session: Session, path: str, target: str, query: Query) -> Iterator[Json]:
    """Post a file (`-`: standard input) and yield the daemon's progress messages."""
    if path == "-" and os.isatty(0):
        raise InvalidArgument("this reads an archive from standard input: redirect a file to it, or name one")
    descriptor = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise InvalidArgument(f"{path}: is a directory: name a tar archive, or pipe `tar -c` into -")
        if _by_descriptor(session, descriptor):
            response = session.client.request("POST", target, query, headers=((HEADER, str(descriptor)),))
        else:
            response = session.client.request("POST", target, query, upload=_read(descriptor))
        for message in response.documents():
            error = document.text(message, "error")
            if error:
                raise ServerError(error, 500)
            yield message
    finally:
        if descriptor:
            os.close(descriptor)


def download(session: Session, target: str, query: Query, descriptor: int) -> None:
    """Get an archive into an open file or pipe."""
    if _by_descriptor(session, descriptor):
        response = session.client.request("GET", target, query, headers=((HEADER, str(descriptor)),))
        session.client.keep(response)
    else:
        response = session.client.request("GET", target, query)
    for piece in response.chunks():
        write_all(descriptor, piece)


def _by_descriptor(session: Session, descriptor: int) -> bool:
    """Only regular files, only on a unix socket, only to a server that says it is Carboy."""
    if not session.address.path or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    return session.client.is_carboy()


def _read(descriptor: int) -> Iterator[bytes]:
    while data := os.read(descriptor, READ):
        yield data
