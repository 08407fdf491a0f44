"""Builds against hostile clients, contexts, Dockerfiles and programs: what security.md lists of builders."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest

from support.archives import make_tar
from support.buildclient import plain
from support.daemon import Daemon, Unix, daemon, own_daemon

__all__ = ["daemon", "own_daemon"]

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(120)]

EMPTY = make_tar({"Dockerfile": b"FROM scratch\nLABEL a=b\n"})


def asked(daemon: Daemon, path: str, body: Any = b"", timeout: float = 40, **headers: str) -> tuple[int, str]:
    """A POST's status and body; TimeoutError when none comes, and then the client is gone."""
    connection = Unix(daemon.socket)
    connection.timeout = timeout
    try:
        data = body if isinstance(body, bytes) else json.dumps(plain(body)).encode()
        connection.request("POST", path, data, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def handed(daemon: Daemon, descriptor: int, timeout: float = 40) -> tuple[int, str]:
    """The context is a descriptor of ours."""
    return asked(daemon, "/build", timeout=timeout, **{"X-Carboy-Descriptor": str(descriptor)})


def until(what: str, condition: Any, seconds: float = 30) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def open_files(daemon: Daemon) -> int:
    assert daemon.process is not None
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


# What a client hands over


def test_descriptors_that_are_no_files_are_refused(daemon: Daemon) -> None:
    with ExitStack() as stack:

        def opened(descriptor: int) -> int:
            stack.callback(os.close, descriptor)
            return descriptor

        reading, writing = os.pipe()
        odd = [
            opened(os.open("/dev/zero", os.O_RDONLY)),
            opened(os.open("/", os.O_RDONLY | os.O_DIRECTORY)),
            opened(os.open("/etc/passwd", os.O_PATH)),
            opened(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)),
            opened(os.eventfd(0)),
            opened(os.pidfd_open(os.getpid())),
            opened(writing),
            opened(reading) and 99_999,
        ]
        for descriptor in odd:
            status, text = handed(daemon, descriptor)
            assert status == 400, text
        for descriptor in (*odd[:1], *odd[2:]):
            place = {"Descriptor": descriptor}
            for body in (
                {"Context": {"Kind": "directory", **place}},
                {"CacheTo": [{"Type": "local", **place}]},
            ):
                status, text = asked(daemon, "/build/begin", body)
                assert status == 400, text


@pytest.mark.parametrize("kind", ["pipe", "socket", "sparse"])
def test_what_never_ends_ends_with_its_client(daemon: Daemon, kind: str) -> None:
    """A thread that reads from the client must not wait for ever: not for it, nor for the daemon's end."""
    asked(daemon, "/build", EMPTY)  # so that what is opened once is open
    before = open_files(daemon)
    with ExitStack() as stack:
        if kind == "socket":
            one, other = (stack.enter_context(each) for each in socket.socketpair())
            descriptor = one.fileno()
            other.sendall(EMPTY[:700])
        elif kind == "pipe":
            descriptor, writing = os.pipe()
            stack.callback(os.close, descriptor)
            stack.callback(os.close, writing)
            os.write(writing, EMPTY[:700])
        else:
            descriptor = os.memfd_create("sparse")
            stack.callback(os.close, descriptor)
            os.ftruncate(descriptor, 1 << 39)
        with pytest.raises(TimeoutError):
            handed(daemon, descriptor, timeout=0.7)
        until("the context is still being read", lambda: not os.listdir(f"{daemon.root}/ingest"))
        until("descriptors are left open", lambda: open_files(daemon) <= before)


def test_a_pipe_that_is_slow_is_a_context(daemon: Daemon) -> None:
    reading, writing = os.pipe()

    def feed() -> None:
        for begin in range(0, len(EMPTY), 4000):
            os.write(writing, EMPTY[begin : begin + 4000])
            time.sleep(0.05)
        os.close(writing)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        status, text = handed(daemon, reading)
    finally:
        thread.join()
        os.close(reading)
    assert status == 200
    assert "Successfully built" in text
