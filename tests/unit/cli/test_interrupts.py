"""Signals at awkward moments: never lost, never a traceback, and nothing is undone that should stay."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.fakeserver import FakeServer

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}

IN_A_CALLBACK = """
import _signal, os, sys, weakref
from carboy.cli import main, signals

class Thing:
    pass

def interrupted(_):
    os.kill(os.getpid(), 2)
    for _ in range(1000):
        pass

sys.unraisablehook = main._unraisable
{prepare}
thing = Thing()
watched = weakref.ref(thing, interrupted)
try:
    del thing
    _signal.pause()
except KeyboardInterrupt as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("prepare", "expected"), [("", "KeyboardInterrupt"), ("signals.raise_on_end()", "Interrupted")]
)
def test_an_interrupt_in_a_callback_of_the_interpreter_is_not_lost(prepare: str, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CALLBACK.format(prepare=prepare)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{expected}\n", "")


IN_AN_IMPORT = """
import os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "carboy.cli.version":
            os.kill(os.getpid(), 2)
            for _ in range(1000):
                pass

sys.meta_path.insert(0, Finder())
sys.argv = ["carboy", "version"]
exec(compile(open({script!r}).read(), {script!r}, "exec"))
"""


@pytest.mark.parametrize(("ignored", "code"), [(False, -signal.SIGINT), (True, 1)])
def test_before_a_command_begins_an_interrupt_ends_the_process(ignored: bool, code: int) -> None:
    """Unless it is ignored, as for what a shell starts with `&`: there is no daemon for it to find then."""
    done = subprocess.run(
        [sys.executable, "-c", IN_AN_IMPORT.format(script=str(REPOSITORY / "bin" / "carboy"))],
        env={**ENVIRONMENT, "CARBOY_HOST": "unix:///nowhere/carboy.sock"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else None,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    """A daemon whose containers say `up` and run on."""
    server = FakeServer(str(tmp_path / "s"))
    server.json("POST /containers/create", {"Id": "c1"}, 201)
    server.json("DELETE /containers/c1", {})
    server.hijack("POST /containers/c1/attach", b"\1\0\0\0\0\0\0\3up\n", held=True)
    server.replies["POST /containers/c1/wait"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.replies["POST /containers/c1/start"] = b"HTTP/1.1 204 No Content\r\n\r\n"
    yield server
    server.close()


def command(server: FakeServer, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "bin" / "carboy"), "-H", "unix://" + server.path, *arguments],
        env={**ENVIRONMENT, "DOCKER_CONFIG": server.path + ".settings", "TERM": "xterm"},
        **options,
    )


def discarded(server: FakeServer) -> bool:
    return any(request[0].startswith("DELETE") for request in server.requests)


def until_asked(server: FakeServer, route: str) -> None:
    end = time.monotonic() + 40
    while not any(request[0].startswith(route) for request in server.requests):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_not_passed_on_ends_only_the_client(server: FakeServer, number: int) -> None:
    """--sig-proxy=false: what runs is not removed."""
    with command(server, "run", "--rm", "--sig-proxy=false", "x", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(40) == 128 + number
    assert not discarded(server)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("flag", "asked"), [("--rm", "attach"), ("--sig-proxy=false", "start"), ("-t", "start"), ("-d", "start")]
)
def test_what_has_not_been_started_is_removed(server: FakeServer, number: int, flag: str, asked: str) -> None:
    server.replies["POST /containers/c1/" + asked] = b""  # it takes its time
    with command(server, "run", flag, "x") as process:
        until_asked(server, "POST /containers/c1/" + asked)
        process.send_signal(number)
        assert process.wait(40) == 128 + number
    assert discarded(server)


def test_an_interrupted_create_leaves_no_cidfile(server: FakeServer, tmp_path: Path) -> None:
    server.replies["POST /containers/create"] = b""  # it takes its time
    with command(server, "run", "--cidfile", f"{tmp_path}/cid", "x") as process:
        until_asked(server, "POST /containers/create")
        assert (tmp_path / "cid").exists()
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 130
    assert not (tmp_path / "cid").exists()


@pytest.fixture
def pseudo() -> Iterator[tuple[int, int]]:
    """The two ends of a pseudo terminal: ours and the command's."""
    ends = pty.openpty()
    yield ends
    for descriptor in ends:
        os.close(descriptor)


def read_until(descriptor: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        assert select.select([descriptor], [], [], 40)[0], seen
        seen += os.read(descriptor, 4096)
    return seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "arguments", [("run", "-it", "x"), ("start", "-ai", "c1"), ("attach", "c1"), ("exec", "-it", "c1", "sh")]
)
def test_a_raw_terminal_is_restored_whatever_ends_the_command(
    server: FakeServer, pseudo: tuple[int, int], number: int, arguments: tuple[str, ...]
) -> None:
    details = {"Id": "c1", "Config": {"Tty": True, "OpenStdin": True}, "State": {"Running": True}}
    server.json("GET /containers/c1/json", details)
    server.json("POST /containers/c1/exec", {"Id": "e1"}, 201)
    for route in ("/exec/e1/start", "/containers/c1/attach"):
        server.hijack("POST " + route, b"up\n", held=True)
    ours, theirs = pseudo
    before = termios.tcgetattr(theirs)
    with command(server, *arguments, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        read_until(ours, b"up")
        assert termios.tcgetattr(theirs) != before
        process.send_signal(number)
        assert process.wait(40) == 128 + number
    assert termios.tcgetattr(theirs) == before
    assert not discarded(server)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("arguments", [("stats", "c1"), ("build", "-")])
def test_the_cursor_is_shown_again_whatever_ends_the_command(
    server: FakeServer, pseudo: tuple[int, int], number: int, arguments: tuple[str, ...]
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    began = {"id": "carboy.trace", "aux": {"Kind": "started", "Vertex": 0, "Time": 0.1}}
    for route, first in (("GET /containers/c1/stats", {"name": "/c1"}), ("POST /build", began)):
        line = json.dumps(first).encode() + b"\n"
        server.replies[route] = head + b"%x\r\n%s\r\n" % (len(line), line)
    server.json("POST /build/begin", {"Id": "b1"})
    ours, theirs = pseudo
    termios.tcsetwinsize(theirs, (24, 80))
    with command(server, *arguments, stdin=subprocess.PIPE, stdout=theirs, stderr=theirs) as process:
        assert process.stdin is not None
        process.stdin.write(b"FROM scratch\n")
        process.stdin.close()
        assert b"\x1b[?25h" not in read_until(ours, b"\x1b[?25l")
        process.send_signal(number)
        seen = read_until(ours, b"\x1b[?25h")
        assert process.wait(40) == (0 if (number, arguments[0]) == (signal.SIGINT, "stats") else 128 + number)
    assert b"\x1b[?25l" not in seen.rpartition(b"\x1b[?25h")[2]


def test_a_terminal_that_hung_up_is_no_error(server: FakeServer) -> None:
    server.json("POST /containers/c1/exec", {"Id": "e1"}, 201)
    server.hijack("POST /exec/e1/start", b"up\n", held=True)
    ours, theirs = pty.openpty()
    with command(
        server,
        *("exec", "-it", "c1", "sh"),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:
        os.close(theirs)
        read_until(ours, b"up")
        os.close(ours)
        assert process.wait(40) == 128 + signal.SIGHUP
        assert process.stderr is not None
        assert process.stderr.read() == b""
