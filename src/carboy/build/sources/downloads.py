"""Files by their address: asked for anew in every build, fetched only when they changed.

What a server said of a file (ETag, Last-Modified) and the digest it had are kept; the next build asks "still
that one?" and needs nothing more when it is.  An address with credentials is known by its digest only.
"""

from __future__ import annotations

import email.utils
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from carboy.build.sources.http import Fetcher, Response, check_status
from carboy.build.sources.layerwriting import Batch, checked_name, make_layer
from carboy.digest import Digest
from carboy.errors import InvalidArgument
from carboy.formats.tar import END, REGULAR, TarEntry, encode, padding
from carboy.store.content import storage_error
from carboy.store.layers import LayerStore
from carboy.store.metadata import Database

_PIECE = 1 << 20
_MOST_ROWS = 10_000
_TRUSTED_AGE = 2.0
"""Seconds that a Last-Modified must be old to tell two contents apart: it counts whole ones."""
MODE = 0o600
"""What BuildKit gives to downloads."""

Progress = Callable[[int, int], None]
"""(bytes so far, bytes to come or 0)."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was there last time."""

    etag: str
    modified: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Download:
    """A file that was fetched: a layer that holds only it."""

    layer: Digest
    digest: Digest
    url: str
    """In the end; may hold credentials."""
    etag: str
    size: int


class DownloadRecords:
    """The table of what is known of addresses."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def find(self, url: str) -> Known | None:
        """What is known of an address."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT etag, modified, digest, size FROM build_downloads WHERE id=?", (_id(url),)
            ).fetchone()
        return Known(row[0], row[1], Digest.parse(row[2]), row[3]) if row else None

    def remember(self, url: str, known: Known) -> None:
        """Keep it; losing it in a power cut costs one download."""
        with self._database.write(durable=False) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO build_downloads VALUES (?, ?, ?, ?, ?, ?)",
                (_id(url), known.etag, known.modified, str(known.digest), known.size, self._clock()),
            )
            connection.execute(
                "DELETE FROM build_downloads WHERE id IN"
                " (SELECT id FROM build_downloads ORDER BY used_at DESC LIMIT -1 OFFSET ?)",
                (_MOST_ROWS,),
            )


def ask(fetcher: Fetcher, url: str, known: Known | None) -> Response | None:
    """The file's bytes, still to be read; None when it is the known one."""
    headers = {}
    if known is not None and known.etag:
        headers["If-None-Match"] = known.etag
    elif known is not None and known.modified:
        headers["If-Modified-Since"] = known.modified
    response = fetcher.open(url, headers=headers)
    try:
        if headers and known is not None:
            same = response.status == 200 and known.etag and response.header("ETag") == known.etag
            if response.status == 304 or same:
                response.close()
                return None
        check_status(response)
    except BaseException:
        response.close()
        raise
    return response


def take(
    response: Response,
    layers: LayerStore,
    *,
    filename: str,
    epoch: int,
    checksum: str = "",
    scratch: str,
    progress: Progress,
) -> Download:
    """Read an answer to its end, into a layer with `/filename`; `scratch`: a directory to spool in."""
    name = checked_name(filename)
    hashed = hashlib.sha256()

    def pieces(write: Callable[[bytes], object]) -> None:
        while data := response.read(_PIECE):
            hashed.update(data)
            write(data)
            progress(response.received, response.size)
        found = f"sha256:{hashed.hexdigest()}"
        if checksum and found != checksum:
            raise InvalidArgument(f"digest mismatch {found}: expected: {checksum}")

    def head(size: int) -> bytes:
        return encode(TarEntry(name, REGULAR, mode=MODE, size=size, mtime=epoch))

    def straight(batch: Batch) -> None:
        batch.write(head(response.size))
        pieces(batch.write)
        batch.write(padding(response.size) + END)

    def spooled(batch: Batch) -> None:
        with open(scratch, "w+b", buffering=0, opener=_nameless) as file:
            pieces(file.write)
            batch.write(head(response.received))
            batch.write_from(file.fileno(), 0, response.received)
            batch.write(padding(response.received) + END)

    with response:
        try:
            layer = make_layer(layers, straight if response.size else spooled)
        except OSError as error:
            raise storage_error(error, "store a download") from error
    return Download(
        layer.diff_id, Digest(hashed.hexdigest()), response.url, response.header("ETag"), response.received
    )


def validators(response: Response) -> tuple[str, str]:
    """(ETag, Last-Modified) that can be asked with later; nothing when they tell too little."""
    etag, modified = response.header("ETag"), response.header("Last-Modified")
    if len(etag) > 1024 or not etag.isascii() or not etag.isprintable():
        etag = ""
    return etag, modified if _is_old(modified, response.header("Date")) else ""


def _is_old(modified: str, now: str) -> bool:
    try:
        then = email.utils.parsedate_to_datetime(modified).timestamp()
        return email.utils.parsedate_to_datetime(now).timestamp() - then >= _TRUSTED_AGE
    except (ValueError, TypeError, OverflowError):
        return False


def _id(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()


def _nameless(directory: str, _flags: int) -> int:
    return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
