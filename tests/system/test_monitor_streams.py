"""Attached clients: several at once, slow ones, half-closed ones, terminals, detach keys."""

from __future__ import annotations

import socket

import pytest

from support.daemon import Daemon, daemon
from support.hijack import attach, open_hijacked, read_all, read_until, run_exec, streams

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["daemon"]

NONE = {"NetworkMode": "none"}


def test_several_clients_see_the_same_and_one_types(daemon: Daemon) -> None:
    container = daemon.create("cat", OpenStdin=True, host=NONE)
    daemon.post(f"/containers/{container}/start")
    first, second = attach(daemon, container), attach(daemon, container)
    errors_only = attach(daemon, container, "stderr=1")
    first.sendall(b"a\n")
    for client in (first, second):
        assert streams(read_until(client, b"a\n")) == {1: b"a\n"}
    second.sendall(b"b\n")
    first.shutdown(socket.SHUT_WR)  # not StdinOnce: the program's input stays open
    assert streams(read_until(first, b"b\n")) == {1: b"b\n"}
    daemon.post(f"/containers/{container}/kill")
    assert streams(read_all(second)) == {1: b"b\n"}
    assert (read_all(first), read_all(errors_only)) == (b"", b"")
    for client in (first, second, errors_only):
        client.close()
    assert daemon.output(container) == b"a\nb\n"
    daemon.remove_all()


def test_a_half_closed_client_ends_the_input_and_gets_the_rest(daemon: Daemon) -> None:
    container = daemon.create("sh", "-c", "wc -c; echo last", OpenStdin=True, StdinOnce=True, host=NONE)
    with attach(daemon, container) as client:
        daemon.post(f"/containers/{container}/start")
        client.sendall(b"x" * 500_000)
        client.shutdown(socket.SHUT_WR)
        assert streams(read_all(client)) == {1: b"500000\nlast\n"}
    assert daemon.wait(container) == 0
    daemon.remove_all()


def test_a_client_that_goes_ends_the_input(daemon: Daemon) -> None:
    container = daemon.create("sh", "-c", "cat; exit 6", OpenStdin=True, StdinOnce=True, host=NONE)
    client = attach(daemon, container)
    daemon.post(f"/containers/{container}/start")
    client.close()
    assert daemon.wait(container) == 6
    daemon.remove_all()


def test_a_slow_client_gets_every_byte_and_so_does_the_log(daemon: Daemon) -> None:
    script = "head -c 6000000 /dev/zero | tr '\\0' x; echo; echo done"
    container = daemon.create("sh", "-c", script, host=NONE)
    client = attach(daemon, container, "stdout=1")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    daemon.post(f"/containers/{container}/start")
    assert run_exec(daemon, container, "echo", "beside")[1] == b"beside\n", "it blocks nobody else"
    assert streams(read_all(client)) == {1: b"x" * 6000000 + b"\ndone\n"}
    client.close()
    assert daemon.wait(container) == 0
    assert len(daemon.output(container)) == 6000006
    daemon.remove_all()


def test_a_terminal_is_resized_and_left_with_detach_keys(daemon: Daemon) -> None:
    script = "trap 'stty size' WINCH; stty size; while :; do read x; echo got $x; done"
    host = {**NONE, "ConsoleSize": [20, 70]}
    container = daemon.create("sh", "-c", script, Tty=True, OpenStdin=True, host=host)
    client = attach(daemon, container, "stdin=1&stdout=1&detachKeys=ctrl-a,d")
    daemon.post(f"/containers/{container}/start")
    read_until(client, b"20 70")
    daemon.post(f"/containers/{container}/resize?h=33&w=99")
    client.sendall(b"w\r")  # the shell runs its trap when the read returns
    read_until(client, b"33 99")
    client.sendall(b"\x01x\r")
    read_until(client, b"got \x01x")
    client.sendall(b"\x01d")
    read_all(client)
    client.close()
    assert daemon.get(f"/containers/{container}/json")["State"]["Running"]
    with attach(daemon, container) as again:
        again.sendall(b"back\r")
        read_until(again, b"got back")
    daemon.remove_all()


def test_an_exec_with_a_terminal(daemon: Daemon) -> None:
    container = daemon.create("sleep", "100", host=NONE)
    daemon.post(f"/containers/{container}/start")
    body = {
        "Cmd": ["sh", "-c", "tty; stty size; read x; stty size; exit 5"],
        "AttachStdin": True,
        "AttachStdout": True,
        "Tty": True,
        "ConsoleSize": [11, 22],
    }
    exec_id = daemon.post(f"/containers/{container}/exec", body)["Id"]
    client = open_hijacked(
        daemon, f"/exec/{exec_id}/start", {"Detach": False, "Tty": True, "ConsoleSize": [11, 22]}
    )
    assert b"/dev/pts/" in read_until(client, b"11 22")
    daemon.post(f"/exec/{exec_id}/resize?h=44&w=55")
    client.sendall(b"\r")
    assert b"44 55" in read_all(client)
    client.close()
    assert daemon.get(f"/exec/{exec_id}/json")["ExitCode"] == 5
    daemon.remove_all()


def test_input_of_an_exec_and_a_detached_one(daemon: Daemon) -> None:
    container = daemon.create("sleep", "100", host=NONE)
    daemon.post(f"/containers/{container}/start")
    body = {
        "Cmd": ["sh", "-c", "cat; echo err >&2"],
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
    }
    exec_id = daemon.post(f"/containers/{container}/exec", body)["Id"]
    with open_hijacked(daemon, f"/exec/{exec_id}/start", {"Detach": False}) as client:
        client.sendall(b"typed")
        client.shutdown(socket.SHUT_WR)
        assert streams(read_all(client)) == {1: b"typed", 2: b"err\n"}
    exec_id = daemon.post(f"/containers/{container}/exec", {"Cmd": ["touch", "/made"]})["Id"]
    daemon.post(f"/exec/{exec_id}/start", {"Detach": True})
    assert run_exec(daemon, container, "sh", "-c", "while [ ! -e /made ]; do usleep 1000; done")[0] == 0
    assert daemon.output(container) == b"", "an exec's output is not the container's log"
    daemon.remove_all()
