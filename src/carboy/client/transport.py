"""Connections to the daemon: unix, tcp, TLS and ssh, blocking, one request at a time.

`_socket` is used directly: the `socket` module imports enum and selectors, which costs
as much as half an interpreter's start.  TLS and ssh are loaded when an address wants them.

    Client ─▶ Connection (kept alive, reused) ─▶ Response: .status .read() .chunks()
           └▶ hijack(): a Connection of its own that the caller owns from then on
"""

from __future__ import annotations

import _socket
import os

from carboy.client import document
from carboy.errors import CarboyError, PermissionDenied, Unavailable
from carboy.formats import http

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carboy.client.address import Address
    from carboy.client.document import Json, JsonValue
    from carboy.client.tls import TlsStream

    Stream = _socket.socket | TlsStream
    Query = tuple[tuple[str, str], ...]

BUFFER = 256 * 1024
MAX_REPLY = 256 << 20
"""More than any document of the API; a server that sends more is broken or hostile."""


class ServerError(CarboyError):
    """The daemon answered with an error; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """A connected stream socket that speaks HTTP."""

    def __init__(self, address: Address) -> None:
        self.helper = 0  # the process that carries it, if one does
        self.socket: Stream
        if address.ssh:
            from carboy.client import ssh

            self.socket, self.helper = ssh.connect(address)
        elif address.tls is not None:
            from carboy.client import tls

            self.socket = tls.wrap(_connect(address), address, address.tls)
        else:
            self.socket = _connect(address)
        self.rest = b""
        self.refused = False  # the server takes no more: it has answered early, or is gone

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def quiet(self) -> bool:
        """Whether nothing has come after the last answer: the end is all that could."""
        import select  # a command that asks once does without

        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return not self.rest and not poll.poll(0)

    def set_timeout(self, seconds: float) -> None:
        """Give up a read or write after this time (an OSError)."""
        self.socket.settimeout(seconds)

    def send(self, data: bytes | memoryview) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.refused = True  # reading tells why

    def receive(self) -> bytes:
        if self.rest:
            data, self.rest = self.rest, b""
            return data
        return self.socket.recv(BUFFER)

    def read_head(self, method: str, *, hijack: bool = False) -> Response:
        """Wait for the head of the response to the request that was sent."""
        reader = http.ResponseReader(method, hijack=hijack)
        first = b""
        try:
            while not reader.status:
                first = reader.feed(self.receive())
        except (http.ProtocolError, OSError) as error:
            raise Unavailable(f"the daemon's connection failed: {_reason(error)}") from error
        return Response(self, reader, first)

    def close(self) -> None:
        self.socket.close()
        if self.helper:
            from carboy.client import ssh

            ssh.end(self.helper)
            self.helper = 0


class Response:
    """A response whose head has arrived; the body is read on demand."""

    def __init__(self, connection: Connection, reader: http.ResponseReader, first: bytes) -> None:
        self.connection = connection
        self.status = reader.status
        self.headers = reader.headers
        self._reader = reader
        self._first = first

    def chunks(self) -> Iterator[bytes]:
        """The body, as it arrives."""
        data, self._first = self._first, b""
        try:
            while True:
                if data:
                    yield data
                if self._reader.complete:
                    self.connection.rest = self._reader.take_rest()
                    return
                data = self._reader.feed(self.connection.receive())
        except (http.ProtocolError, OSError) as error:
            raise Unavailable(f"the daemon's connection failed: {_reason(error)}") from error

    def read(self) -> bytes:
        """The whole body."""
        pieces: list[bytes] = []
        size = 0
        for piece in self.chunks():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_REPLY:
                raise Unavailable(f"the daemon's reply is longer than {MAX_REPLY} bytes")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def json(self) -> JsonValue:
        """The body, decoded."""
        return document.decode(self.read())

    def documents(self) -> Iterator[Json]:
        """The objects of a stream of JSON texts (events, progress), each as soon as it is whole."""
        pending = b""
        for piece in self.chunks():
            pending += piece
            lines = pending.split(b"\n")
            pending = lines.pop()
            for line in lines:
                if line.strip():
                    yield document.as_object(document.decode(line))
        while pending.strip():
            value, rest = document.decode_first(pending)
            yield document.as_object(value)
            pending = rest.encode()

    def rest(self) -> bytes:
        """After a hijack: what already arrived of the other protocol."""
        return self._reader.take_rest()

    @property
    def started(self) -> bool:
        """Whether some of the body has arrived (with the head)."""
        return bool(self._first) or self._reader.complete

    @property
    def upgraded(self) -> bool:
        return self._reader.upgraded

    @property
    def reusable(self) -> bool:
        return self._reader.complete and self._reader.keep_alive and not self._reader.upgraded


class Client:
    """The daemon, as seen by a command; `wake` is called once when nothing answers.

    `headers` go with every request, `version` before every path; `patience` bounds every wait in seconds.
    """

    def __init__(
        self,
        address: Address,
        wake: Callable[[], None] | None = None,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        version: str = "",
        patience: float = 0,
    ) -> None:
        self.address = address
        self._wake = wake
        self._headers = headers
        self._patience = patience
        self._prefix = "/v" + version if version else ""
        self._idle: list[Connection] = []
        self._opened: list[Connection] = []

    def connect(self) -> Connection:
        """A new connection, starting the daemon when it is ours and absent."""
        try:
            return self._open()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if self._wake is None:
                raise _unreachable(self.address, error) from error
        except OSError as error:
            raise _unreachable(self.address, error) from error
        self._wake()
        self._wake = None
        try:
            return self._open()
        except OSError as error:
            raise _unreachable(self.address, error) from error

    def _open(self) -> Connection:
        connection = Connection(self.address)
        if self._patience:
            connection.set_timeout(self._patience)
        self._opened.append(connection)
        return connection

    def close(self) -> None:
        """Close every connection that this client opened."""
        for connection in self._opened:
            connection.close()
        self._opened.clear()
        self._idle.clear()

    def request(
        self,
        method: str,
        path: str,
        query: Query = (),
        *,
        body: JsonValue = None,
        headers: tuple[tuple[str, str], ...] = (),
        upload: Iterable[bytes] | None = None,
    ) -> Response:
        """Send a request and wait for the response's head; an error status is raised."""
        connection = self._ready()
        self.send(connection, method, path, query, body=body, headers=headers, upload=upload)
        response = connection.read_head(method)
        try:
            return checked(response)
        except ServerError:
            if upload is None:
                self.keep(response)
            raise

    def send(
        self,
        connection: Connection,
        method: str,
        path: str,
        query: Query = (),
        *,
        body: JsonValue = None,
        headers: tuple[tuple[str, str], ...] = (),
        upload: Iterable[bytes] | None = None,
    ) -> None:
        """Send a request on a connection, without waiting."""
        data = b""
        if body is not None:
            data = document.encode(body)
            headers = (*headers, ("Content-Type", "application/json"))
        elif upload is not None:
            headers = (*headers, ("Content-Type", "application/x-tar"))
        headers += self._headers
        target = self._prefix + http.quote(path) + http.query(query)
        length = None if method in ("GET", "HEAD") and not data else len(data)
        head = http.request_head(
            method, target, host=self._host(), headers=headers, length=length, chunked=upload is not None
        )
        connection.send(head + data)
        if upload is not None:
            _send_chunks(connection, upload)

    def call(self, method: str, path: str, query: Query = (), *, body: JsonValue = None) -> bytes:
        """A request whose whole reply is wanted; the connection is kept for the next one."""
        response = self.request(method, path, query, body=body)
        data = response.read()
        self.keep(response)
        return data

    def get(self, path: str, query: Query = ()) -> JsonValue:
        """The JSON document at a path."""
        return document.decode(self.call("GET", path, query))

    def get_object(self, path: str, query: Query = ()) -> Json:
        """The JSON object at a path."""
        return document.as_object(self.get(path, query))

    def post(self, path: str, query: Query = (), body: JsonValue = None) -> Json:
        """Post and decode the reply, {} when it is empty."""
        data = self.call("POST", path, query, body=body)
        return document.as_object(document.decode(data)) if data.strip() else {}

    def start_hijack(self, path: str, query: Query = (), body: JsonValue = None) -> Connection:
        """Ask for a raw stream; `finish_hijack` waits for the answer."""
        connection = self._ready()
        headers = (("Connection", "Upgrade"), ("Upgrade", "tcp"))
        self.send(connection, "POST", path, query, body=body, headers=headers)
        return connection

    def keep(self, response: Response) -> None:
        """Keep the connection of a finished response for the next request."""
        if response.reusable:
            self._idle.append(response.connection)
        else:
            response.connection.close()

    def _ready(self) -> Connection:
        """A kept connection that the server has not closed meanwhile, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.quiet:
                return connection
            connection.close()
        return self.connect()

    def is_carboy(self) -> bool:
        """Whether the server says that it is Carboy."""
        response = self.request("GET", "/_ping")
        response.read()
        self.keep(response)
        return response.headers.get("server", "").startswith("Carboy/")

    def _host(self) -> str:
        host = self.address.host
        return f"[{host}]" if ":" in host else host or "carboy"


def finish_hijack(connection: Connection) -> Response:
    """The answer to `start_hijack`; the connection then carries the raw stream."""
    response = checked(connection.read_head("POST", hijack=True))
    connection.rest = response.rest()
    return response


def checked(response: Response) -> Response:
    """The response, or the daemon's error as an exception."""
    if response.status < 400:
        return response
    data = response.read()
    message = ""
    if data.lstrip()[:1] == b"{":
        try:
            message = document.text(document.as_object(document.decode(data)), "message")
        except CarboyError:
            message = ""
    message = message or data.decode("utf-8", "replace").strip() or f"HTTP status {response.status}"
    raise ServerError(message, response.status)


def _send_chunks(connection: Connection, upload: Iterable[bytes]) -> None:
    for piece in upload:
        if piece:
            connection.send(http.chunk(piece))
        if connection.refused:
            return  # however long the rest is, or endless
    connection.send(http.LAST_CHUNK)


def _connect(address: Address) -> _socket.socket:
    if address.path:
        return _connect_unix(address.path)
    error: OSError | None = None
    for family, kind, protocol, _name, target in _socket.getaddrinfo(
        address.host, address.port, 0, _socket.SOCK_STREAM
    ):
        stream = _socket.socket(family, kind, protocol)
        try:
            stream.connect(target)
            stream.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            return stream
        except OSError as failure:
            stream.close()
            error = failure
    raise error or OSError(f"no address for {address.host}")


def _connect_unix(path: str) -> _socket.socket:
    stream = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        if len(os.fsencode(path)) < 108:
            stream.connect(path)
            return stream
        # sun_path ends at 108 bytes: name the directory by a descriptor instead
        directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
        try:
            stream.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        finally:
            os.close(directory)
        return stream
    except OSError:
        stream.close()
        raise


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _unreachable(address: Address, error: OSError) -> CarboyError:
    if isinstance(error, PermissionError):
        return PermissionDenied(
            f"permission denied for the daemon's socket {address.path}: be root or in its group"
        )
    return Unavailable(f"cannot connect to the daemon at {address.url}: {_reason(error)}. Is it running?")
