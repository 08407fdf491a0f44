"""The commands stats, top, update, df and the prunes, against a daemon that comes by itself."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios

import pytest

from support.commands import COMMAND, Home, home, until
from support.daemon import IMAGE

__all__ = ["home"]
pytestmark = [pytest.mark.needs_root]


def test_stats_once_and_as_json(home: Home) -> None:
    container = home.detached(IMAGE, "sleep", "100", name="busy")
    lines = home.text("stats", "--no-stream").splitlines()
    assert lines[0].split("  ")[0] == "CONTAINER ID"
    assert lines[1].split()[:2] == [container[:12], "busy"]
    row = json.loads(home.text("stats", "--no-stream", "--no-trunc", "--format", "json", "busy"))
    assert (row["ID"], row["Name"], row["PIDs"]) == (container, "busy", "1")
    assert home.text("stats", "--no-stream", "--format", "{{.Name}}", "busy") == "busy"
    assert b"No such container: none" in home.run("stats", "--no-stream", "none", code=1).stderr
    home.text("rm", "-f", "busy")


def test_stats_is_redrawn_on_a_terminal_and_fits_it(home: Home) -> None:
    for number in range(4):
        home.detached(IMAGE, "sleep", "100", name=f"row{number}")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 4, 60, 0, 0))
    watching = subprocess.Popen(
        [*COMMAND, "stats"],
        env={**home.environment, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while seen.count(b"\x1b[H") < 2:
        seen += os.read(ours, 65536)
    watching.send_signal(signal.SIGINT)
    while b"\x1b[?25h" not in seen:
        seen += os.read(ours, 65536)
    assert watching.wait(40) == 0
    os.close(ours)
    assert b"... and 2 more" in seen
    first = seen.split(b"\x1b[J")[1]
    assert first.count(b"\r\n") == 3
    assert b"\x1b[1mCONTAINER ID" in first
    home.text("rm", "-f", *(f"row{number}" for number in range(4)))


def test_containers_that_come_and_go_are_followed(home: Home) -> None:
    watching = home.start("stats", "--format", "{{.Name}}")
    home.detached(IMAGE, "sleep", "100", name="later")
    assert watching.stdout is not None
    assert watching.stdout.readline() == b"later\n"
    home.text("rm", "-f", "later")
    watching.send_signal(signal.SIGINT)
    assert watching.wait(40) == 0
    watching.communicate()


def test_top_and_update(home: Home) -> None:
    home.detached(IMAGE, "sleep", "100", name="subject")
    lines = home.text("top", "subject", "-o", "pid,args").splitlines()
    assert lines[0].split() == ["PID", "COMMAND"]
    assert lines[1].endswith("sleep 100")
    assert (
        home.text("update", "-m", "64m", "--memory-swap", "-1", "--restart", "always", "subject") == "subject"
    )
    shown = home.inspect("subject", "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}")
    assert shown == f"{64 << 20} -1"
    assert b"Minimum memory limit" in home.run("update", "-m", "1m", "subject", code=1).stderr
    home.text("rm", "-f", "subject")


def test_prunes_ask_first(home: Home) -> None:
    home.text("run", "--name", "ended", "--network", "none", IMAGE, "sh", "-c", "echo 12345678 > /x")
    refused = home.text("container", "prune", stdin=b"n\n")
    assert refused.startswith("WARNING! This will remove all stopped containers.\nAre you sure")
    assert home.text("ps", "-aq") != ""
    assert home.text("system", "prune", stdin=b"").endswith("[y/N]")
    done = home.text("container", "prune", stdin=b"y\n")
    assert "Deleted Containers:\n" in done
    assert done.endswith("Total reclaimed space: 9B")
    until(lambda: home.text("ps", "-aq") == "")


def test_a_system_prune(home: Home) -> None:
    home.text("tag", IMAGE, "other:test")
    home.text("create", "--network", "none", "--name", "unused", "-v", "/anonymous", IMAGE, "true")
    kept = home.detached(IMAGE, "sleep", "100", name="kept")
    done = home.text("system", "prune", "-f", "--volumes")
    assert "Deleted Containers:\n" in done
    assert "Deleted Volumes:\n" in done
    assert "Total reclaimed space: " in done
    assert home.text("ps", "-aq", "--no-trunc") == kept
    lines = home.text("system", "df").splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "TYPE",
        "Images",
        "Containers",
        "Local Volumes",
        "Build Cache",
    ]
    verbose = home.text("system", "df", "-v")
    assert "Images space usage:" in verbose
    assert "kept" in verbose
    home.text("rm", "-f", "kept")
