"""TLS over a connected socket, with the few methods of a socket that the command line uses.

The engine of `ssl` works on memory; the bytes are moved here.  So everything that has arrived is
always decrypted and given out at once, `poll` on the descriptor stays true, and the sending side
can be closed alone (close_notify), as a plain socket's.
"""

from __future__ import annotations

import _socket
import select
import ssl

from carboy.errors import InvalidArgument, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.address import Address, Tls

RECEIVE = 256 * 1024
RECORD = 4096
"""What a writable socket certainly takes: a third of its buffer is free then."""


def wrap(stream: _socket.socket, address: Address, tls: Tls) -> TlsStream:
    """Shake hands; an untrusted server, or one that does not trust us, is said clearly."""
    try:
        wrapped = TlsStream(stream, _context(tls), address.host)
        wrapped.handshake()
    except BaseException as error:
        stream.close()
        raise _worded(error, address) from error
    return wrapped


def _worded(error: BaseException, address: Address) -> BaseException:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unavailable(
            f"cannot trust the daemon at {address.url}: {error.verify_message}: "
            "its certificate must be signed by the authority in ca.pem and name this host"
        )
    if isinstance(error, ssl.SSLError):
        return Unavailable(f"TLS with the daemon at {address.url} failed: {reason(error)}")
    return error


def reason(error: ssl.SSLError) -> str:
    """The error in words."""
    text = (error.reason or str(error)).replace("_", " ").lower()
    if "wrong version number" in text or "http request" in text:
        return "the server does not speak TLS there"
    if "certificate required" in text or "bad certificate" in text or "unknown ca" in text:
        return f"{text}: the server wants a client certificate that it trusts (cert.pem and key.pem)"
    return text


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if tls.verify and tls.ca:
            context.load_verify_locations(tls.ca)
        elif tls.verify:
            context.load_default_certs()
        if tls.cert or tls.key:
            context.load_cert_chain(tls.cert, tls.key or None)
    except ssl.SSLError as error:
        raise InvalidArgument(
            f"the TLS files {tls.ca} {tls.cert} {tls.key} cannot be used: {error.reason or error}"
        ) from error
    except OSError as error:
        where = error.filename or (tls.ca if tls.verify and tls.ca else f"{tls.cert}, {tls.key}")
        raise InvalidArgument(f"could not read the TLS files: {where}: {error.strerror or error}") from error
    return context


class TlsStream:
    """A socket's methods over TLS."""

    def __init__(self, stream: _socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._engine = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def handshake(self) -> None:
        """Until both sides have agreed; our certificate may still be refused afterwards."""
        while True:
            try:
                self._engine.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                self._absorb(RECEIVE)
            except ssl.SSLError:
                self._flush()  # the alert tells the server why
                raise

    def fileno(self) -> int:
        return self._stream.fileno()

    def settimeout(self, seconds: float) -> None:
        self._stream.settimeout(seconds)

    def close(self) -> None:
        self._stream.close()

    def recv(self, size: int) -> bytes:
        buffer = bytearray(size)
        return bytes(memoryview(buffer)[: self.recv_into(buffer)])

    def recv_into(self, buffer: bytearray | memoryview) -> int:
        """Wait for something and give all of it; 0 at the end."""
        view = memoryview(buffer)
        while True:
            count, ended = self._decrypt(view)
            if count or ended or not len(view):
                return count
            self._flush()
            # never more ciphertext than the buffer has room for plain text
            self._absorb(min(RECEIVE, len(view)))

    def _decrypt(self, view: memoryview) -> tuple[int, bool]:
        """(how many bytes are put into `view`, whether the stream has ended) of what has arrived."""
        count = 0
        try:
            while count < len(view):
                size = self._engine.read(len(view) - count, view[count:])
                if not size:
                    return count, True
                count += int(size)
        except ssl.SSLWantReadError:
            if count:
                self._flush()
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return count, True  # a cut is told from an end by what the HTTP reader still expects
        except ssl.SSLError as error:
            if not count:
                raise ConnectionResetError(0, f"TLS: {reason(error)}") from error
        return count, False

    def sendall(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            size = self._engine.write(view[: 1 << 18])
            view = view[size:]
            self._flush()

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Send what fits without waiting; like a non-blocking socket when nothing does."""
        if not flags & _socket.MSG_DONTWAIT:
            self.sendall(data)
            return len(data)
        view, sent = memoryview(data), 0
        poll = select.poll()
        poll.register(self._stream, select.POLLOUT)
        while sent < len(view) and poll.poll(0):
            sent += self._engine.write(view[sent : sent + RECORD])
            self._flush()
        if not sent and data:
            raise BlockingIOError
        return sent

    def shutdown(self, how: int) -> None:  # noqa: ARG002 - only the sending side is ever closed
        """Say that we send nothing more; what the server still sends can be read."""
        try:
            self._engine.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLError):
            pass  # the server's own end comes when it comes
        self._flush()

    def _absorb(self, size: int) -> None:
        data = self._stream.recv(size)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._stream.sendall(self._outgoing.read())
