"""Packets of a monitor that would be too large: an error for who asked, never the monitor's end."""

from __future__ import annotations

import json
import socket

from carboy.formats.spawner import MAX_PACKET
from carboy.runtime.monitor.connection import Connection
from carboy.runtime.monitor.log import READ_SIZE, most_at_once
from carboy.runtime.monitor.loop import Loop


def test_an_answer_that_is_too_large_is_an_error() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    loop = Loop()
    with ours:
        connection = Connection(
            loop, theirs, lambda message, descriptors: {"x": "y" * MAX_PACKET}, lambda gone: None
        )
        ours.send(b'{"seq":7,"op":"state"}')
        loop.step(1)
        answer = json.loads(ours.recv(MAX_PACKET))
        assert answer["re"] == 7
        assert "too large" in answer["error"]["text"]
        connection.send({"event": "health", "x": "y" * MAX_PACKET})  # nobody asked
        connection.send({"event": "oom"})
        assert json.loads(ours.recv(MAX_PACKET)) == {"event": "oom"}
        connection.close()


def test_large_attributes_make_for_small_reads() -> None:
    assert most_at_once({}) == READ_SIZE
    assert most_at_once({"a": "x" * 4096}) < 8192
    assert most_at_once({"a": "x" * 10**9}) == 512
