"""`build` at a Docker that is not Carboy: the context as a tar, and Docker's classic messages."""

from __future__ import annotations

import os
from binascii import a2b_base64

from carboy.cli import buildoptions, buildoutputs
from carboy.cli.session import for_people, write_all
from carboy.client import document
from carboy.client.transport import ServerError
from carboy.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carboy.cli.buildcontext import Given
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

    Query = tuple[tuple[str, str], ...]

_FLAGS = (
    "output",
    "build-context",
    "secret",
    "ssh",
    "allow",
    "no-cache-filter",
    "cache-to",
    "cache-ttl",
    "explain",
    "reproducible",
    "host-ca",
    "metadata-file",
)
"""What only Carboy's own endpoints carry."""


def build(session: Session, parsed: Parsed, query: Query, given: Given) -> int:
    """Build with what every Docker has; what it has not is refused by name."""
    for flag in _FLAGS:
        if parsed.given(flag):
            raise _not_there(f"--{flag}")
    for flag in ("target", "platform"):
        if len(buildoptions.several(parsed, flag)) > 1:
            raise _not_there(f"several --{flag}")
    image = _build(session, parsed, query, given)
    if image and parsed.text("iidfile"):
        buildoutputs.write_file(parsed.text("iidfile"), image.encode())
    if parsed.flag("quiet") and image:
        session.out(image)
    return 0


def _not_there(what: str) -> Unsupported:
    return Unsupported(
        f"this daemon is not Carboy and builds without {what}: use docker and its buildx there"
    )


def _build(session: Session, parsed: Parsed, query: Query, given: Given) -> str:
    query += (("version", "1"),)
    upload = given.tars.get("")
    if "Dockerfile" in given.document:
        name, text = f".dockerfile.{os.urandom(8).hex()}", a2b_base64(given.document["Dockerfile"])
        upload = _with_file(upload, name, text)
        query += (("dockerfile", name),)
    elif given.dockerfile:
        query += (("dockerfile", given.dockerfile),)
    if given.remote:
        query += (("remote", given.remote),)
    response = session.client.request("POST", "/build", query, upload=upload() if upload else None)
    image = ""
    for message in response.documents():
        if error := document.text(message, "error"):
            raise ServerError(error, 500)
        image = document.text(document.child(message, "aux"), "ID") or image
        if not parsed.flag("quiet"):
            _show(session, message)
    return image


def _show(session: Session, message: Json) -> None:
    if text := document.text(message, "stream"):
        write_all(1, for_people(1, text).encode("utf-8", "surrogateescape"))
    elif status := document.text(message, "status"):
        name = document.text(message, "id")
        if not document.child(message, "progressDetail"):
            session.out(f"{name}: {status}" if name else status)


def _with_file(
    upload: Callable[[], Iterator[bytes]] | None, name: str, data: bytes
) -> Callable[[], Iterator[bytes]]:
    """A Dockerfile from elsewhere goes into the tar, under a name that nobody has."""

    def pieces() -> Iterator[bytes]:
        from carboy.formats.tar.entry import REGULAR, TarEntry  # only this case writes a tar
        from carboy.formats.tar.writer import END, encode, padding

        entry = TarEntry(name.encode(), REGULAR, mode=0o644, size=len(data))
        yield encode(entry) + data + padding(len(data))
        if upload is None:
            yield END
        else:
            yield from upload()

    return pieces
