"""Channels: replies find their askers, events come in order, the end is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from carboy.engine.monitors import Channel, ChannelLoop, Message
from carboy.errors import Unavailable
from carboy.formats.spawner import StepError, decode, encode


@pytest.fixture
def loop() -> Iterator[ChannelLoop]:
    running = ChannelLoop()
    running.start()
    yield running
    running.stop()


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel("c" * 64, ours)
    theirs.settimeout(40)
    yield channel, theirs
    channel.close()
    theirs.close()


def answer(theirs: socket.socket, **reply: object) -> Message:
    request = decode(theirs.recv(1 << 17))
    theirs.send(encode({"re": request["seq"], **reply}))
    return request


def test_direct_mode_keeps_events_that_come_before_a_reply(
    pair: tuple[Channel, socket.socket], loop: ChannelLoop
) -> None:
    channel, theirs = pair
    theirs.send(encode({"event": "namespaces", "pid": 7}))
    assert channel.next_event(1)["pid"] == 7
    theirs.send(encode({"event": "oom"}))
    thread = threading.Thread(target=answer, args=(theirs,), kwargs={"pid": 8})
    thread.start()
    assert channel.request("start")["pid"] == 8
    thread.join()
    seen: list[str] = []
    ended = threading.Event()

    def handle(_channel: Channel, message: Message | None) -> None:
        seen.append(message["event"] if message else "end")
        if message is None:
            ended.set()

    loop.add(channel, handle)
    theirs.send(encode({"event": "exited"}))
    theirs.close()
    assert ended.wait(40)
    assert seen == ["oom", "exited", "end"]


def test_shared_mode_errors_and_the_end(pair: tuple[Channel, socket.socket], loop: ChannelLoop) -> None:
    channel, theirs = pair
    loop.add(channel, lambda _channel, _message: None)
    error = {"category": "Conflict", "step": "pause", "text": "it is paused"}
    thread = threading.Thread(target=answer, args=(theirs,), kwargs={"error": error})
    thread.start()
    with pytest.raises(StepError, match="it is paused") as caught:
        channel.request("pause")
    thread.join()
    assert caught.value.status == 409

    def vanish() -> None:
        theirs.recv(1 << 17)
        theirs.close()

    thread = threading.Thread(target=vanish)
    thread.start()
    with pytest.raises(Unavailable, match="has gone"):
        channel.request("state")
    thread.join()
    with pytest.raises(Unavailable):
        channel.request("state")


def test_an_end_in_direct_mode(pair: tuple[Channel, socket.socket]) -> None:
    channel, theirs = pair
    theirs.close()
    with pytest.raises(Unavailable, match="ended unexpectedly"):
        channel.next_event(1)


def test_a_silent_monitor(pair: tuple[Channel, socket.socket]) -> None:
    channel, _ = pair
    with pytest.raises(Unavailable, match="did not answer"):
        channel.next_event(0.01)


def test_a_queue_that_is_full_or_gone(pair: tuple[Channel, socket.socket], loop: ChannelLoop) -> None:
    """A descriptor above 1023, as of a daemon with many containers, is waited for as well."""
    import fcntl
    import os

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    number = fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD_CLOEXEC, 1030)
    ours.close()
    channel = Channel("c" * 64, socket.socket(fileno=number))
    loop.add(channel, lambda _channel, _message: None)
    outcome: list[object] = []

    def ask() -> None:
        try:
            outcome.append(channel.request("state", text="x" * 60_000))
        except Unavailable as error:
            outcome.append(error)

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    os.sched_yield()
    theirs.settimeout(40)
    for _ in range(10):
        answer(theirs, ok=True)
    theirs.close()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive()
    assert len(outcome) == 40
    assert not channel._slots
    channel.close()
