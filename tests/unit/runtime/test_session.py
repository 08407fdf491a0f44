"""Back-pressure and the client that takes nothing, with pipes and sockets of the test's own."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

from carboy.formats import stdcopy
from carboy.runtime.monitor.loop import Loop
from carboy.runtime.monitor.session import BUFFER, Client, Session

SIZE = 4 << 20


class Memory:
    """A log that keeps everything."""

    def __init__(self) -> None:
        self.size = 0
        self.lost = 0
        self.most = 256 * 1024
        self.finished = False
        self.full = False
        self.on_room: Callable[[], None] = lambda: None

    def position(self) -> dict[str, int]:
        return {}

    def unwritten(self, stream: int) -> bytes:
        return b""

    def write(self, stream: int, data: bytes, nanoseconds: int) -> None:
        self.size += len(data)

    def finish(self, nanoseconds: int) -> None:
        self.finished = True

    def reopen(self) -> None: ...


class Setup:
    """A session that reads a pipe which a thread fills, and its log."""

    def __init__(self, *, stall: float, terminal: bool = False) -> None:
        self.loop = Loop()
        self.log = Memory()
        self.drained = False
        reading, self.writing = os.pipe()
        self.session = Session(
            self.loop,
            terminal=terminal,
            outputs={reading: 1},
            stdin=None,
            log=self.log,
            stdin_once=False,
            drained=self._drained,
            detached=lambda: None,
            stall=stall,
        )
        self.writer = threading.Thread(target=self._write)
        self.writer.start()

    def _drained(self) -> None:
        self.drained = True

    def _write(self) -> None:
        left = memoryview(bytes(SIZE))
        while left:
            left = left[os.write(self.writing, left) :]
        os.close(self.writing)

    def attach(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.session.attach(
            theirs.detach(), stdin=False, stdout=True, stderr=True, detach_keys=b"", initial=b""
        )
        return ours

    def run(self, seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while not self.drained:
            assert time.monotonic() < end
            self.loop.step(0.1)
        self.writer.join()


def test_a_client_that_takes_nothing_is_dropped_and_the_program_goes_on() -> None:
    one = Setup(stall=0.2)
    with one.attach() as stalled:
        one.run()
        assert one.log.size == SIZE
        assert one.log.finished
        assert one.session.clients == []
        received = 0
        while piece := stalled.recv(1 << 20):
            received += len(piece)
        assert received < SIZE


def test_a_client_makes_the_program_wait_not_the_memory_grow() -> None:
    one = Setup(stall=30)
    with one.attach() as slow:
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            one.loop.step(0.02)
        assert one.log.size < BUFFER * 2 + (1 << 20), "more than the buffer was read"
        assert not one.drained
        data = bytearray()
        taker = threading.Thread(target=lambda: _take(slow, data))
        taker.start()
        one.run()
        one.session.finish_clients()
        while one.session.clients:
            one.loop.step(0.1)
        taker.join()
        assert sum(len(piece) for _, piece in stdcopy.Decoder().feed(bytes(data))) == SIZE


def _take(connection: socket.socket, data: bytearray) -> None:
    while piece := connection.recv(1 << 16):
        data += piece


def test_a_stalled_client_does_not_hold_up_another() -> None:
    one = Setup(stall=0.2, terminal=True)
    with one.attach(), one.attach() as good:
        data = bytearray()
        taker = threading.Thread(target=lambda: _take(good, data))
        taker.start()
        one.run()
        one.session.finish_clients()
        while one.session.clients:
            one.loop.step(0.1)
        taker.join()
        assert len(data) == SIZE


def test_a_program_that_prints_byte_by_byte_waits_as_well() -> None:
    ours, theirs = socket.socketpair()
    one = Setup(stall=30)
    with ours:
        one.run()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client = Client(one.session, theirs.detach(), stdin=False, stdout=True, stderr=True, detach_keys=b"")
        sent = 0
        while not client.full:
            client.send(1, b"x")
            sent += 1
            assert sent < 200_000
        client.close()
