"""A real daemon for real clients, with an image made from the machine's own busybox."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def start_carboy(home: str) -> tuple[subprocess.Popen[bytes], str]:
    """The daemon, ready, and its host."""
    ready, tell = os.pipe()
    host = f"unix://{home}/run/carboy.sock"
    os.mkdir(f"{home}/run")
    command = [
        sys.executable,
        "-m",
        "carboy.daemon",
        "--root",
        f"{home}/root",
        "--run",
        f"{home}/run",
        "--host",
        host,
    ]
    with open(f"{home}/log", "wb") as log:
        process = subprocess.Popen(
            [*command, "--ready-fd", str(tell)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
            pass_fds=[tell],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    os.close(tell)
    with open(ready, "rb") as pipe:
        assert pipe.read() == b"ready\n", Path(f"{home}/log").read_text()
    return process, host


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """The host of a daemon of our own; CARBOY_COMPAT_HOST names another engine, to judge the tests by."""
    other = os.environ.get("CARBOY_COMPAT_HOST")
    if other:
        yield other
        return
    if os.getuid() != 0 or not shutil.which("busybox"):
        pytest.skip("needs root and busybox-static")
    if importlib.util.find_spec("carboy.daemon") is None:
        pytest.skip("carboy.daemon is not there yet")
    home = tempfile.mkdtemp(prefix="compat-")
    process, host = start_carboy(home)
    try:
        yield host
    finally:
        if process.poll() is None:
            subprocess.run(
                [
                    "curl",
                    "-s",
                    "-X",
                    "POST",
                    "--unix-socket",
                    host.removeprefix("unix://"),
                    "http://x/carboy/system/reset",
                ],
                check=False,
                timeout=60,
            )
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        print(Path(f"{home}/log").read_text())
        shutil.rmtree(home, ignore_errors=True)
