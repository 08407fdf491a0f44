"""Copying a hijacked stream: demultiplexing, input, half-close, back-pressure, detaching."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING, cast

import pytest

from carboy.cli import streams
from carboy.cli.terminal import DetachScanner
from carboy.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.client.transport import Connection


class FakeConnection:
    """A connected socket, as the client would hand it over."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.rest = b""


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


class Pipes:
    """Two pipes that stand for standard output and standard error, read by threads."""

    def __init__(self) -> None:
        self.got = [bytearray(), bytearray()]
        pairs = [os.pipe(), os.pipe()]
        self.writers = [pair[1] for pair in pairs]
        self.threads = [threading.Thread(target=self._read, args=(n, pairs[n][0])) for n in (0, 1)]
        for thread in self.threads:
            thread.start()

    def _read(self, n: int, descriptor: int) -> None:
        while data := os.read(descriptor, 1 << 20):
            self.got[n] += data
        os.close(descriptor)

    def finish(self) -> tuple[bytes, bytes]:
        for writer in self.writers:
            os.close(writer)
        for thread in self.threads:
            thread.join()
        return bytes(self.got[0]), bytes(self.got[1])


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def copy(end: socket.socket, pipes: Pipes, *, tty: bool = False, stdin: int | None = None, rest: bytes = b"",
         scanner: DetachScanner | None = None) -> bool:  # fmt: skip
    connection = FakeConnection(end)
    connection.rest = rest
    return streams.copy(
        cast("Connection", connection), tty=tty, stdin=stdin, stdout=pipes.writers[0],
        stderr=pipes.writers[1],
        scanner=scanner,
    )  # fmt: skip


@pytest.mark.parametrize("step", [1, 3, 8, 9, 1000])
def test_frames_reach_their_streams_however_they_are_cut(step: int) -> None:
    wire = frame(1, b"out") + frame(2, b"error") + frame(1, b"") + frame(1, b"x" * 300) + frame(2, b"!")
    pipes = Pipes()
    demultiplexer = streams.Demultiplexer(*pipes.writers)
    for at in range(0, len(wire), step):
        demultiplexer.write(memoryview(wire[at : at + step]))
    assert pipes.finish() == (b"out" + b"x" * 300, b"error!")


def test_garbage_instead_of_frames_is_an_error() -> None:
    with pytest.raises(Unavailable):
        streams.Demultiplexer(1, 2).write(memoryview(b"plain text here"))


def test_bytes_that_came_with_the_answer_are_first(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(frame(1, b"second"))
    theirs.shutdown(socket.SHUT_WR)
    pipes = Pipes()
    assert copy(ours, pipes, rest=frame(1, b"first "))
    assert pipes.finish()[0] == b"first second"


def test_input_is_sent_and_its_end_is_a_half_close(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    reading, writing = os.pipe()
    size = 4 << 20

    def echo() -> None:
        """Prints before it reads, and more than any buffer: sends must not block reads."""
        theirs.sendall(b"y" * size)
        while data := theirs.recv(65536):
            theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)

    def type_in() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(b"z" * size)

    threads = [threading.Thread(target=echo), threading.Thread(target=type_in)]
    for thread in threads:
        thread.start()
    pipes = Pipes()
    assert copy(ours, pipes, tty=True, stdin=reading)
    for thread in threads:
        thread.join()
    os.close(reading)
    assert pipes.finish()[0] == b"y" * size + b"z" * size


def test_detach_keys_end_the_copy_and_are_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    reading, writing = os.pipe()
    os.write(writing, b"ls\x10\x11")
    pipes = Pipes()
    assert not copy(ours, pipes, tty=True, stdin=reading, scanner=DetachScanner(b"\x10\x11"))
    assert theirs.recv(100) == b"ls\x10\x11"
    for descriptor in (reading, writing):
        os.close(descriptor)
    pipes.finish()


def test_demultiplexing_is_fast() -> None:
    """The floor is half of what was measured with other work on the machine; a run of it is 3 GB/s."""
    wire = memoryview(frame(1, b"x" * 32760) * 32)
    null = os.open("/dev/null", os.O_WRONLY)
    demultiplexer = streams.Demultiplexer(null, null)
    start = time.process_time()
    for _ in range(200):
        demultiplexer.write(wire)
    elapsed = time.process_time() - start
    os.close(null)
    assert 200 * len(wire) / elapsed > 500e6
