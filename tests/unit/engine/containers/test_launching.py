"""Starts that fail: whose reason is told."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from carboy.engine.containers.document import Container
from carboy.engine.containers.launching import Launcher
from carboy.engine.monitors import Channel
from carboy.formats.spawner import StepError, encode


class Unconnected(Launcher):
    """Init's namespaces are gone when it looks for them."""

    follow = Launcher._follow

    def _connect(self, container: Container, pid: int, bundle: str) -> None:
        raise FileNotFoundError(f"/proc/{pid}/ns/net")


def follow(*messages: dict[str, Any], end: bool) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    nothing: Any = None
    channel = Channel("c" * 64, ours)
    with theirs:
        for message in messages:
            theirs.send(encode(message))
        if end:
            theirs.shutdown(socket.SHUT_WR)
        try:
            Unconnected(nothing, nothing, connected=nothing, disconnect=nothing).follow(
                nothing, channel, "/nowhere"
            )
        finally:
            channel.close()


NAMESPACES = {"event": "namespaces", "pid": 1 << 30}


def test_the_monitors_reason_is_the_reason() -> None:
    """It fails while the network is being connected: init goes, and its namespaces with it."""
    error = StepError("Unavailable", "log", "no such log server").to_message()
    with pytest.raises(StepError, match="no such log server"):
        follow(NAMESPACES, {"event": "failed", "error": error}, end=False)


@pytest.mark.parametrize("more", [[], [{"event": "created", "pid": 1 << 30}]])
def test_otherwise_the_networks_is(more: list[dict[str, Any]]) -> None:
    with pytest.raises(FileNotFoundError):
        follow(NAMESPACES, *more, end=True)
