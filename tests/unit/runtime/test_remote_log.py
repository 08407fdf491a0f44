"""Logs that go to a service: syslog over every transport, journald, a service that is stuck or gone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carboy.formats.spawner import StepError
from carboy.runtime.monitor.log import open_log
from carboy.runtime.monitor.loop import Loop

TIME = 1_767_312_245_000_000_000


def service(path: Path, kind: int) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, kind)
    listening.bind(str(path))
    if kind == socket.SOCK_STREAM:
        listening.listen()
    listening.settimeout(40)
    return listening


def step_until(loop: Loop, done: Callable[[], bool]) -> None:
    for _ in range(400):
        if done():
            return
        loop.step(0.05)
    raise AssertionError("it did not happen")


def syslog(loop: Loop, transport: str, **more: Any) -> Any:
    return open_log({"driver": "syslog", "transport": transport, "facility": 3, "tag": "t", **more}, loop)


def test_datagrams_one_for_each_line(tmp_path: Path) -> None:
    with service(tmp_path / "log", socket.SOCK_DGRAM) as listening:
        log = syslog(Loop(), "unixgram", path=str(tmp_path / "log"))
        log.write(1, b"one\ntwo\nthr", TIME)
        log.write(2, b"bad\n", TIME)
        log.write(1, b"ee", TIME)
        log.finish(TIME)
        heads, texts = zip(*(listening.recv(9999).rsplit(b" ", 1) for _ in range(4)), strict=True)
    assert texts == (b"one\n", b"two\n", b"bad\n", b"three\n")
    assert [head[:4] for head in heads] == [b"<30>", b"<30>", b"<27>", b"<30>"]
    assert log.lost == 0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_over_the_network(transport: str) -> None:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(40)
        if transport == "tcp":
            listening.listen()
        log = syslog(
            Loop(), transport, addresses=[list(listening.getsockname())], format="rfc5424", shown="here"
        )
        log.write(1, b"one\n" + b"x" * 20_000 + b"\n", TIME)
        log.finish(TIME)
        if transport == "udp":
            pieces = [listening.recv(65536) for _ in range(3)]
        else:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as file:
                pieces = file.read().splitlines(keepends=True)
    assert [len(piece.rsplit(b" ", 1)[1]) - 1 for piece in pieces] == [3, 16384, 20_000 - 16384]
    assert all(b" - " in piece for piece in pieces)


def test_the_journal_gets_fields(tmp_path: Path) -> None:
    with service(tmp_path / "socket", socket.SOCK_DGRAM) as listening:
        options = {
            "driver": "journald",
            "address": str(tmp_path / "socket"),
            "fields": {"CONTAINER_NAME": "web"},
        }
        log = open_log(options, Loop())
        log.write(2, b"bad\n", TIME)
        log.write(1, b"x" * 16385 + b"\n", TIME)
        log.finish(TIME)
        first, second, third = (listening.recv(65536).split(b"\n") for _ in range(3))
    assert first[0] == b"CONTAINER_NAME=web"
    assert {b"PRIORITY=3", b"MESSAGE=bad", b"SYSLOG_TIMESTAMP=2026-01-02T00:04:05.000000000Z"} < set(first)
    assert b"CONTAINER_PARTIAL_MESSAGE=true" in second
    assert b"CONTAINER_PARTIAL_MESSAGE=true" not in third


def test_a_service_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    for options, words in (
        ({"driver": "journald", "address": str(tmp_path / "no")}, "journald is not enabled on this host"),
        (
            {"driver": "syslog", "transport": "unix", "path": str(tmp_path / "no"), "shown": "p"},
            "dial unix p: No such",
        ),
    ):
        with pytest.raises(StepError, match=words) as caught:
            open_log(options, Loop())
        assert caught.value.step == "log"
        assert str(caught.value).startswith("failed to initialize logging driver: ")


def test_a_stuck_service_makes_the_program_wait(tmp_path: Path) -> None:
    loop, room = Loop(), []
    with service(tmp_path / "log", socket.SOCK_STREAM) as listening:
        log = syslog(loop, "unix", path=str(tmp_path / "log"), buffer=4096)
        log.on_room = lambda: room.append(True)
        connection, _ = listening.accept()
        written = 0
        while not log.full:
            log.write(1, b"x" * 9999 + b"\n", TIME)
            written += 1
        room.clear()
        with connection, connection.makefile("rb", buffering=0) as file:
            connection.settimeout(0.2)
            received = 0

            def take() -> bool:
                nonlocal received
                try:
                    received += len(file.read(1 << 20) or b"")
                except TimeoutError:
                    pass
                return bool(room)

            step_until(loop, take)
            assert not log.full
            log.finish(TIME)
            connection.settimeout(40)
            while piece := file.read(1 << 20):
                received += len(piece)
    assert received // 10_000 == written
    assert log.lost == 0


def test_a_stuck_service_never_blocks_the_other_mode(tmp_path: Path) -> None:
    with service(tmp_path / "log", socket.SOCK_STREAM):
        log = syslog(Loop(), "unix", path=str(tmp_path / "log"), buffer=4096, non_blocking=True)
        for _ in range(200):
            log.write(1, b"x" * 9999 + b"\n", TIME)
            assert not log.full
        assert log._queued < 20_000
        log.finish(TIME)
        assert log.lost == 0  # it was asked for


def test_a_service_that_comes_back_gets_what_was_kept(tmp_path: Path) -> None:
    loop = Loop()
    with service(tmp_path / "log", socket.SOCK_STREAM) as listening:
        log = syslog(loop, "unix", path=str(tmp_path / "log"), buffer=100)
        connection, _ = listening.accept()
        connection.close()
        step_until(loop, lambda: log._socket is None)
    log.write(1, b"kept\n", TIME)
    log.write(1, b"lost" * 100 + b"\n", TIME)
    assert not log.full
    assert log.lost > 400
    (tmp_path / "log").unlink()
    with service(tmp_path / "log", socket.SOCK_STREAM) as listening:
        step_until(loop, lambda: log._socket is not None and not log._queue)
        connection, _ = listening.accept()
        with connection:
            assert connection.recv(999).endswith(b"kept\n")
        log.finish(TIME)
