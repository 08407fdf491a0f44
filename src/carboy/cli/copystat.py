"""What the daemon says of a path in a container, and what `cp` shows of itself."""

from __future__ import annotations

import binascii
import os

from carboy.cli.copypaths import Side, split_entry
from carboy.cli.session import write_all
from carboy.client import document
from carboy.client.transport import ServerError
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carboy.cli.session import Session
    from carboy.client.document import Json
    from carboy.client.transport import Response

# Bits of Go's os.FileMode.
_DIRECTORY = 1 << 31
_LINK = 1 << 27
_NEITHER = {1 << 26: "a device", 1 << 19: "an irregular file"}


def stat_of(response: Response) -> Json:
    """The status in a reply's header."""
    try:
        return document.as_object(
            document.decode(binascii.a2b_base64(response.headers["x-docker-container-path-stat"]))
        )
    except (KeyError, ValueError) as error:
        raise InvalidArgument("the daemon's answer does not say what it copies") from error


def stat(session: Session, container: str, path: str) -> tuple[Json, bool] | None:
    """The status of a path, and whether the daemon is a Carboy; None when there is nothing."""
    try:
        response = session.client.request("HEAD", f"/containers/{container}/archive", (("path", path),))
    except ServerError:
        return None
    response.read()
    session.client.keep(response)
    return stat_of(response), response.headers.get("server", "").startswith("Carboy/")


def is_directory(found: Json) -> bool:
    """Whether a status is a directory's."""
    return bool(document.number(found, "mode") & _DIRECTORY)


def link_target(found: Json, path: str) -> str:
    """The path that the link at `path` leads to; "" for what is no link."""
    if not document.number(found, "mode") & _LINK:
        return ""
    target = document.text(found, "linkTarget")
    return target if target.startswith("/") else f"{split_entry(path)[0]}/{target}"


def destination(session: Session, container: str, path: str) -> tuple[Side, bool]:
    """Where to copy to in a container, links followed; and whether the daemon is a Carboy."""
    side = Side(path, exists=False, is_directory=False)
    answer = stat(session, container, path)
    # An error says nothing of who answered.
    ours = bool(session.address.path) and (session.client.is_carboy() if answer is None else answer[1])
    if answer is not None and (target := link_target(answer[0], path)):
        side.path = target
        answer = stat(session, container, target)
    if answer is not None:
        for bit, kind in _NEITHER.items():
            if document.number(answer[0], "mode") & bit:
                raise InvalidArgument(
                    f'destination "{container}:{path}" must be a directory or a regular file: got {kind}'
                )
        side.exists, side.is_directory = True, is_directory(answer[0])
    return side, ours


class Progress:
    """What a person at a terminal sees: how much has gone, and a last line."""

    def __init__(self, header: str, *, quiet: bool) -> None:
        self.total = 0
        self._header = header
        self._quiet = quiet
        self._drawing = not quiet and os.isatty(2)
        self._drawn = 0

    def count(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the pieces on, counting."""
        for piece in pieces:
            self.total += len(piece)
            if self._drawing and self.total - self._drawn >= 1 << 22:
                self._drawn = self.total
                self._draw(f"\r\x1b[K{self._header}{_size(self.total)}")
            yield piece

    def finish(self, content: int | None, shown: str) -> None:
        """The last line."""
        if self._quiet:
            return
        if self._drawing:
            self._draw("\r\x1b[K")
        wire = f" (transferred {_size(self.total)})" if content is not None and content != self.total else ""
        whole = _size(self.total if content is None else content)
        self._draw(f"Successfully copied {whole}{wire} to {shown}\n")

    @staticmethod
    def _draw(text: str) -> None:
        write_all(2, text.encode("utf-8", "surrogateescape"))


def _size(count: int) -> str:
    from carboy.formats.human import size  # only when something is shown

    return size(count, 3)
