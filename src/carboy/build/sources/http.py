"""One HTTP request, for downloads and for git: the standard library, with everything bounded.

- http and https only; certificates are verified; never from https down to http.
- Credentials in an address become a header for that server only; errors show the address without them.
- Proxies are those of the build (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), not of this process.
- A cancelled build ends a transfer at once: its socket is shut down.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from carboy.build.progress import Cancellation
from carboy.build.sources.addresses import scrub, shown
from carboy.errors import (
    CarboyError,
    Corrupt,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
    Unsupported,
)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AGENT = "carboy"
_SAFE = "%/:=&?~#+!$,;'@()*[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """What a server may make us do."""

    size: int = 64 << 30
    idle: float = 60.0
    """Seconds without a byte."""
    total: float = 4 * 3600.0
    redirects: int = 10


class Response:
    """An answer that is being read; use it as a context."""

    def __init__(
        self,
        fetcher: Fetcher,
        connection: http.client.HTTPConnection,
        raw: http.client.HTTPResponse,
        url: str,
        release: Callable[[], None],
    ) -> None:
        self._fetcher = fetcher
        self._connection = connection
        self._release = release
        self._raw = raw
        self.url = url
        """Where it came from in the end; may hold credentials."""
        self.status = raw.status
        self.reason = raw.reason
        length = raw.getheader("Content-Length", "")
        self.size = int(length) if length.isdecimal() and raw.length is not None else 0
        """Bytes to come; 0 when the server does not say."""
        self.received = 0
        self._deadline = time.monotonic() + fetcher.limits.total

    def header(self, name: str) -> str:
        """A header's value, or nothing."""
        return self._raw.getheader(name) or ""

    def read(self, size: int, /) -> bytes:
        """So many bytes, fewer only at the end; a transfer that ends early is an error."""
        data = bytearray()
        while len(data) < size and (piece := self._piece(size - len(data))):
            data += piece
        return bytes(data)

    def _piece(self, size: int) -> bytes:
        """What has come: a server that drips would keep whoever waits for more past every limit."""
        with self._fetcher.failures(self.url):
            data = self._raw.read1(size)
        self._fetcher.cancellation.check()
        self.received += len(data)
        if self.received > self._fetcher.limits.size:
            raise InvalidArgument(
                f"{where(self.url)}: more than {self._fetcher.limits.size} bytes; that is refused"
            )
        if time.monotonic() > self._deadline:
            raise Unavailable(
                f"{where(self.url)}: the transfer took longer than {self._fetcher.limits.total:.0f} s"
            )
        if not data and self.received < self.size:
            raise Unavailable(
                f"{where(self.url)}: the transfer ended after {self.received} of {self.size} bytes"
            )
        return data

    def close(self) -> None:
        """Let go of the connection."""
        self._release()
        self._raw.close()
        self._connection.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Fetcher:
    """Makes requests for one build."""

    def __init__(
        self,
        *,
        proxies: Mapping[str, str],
        cancellation: Cancellation,
        limits: TransferLimits | None = None,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._proxies = {name.lower(): value for name, value in proxies.items() if value}
        self.cancellation = cancellation
        self.limits = limits or TransferLimits()
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None

    def open(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        authorization: str = "",
    ) -> Response:
        """The answer to a request, redirects followed; any status.

        `authorization` is for the server of `url` only; credentials in the address itself win.
        """
        here = url
        authorization = _authorization(split(url)) or authorization
        for _ in range(self.limits.redirects + 1):
            self.cancellation.check()
            response = self._once(here, method, headers or {}, body, authorization)
            target = response.header("Location") if response.status in _REDIRECTS else ""
            if not target:
                return response
            response.close()
            if body is not None:
                raise Unavailable(
                    f"{where(here)}: the server redirects a request with a body; that is refused"
                )
            there = urljoin(here, target)
            before, after = split(here), split(there)
            if before.scheme == "https" and after.scheme == "http":
                raise PermissionDenied(
                    f"{where(url)}: redirected from https to {where(there)}; that is refused"
                )
            if _authorization(after):
                authorization = _authorization(after)
            elif _origin(before) != _origin(after):
                authorization = ""
            here = there
        raise Unavailable(f"{where(url)}: more than {self.limits.redirects} redirects")

    def _once(
        self, url: str, method: str, headers: Mapping[str, str], body: bytes | None, authorization: str
    ) -> Response:
        parts = split(url)
        connection, target, extra = self._connection(parts)
        sent = {
            "Host": _host(parts),
            "User-Agent": _AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            **headers,
            **extra,
        }
        if authorization:
            sent["Authorization"] = authorization
        release: Callable[[], None] = _nothing
        try:
            with self.failures(url):
                connection.connect()
                # The response takes the socket over, so what ends it is asked for now.
                release = self.cancellation.subscribe(_shutting(connection.sock))
                connection.request(method, target, body=body, headers=sent)
                raw = connection.getresponse()
        except BaseException:
            release()
            connection.close()
            raise
        return Response(self, connection, raw, url, release)

    def _connection(self, parts: SplitResult) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
        """(connection, what to ask for, headers for the proxy)."""
        host, secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        target = quote(parts.path or "/", safe=_SAFE) + (
            f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
        )
        proxy = self.proxy_for(parts)
        timeout = self.limits.idle
        if proxy is None:
            if secure:
                return (
                    http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context()),
                    target,
                    {},
                )
            return http.client.HTTPConnection(host, port, timeout=timeout), target, {}
        login = {"Proxy-Authorization": _basic(proxy)} if proxy.username else {}
        if secure:
            tunnel = http.client.HTTPSConnection(
                proxy.hostname or "", proxy.port or 80, timeout=timeout, context=self._context()
            )
            tunnel.set_tunnel(host, port, login)
            return tunnel, target, {}
        plain = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80, timeout=timeout)
        return plain, f"http://{_host(parts)}{target}", login

    def proxy_for(self, parts: SplitResult) -> SplitResult | None:
        """The proxy that an address is to be asked through."""
        address = self._proxies.get(f"{parts.scheme}_proxy") or self._proxies.get("all_proxy")
        if not address or bypasses(parts, self._proxies.get("no_proxy", "")):
            return None
        try:
            proxy = urlsplit(address if "://" in address else f"http://{address}")
            port_is_a_number = proxy.port is None or proxy.port > 0
        except ValueError as error:
            raise InvalidArgument(f"the {parts.scheme} proxy of this build is no address: {error}") from None
        if proxy.scheme != "http" or not proxy.hostname or not port_is_a_number:
            raise Unsupported(
                f"the proxy {shown(proxy.geturl())} of this build is not supported: only http://host:port is"
            )
        return proxy

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
        return self._tls

    @contextmanager
    def failures(self, url: str) -> Iterator[None]:
        """Give what goes wrong with a connection a category and the address."""
        place = where(url)
        try:
            yield
        except CarboyError:
            raise
        except ssl.SSLCertVerificationError as error:
            self.cancellation.check()
            raise PermissionDenied(
                f"{place}: its certificate is not trusted: {error.verify_message}"
                " (add its authority to this machine's)"
            ) from None
        except TimeoutError:
            self.cancellation.check()
            raise Unavailable(f"{place}: no answer within {self.limits.idle:.0f} s") from None
        except (http.client.HTTPException, ValueError) as error:
            self.cancellation.check()
            raise Corrupt(f"{place}: the answer is not understood: {scrub(str(error), url)[:200]}") from None
        except OSError as error:
            self.cancellation.check()
            text = scrub(error.strerror or str(error), url)
            raise Unavailable(f"{place}: cannot be reached: {text[:200]}") from None


def _nothing() -> None:
    """Nothing was begun."""


def _shutting(stream: socket.socket) -> Callable[[], None]:
    """What ends every wait for a socket, from any thread (TLS's own shutdown would change its object)."""

    def shut() -> None:
        try:
            socket.socket.shutdown(stream, socket.SHUT_RDWR)
        except OSError:
            pass

    return shut


def where(url: str) -> str:
    """An address in errors and records: no credentials, nor a query (redirects are often signed in it)."""
    return shown(url).partition("?")[0]


def split(url: str) -> SplitResult:
    """The parts of an http or https address; InvalidArgument."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise InvalidArgument(f"invalid address {where(url)[:200]!r}: {error}") from None
    if not usable or any(one <= " " or one == "\x7f" for one in parts.netloc + parts.path + parts.query):
        raise InvalidArgument(
            f"invalid address {where(url)[:200]!r}: only http:// and https:// can be fetched"
        )
    return parts


def check_status(response: Response) -> None:
    """Raise unless the answer is what was asked for."""
    if response.status == 200:
        return
    text = f"{where(response.url)}: invalid response status {response.status} {response.reason[:80]}".rstrip()
    if response.status in (404, 410):
        raise NotFound(text)
    if response.status in (401, 403, 407):
        raise PermissionDenied(text)
    raise Unavailable(text) if response.status >= 500 else InvalidArgument(text)


def bypasses(parts: SplitResult, no_proxy: str) -> bool:
    """Whether NO_PROXY (or being this machine) keeps an address from the proxy; the words are Go's."""
    host = (parts.hostname or "").rstrip(".").lower()
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return any(_matches(one.strip().lower(), host, port, address) for one in no_proxy.split(","))


def _matches(
    pattern: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None
) -> bool:
    if not pattern:
        return False
    if pattern == "*":
        return True
    if "/" in pattern:
        try:
            return address is not None and address in ipaddress.ip_network(pattern, strict=False)
        except ValueError:
            return False
    bare, colon, wanted = pattern.rpartition(":")
    if colon and wanted.isdecimal() and (":" not in bare or bare.endswith("]")):
        if int(wanted) != port:
            return False
        pattern = bare
    pattern = pattern.strip("[]").removeprefix("*").rstrip(".")
    if address is not None:
        return _address(pattern) == address
    return (
        host.endswith(pattern) if pattern.startswith(".") else host == pattern or host.endswith("." + pattern)
    )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _basic(parts: SplitResult) -> str:
    """The header's value for the credentials of an address."""
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _authorization(parts: SplitResult) -> str:
    return _basic(parts) if parts.username or parts.password else ""


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
