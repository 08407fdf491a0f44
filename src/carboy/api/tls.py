"""TLS before the API: each connection is spoken here, and served in plain through a pair of sockets.

    client ══TLS══▶ Terminator ──▶ socket pair ──▶ Connection (api/connection.py)
                                             └───▶ or the monitor: attach, exec, after the hand-over

So everything behind it works as on a unix socket: a stream is handed over by descriptor, and
either side may end its direction alone (close_notify is shutdown(SHUT_WR), both ways).  asyncio's
own TLS cannot do that: it ends the whole connection when the client has nothing more to say,
which is how `echo x | docker run -i` begins.  The relay holds no more than both sockets' buffers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import stat
from collections.abc import Callable

from carboy.errors import InvalidArgument

HANDSHAKE_SECONDS = 10.0
LINGER_SECONDS = 5.0
_PIECE = 256 * 1024
_AHEAD = 1024 * 1024
"""Bytes that may wait on each step of the way: with less, the two sides wait for each other."""

_log = logging.getLogger(__name__)


def server_context(*, authority: str, certificate: str, key: str, verify: bool) -> ssl.SSLContext:
    """The context of the daemon's certificate; with `verify` clients need one of the authority's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise InvalidArgument(
            f"could not load X509 key pair (cert: {certificate!r}, key: {key!r}): {error}"
        ) from error
    if stat.S_IMODE(os.stat(key).st_mode) & 0o077:
        _log.warning("the key %s can be read by others: chmod 600 it", key)
    if verify:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cafile=authority)
        except (OSError, ValueError) as error:
            raise InvalidArgument(f"could not read CA certificate {authority!r}: {error}") from error
    return context


class Identity:
    """What the daemon shows and trusts now: a connection keeps the context of its beginning.

    A context in use is never changed: between its certificate and its key a handshake would fail.
    """

    __slots__ = ("context",)

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context


def _no_password() -> str:
    raise ValueError("the key is encrypted: decrypt it")


class Terminator(asyncio.Protocol):
    """One client's TLS connection."""

    def __init__(self, context: ssl.SSLContext, connect: Callable[[], asyncio.Protocol]) -> None:
        self._connect = connect
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._outer: asyncio.Transport | None = None
        self._inner: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._joining: asyncio.Task[None] | None = None
        self._shaken = False
        self._told = False
        self._gone = False
        self._ended = False

    # -- what the client's transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come; it has some seconds to introduce itself."""
        assert isinstance(transport, asyncio.Transport)
        self._outer = transport
        client: socket.socket = transport.get_extra_info("socket")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        transport.set_write_buffer_limits(high=_AHEAD)
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes of the client."""
        self._incoming.write(data)
        try:
            if not self._shaken:
                self._shake_hands()
            else:
                self._decrypt()
        except ssl.SSLError as error:
            self._refuse(error)

    def eof_received(self) -> bool:
        """Without a farewell the client is gone, with what it had opened; after one it may listen on.

        Node ends both layers when a program ends its side of a stream.
        """
        if self._told and self._inner is not None:
            self._gone = True
            return True
        if self._inner is not None:
            self._inner.close()
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection has ended."""
        del exc
        if self._timer is not None:
            self._timer.cancel()
        if self._inner is not None:
            self._inner.close()

    def pause_writing(self) -> None:
        """The client is slow."""
        if self._inner is not None:
            self._inner.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._inner is not None:
            self._inner.resume_reading()

    # -- the handshake

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        self._flush()
        self._shaken = True
        assert self._outer is not None
        if self._timer is not None:
            self._timer.cancel()
        self._outer.pause_reading()
        self._joining = asyncio.get_running_loop().create_task(self._join())

    async def _join(self) -> None:
        """Make the pair: the server's end is an ordinary connection, the other one is the relay's."""
        loop = asyncio.get_running_loop()
        assert self._outer is not None
        served, relayed = socket.socketpair()
        for end in (served, relayed):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _AHEAD)
        try:
            await loop.connect_accepted_socket(self._connect, served)
        except BaseException:
            relayed.close()
            raise
        await loop.connect_accepted_socket(lambda: _Relay(self), relayed)
        if self._outer.is_closing():
            self._close_inner()
            return
        self._outer.resume_reading()
        try:
            self._decrypt()
        except ssl.SSLError as error:
            self._refuse(error)

    def _refuse(self, error: ssl.SSLError) -> None:
        _log.info("a TLS connection was refused: %s", error.reason or error)
        self._flush()  # the alert says why
        self._close_inner()
        if self._outer is not None:
            self._outer.close()

    # -- client to server

    def _decrypt(self) -> None:
        if self._inner is None:
            return
        while True:
            try:
                data = self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                self._told = True
                self._end_inner()
                break
            if not self._inner.is_closing():
                self._inner.write(data)
        self._flush()

    def _end_inner(self) -> None:
        assert self._inner is not None
        if self._inner.can_write_eof() and not self._inner.is_closing():
            self._inner.write_eof()

    def _close_inner(self) -> None:
        if self._inner is not None:
            self._inner.close()

    # -- server to client; the relay calls these

    def joined(self, transport: asyncio.Transport) -> None:
        """The relay's end of the pair is there."""
        self._inner = transport
        transport.set_write_buffer_limits(high=_AHEAD)

    def encrypt(self, data: bytes) -> None:
        """Send bytes of the server."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError as error:
            self._refuse(error)
            return
        self._flush()

    def end(self) -> None:
        """The server has nothing more to say."""
        if self._ended:
            return
        self._ended = True
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the client's own farewell is still to come
        self._flush()
        if self._outer is not None and not self._outer.is_closing() and self._outer.can_write_eof():
            self._outer.write_eof()

    def closed(self) -> None:
        """The server has closed: the client may read what is on its way, then that is all."""
        self.end()
        self._inner = None
        if self._outer is None or self._outer.is_closing():
            return
        if self._gone:
            self._outer.close()
        else:
            # Closing at once would reset the connection if the client was still talking.
            self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._outer.close)

    def hold(self, *, paused: bool) -> None:
        """The server reads slowly, or again."""
        if self._outer is not None and not self._outer.is_closing():
            (self._outer.pause_reading if paused else self._outer.resume_reading)()

    def _flush(self) -> None:
        if self._outgoing.pending and self._outer is not None and not self._outer.is_closing():
            self._outer.write(self._outgoing.read())


class _Relay(asyncio.Protocol):
    """The plain end of a terminated connection."""

    def __init__(self, terminator: Terminator) -> None:
        self._terminator = terminator

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._terminator.joined(transport)

    def data_received(self, data: bytes) -> None:
        self._terminator.encrypt(data)

    def eof_received(self) -> bool:
        self._terminator.end()
        return True  # the client may still have something to say

    def connection_lost(self, exc: BaseException | None) -> None:
        del exc
        self._terminator.closed()

    def pause_writing(self) -> None:
        self._terminator.hold(paused=True)

    def resume_writing(self) -> None:
        self._terminator.hold(paused=False)
