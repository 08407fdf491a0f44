"""`carboy` commands in a home of their own; the daemon comes by itself, and everything goes at the end.

from support.commands import Home, home      # `home` is a fixture
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.daemon import IMAGE, REPOSITORY, busybox_tar
from support.leftovers import leftovers

COMMAND = [sys.executable, str(REPOSITORY / "bin" / "carboy")]


class Home:
    """A root and a run directory, and the commands that use them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.root = f"{path}/root"
        self.run_directory = f"{path}/run"
        outer = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CARBOY_HOST", "DOCKER_HOST", "DOCKER_CONTEXT")
        }
        self.environment = {
            **outer,
            "PYTHONPATH": str(REPOSITORY / "src"),
            "CARBOY_ROOT": self.root,
            "CARBOY_RUN": self.run_directory,
            "DOCKER_CONFIG": f"{path}/settings",  # not those of whoever runs the tests
        }

    def run(
        self, *arguments: str, stdin: bytes = b"", code: int | None = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """One command to its end; `code` None takes any exit code."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment,
            timeout=50,
            check=False,
        )
        assert code in (None, done.returncode), (arguments, done)
        return done

    def text(self, *arguments: str, stdin: bytes = b"") -> str:
        """What a command prints."""
        return self.run(*arguments, stdin=stdin).stdout.decode().strip()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that goes on."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def detached(self, *arguments: str, name: str = "", network: str = "none") -> str:
        """Start a container of busybox; gives its id."""
        names = ["--name", name] if name else []
        return self.text("run", "-d", "--network", network, *names, *arguments)

    def inspect(self, container: str, template: str) -> str:
        """A part of `inspect`."""
        return self.text("inspect", "-f", template, container)

    @property
    def daemon(self) -> int:
        """The process id of the daemon, 0 when none runs."""
        try:
            pid = int(Path(f"{self.root}/daemon.lock").read_text())
            return pid if "carboy daemon" in title(pid) else 0
        except (OSError, ValueError):
            return 0

    @property
    def spawner(self) -> int:
        """The process id of the daemon's spawner."""
        children = Path(f"/proc/{self.daemon}/task/{self.daemon}/children").read_text().split()
        return next(int(pid) for pid in children if "spawner" in title(int(pid)))

    def monitor(self, container: str) -> int:
        """The process id of a container's monitor."""
        pid = self.inspect(container, "{{.State.Pid}}")
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert title(parent) == f"carboy monitor {container[:12]}"
        return parent

    def kill_daemon(self, *, spawner: bool = True) -> None:
        """SIGKILL, and wait until it is gone."""
        victims = [self.daemon, *([self.spawner] if spawner else [])]
        kill_and_wait(*victims)


def title(pid: int) -> str:
    """What `ps` shows of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")


def kill_and_wait(*pids: int, number: int = signal.SIGKILL) -> None:
    """Signal processes that need not be our children, and wait until they have ended."""
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        for fd in descriptors:
            signal.pidfd_send_signal(fd, number)
        for fd in descriptors:
            wait_ended(fd)
    finally:
        for fd in descriptors:
            os.close(fd)


def until(condition: Callable[[], bool], seconds: float = 40) -> None:
    """Wait for what no event tells of."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.02)


def wait_ended(pidfd: int, seconds: float = 40) -> None:
    """Until the process of `pidfd` has ended."""
    ready, _, _ = select.select([pidfd], [], [], seconds)
    assert ready, "a process did not end in time"


def _make() -> Iterator[Home]:
    if os.getuid() != 0 or not shutil.which("busybox"):
        pytest.skip("needs root and busybox-static")
    path = tempfile.mkdtemp(prefix="carboy-home-")
    made = Home(path)
    try:
        made.run("import", "-", IMAGE, stdin=busybox_tar())
        yield made
        made.run("ps")
        daemon = os.pidfd_open(made.daemon)
        made.run("system", "reset", "--force")
        wait_ended(daemon)
        os.close(daemon)
        left = leftovers(path, made.root)
        assert not left, f"left on the machine: {left}"
        assert not os.path.exists(made.root)
        assert not os.path.exists(made.run_directory), os.listdir(made.run_directory)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A home with the image `busybox:test`, shared by the tests of one module."""
    yield from _make()
