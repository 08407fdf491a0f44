"""`ADD https://…`: a file by its address, as a filesystem that holds only it.

With a checksum nothing is asked of anybody when the file is in the cache.  Without one the server is asked
whether it still has the same; a file that changed is fetched at once, because its digest is an ingredient.
The time of the file is the constant one, not the server's Last-Modified (as with BuildKit): a mirror may have
another; and what is copied from here gets the build's, as everything does.
"""

from __future__ import annotations

from collections.abc import Sequence

from carboy.build.graph import Http, Vertex
from carboy.build.operation import Filesystem, Ingredients, Result, Value
from carboy.build.progress import Console
from carboy.build.session import EPOCH, Session
from carboy.build.sources import downloads
from carboy.build.sources.addresses import shown
from carboy.build.sources.downloads import Download, DownloadRecords, Known
from carboy.build.sources.http import Fetcher, Response, where
from carboy.errors import InvalidArgument, Unavailable


class HttpStep:
    """Fulfils operation.Step for graph.Http."""

    def __init__(self, vertex: Vertex, session: Session, *, fetcher: Fetcher | None = None) -> None:
        assert isinstance(vertex.operation, Http)
        self._vertex = vertex
        self._operation = vertex.operation
        self._session = session
        self._records = DownloadRecords(session.workshop.database)
        self._fetcher = fetcher or Fetcher(proxies=session.proxies, cancellation=session.cancellation)
        self._fetched: Download | None = None
        self._expected = ""

    def ingredients(self, inputs: Sequence[Value]) -> Ingredients:  # noqa: ARG002 - it has none
        """The digest of the file that the server has now."""
        operation = self._operation
        if operation.checksum and not operation.checksum.startswith("sha256:"):
            raise InvalidArgument(
                f"ADD --checksum={operation.checksum[:80]}: only sha256:<64 hex digits> is supported"
            )
        self._expected = operation.checksum or self._current()
        return Ingredients(
            "http",
            {
                "address": shown(operation.url),
                "file name": operation.filename,
                "content": self._expected,
            },
        )

    def run(self, inputs: Sequence[Value], console: Console) -> Result:  # noqa: ARG002
        """Fetch it, unless that was needed to know its digest."""
        download = self._fetched
        if download is None:
            response = downloads.ask(self._fetcher, self._operation.url, None)
            assert response is not None
            download = self._take(response, console)
        if not self._operation.checksum and self._expected not in ("", str(download.digest)):
            raise Unavailable(f"{where(self._operation.url)}: it changed while it was fetched: build again")
        return Result(
            Filesystem((download.layer,)),
            download.layer,
            {
                "address": where(download.url),
                "etag": download.etag[:1024],
                "content": str(download.digest),
                "size": str(download.size),
            },
        )

    def _current(self) -> str:
        url = self._operation.url
        known = self._records.find(url)
        response = downloads.ask(self._fetcher, url, known)
        if response is None:
            assert known is not None
            return str(known.digest)
        console = Console(self._session.reporter, self._vertex, self._session.cancellation)
        self._fetched = self._take(response, console)
        return str(self._fetched.digest)

    def _take(self, response: Response, console: Console) -> Download:
        what = f"downloading {where(response.url)}"
        etag, modified = downloads.validators(response)
        download = downloads.take(
            response,
            self._session.workshop.layers,
            filename=self._operation.filename,
            epoch=EPOCH,
            checksum=self._operation.checksum,
            scratch=self._session.workshop.paths.ingest,
            progress=lambda current, total: console.progress(what, current, total),
        )
        known = Known(etag, modified, download.digest, download.size)
        self._records.remember(self._operation.url, known)
        return download
