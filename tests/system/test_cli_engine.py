"""The command line against a real daemon: Carboy's own, started on demand, and Docker's.

The same tests for both: `carboy` speaks the Docker Engine API and nothing else.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
]
REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, str(REPOSITORY / "bin" / "carboy")]
IMAGE = "cli/tiny:1"


class Engine:
    """A daemon, and `carboy` commands that speak to it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / "src"),
            "DOCKER_CONFIG": "/nonexistent",
            **environment,
        }

    def run(
        self, *arguments: str, stdin: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment,
            timeout=50,
            check=False,
        )
        assert not check or done.returncode == 0, (arguments, done)
        return done

    def text(self, *arguments: str, stdin: bytes = b"") -> str:
        return self.run(*arguments, stdin=stdin).stdout.decode().strip()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def tiny_root() -> bytes:
    """A root filesystem of busybox alone."""
    busybox = Path(shutil.which("busybox") or "").read_bytes()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "tmp", "etc", "root", "dev", "proc", "sys"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        info = tarfile.TarInfo("bin/busybox")
        info.mode, info.size = 0o755, len(busybox)
        tar.addfile(info, io.BytesIO(busybox))
        for applet in ("sh", "cat", "echo", "true", "sleep", "stty", "env", "head", "id", "pwd"):
            info = tarfile.TarInfo(f"bin/{applet}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
    return out.getvalue()


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a daemon that has no readiness of its own listens."""
    deadline = time.monotonic() + 40
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def carboy(home: Path) -> Iterator[Engine]:
    engine = Engine({"CARBOY_ROOT": str(home / "root"), "CARBOY_RUN": str(home / "run")})
    for name in ("CARBOY_HOST", "DOCKER_HOST"):
        engine.environment.pop(name, None)
    yield engine
    engine.run("system", "reset", "--force")


def dockerd(home: Path) -> Iterator[Engine]:
    if not shutil.which("dockerd"):
        pytest.skip("needs dockerd")
    process = subprocess.Popen(
        # In a network namespace of its own: with `--bridge none` dockerd removes the machine's docker0.
        ["unshare", "--net", "dockerd", "--data-root", f"{home}/data", "--exec-root", f"{home}/exec", "-H", f"unix://{home}/s",
         "--pidfile", f"{home}/pid", "--bridge", "none", "--iptables=false"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(home / "s", process)
        yield Engine({"CARBOY_HOST": f"unix://{home}/s"})
    finally:
        process.terminate()
        process.wait(40)


@pytest.fixture(scope="module", params=["carboy", pytest.param("dockerd", marks=pytest.mark.needs_dockerd)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    home = Path(tempfile.mkdtemp(prefix="cli-"))
    try:
        for engine in {"carboy": carboy, "dockerd": dockerd}[request.param](home):
            engine.run("import", "-", IMAGE, stdin=tiny_root())
            yield engine
            names = engine.text("ps", "-aq").split()
            if names:
                engine.run("rm", "-f", *names)
    finally:
        shutil.rmtree(home, ignore_errors=True)


RUN = ("run", "--rm", "--network", "none")


def test_output_error_and_exit_code_are_the_programs(engine: Engine) -> None:
    done = engine.run(*RUN, IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)
    assert engine.text("ps", "-aq") == ""


def test_input_goes_through_and_ends(engine: Engine) -> None:
    data = os.urandom(3 << 20)
    assert engine.run(*RUN, "-i", IMAGE, "cat", stdin=data).stdout == data


def test_what_cannot_start_has_dockers_exit_codes(engine: Engine) -> None:
    for code, arguments in ((127, (IMAGE, "nosuch")), (126, (IMAGE, "/etc")), (125, ("nosuch:1", "true"))):
        done = engine.run(*RUN, *arguments, check=False)
        assert done.returncode == code, done
        assert done.stderr.startswith(b"carboy: ")
        assert done.stderr.count(b"\n") == 1
    assert engine.text("ps", "-aq") == ""


def test_flags_reach_the_container(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("bound")
    (tmp_path / "env").write_text("FROM_FILE=1\n")
    script = "echo $A $FROM_FILE $(cat /mnt/f) $(pwd) $(cat /etc/hostname)"
    options = ["-e", "A=x", "--env-file", f"{tmp_path}/env", "-v", f"{tmp_path}:/mnt:ro", "-w", "/tmp"]
    options += ["--hostname", "box", "--cidfile", f"{tmp_path}/cid"]
    assert engine.text(*RUN, *options, IMAGE, "sh", "-c", script) == "x 1 bound /tmp box"
    assert engine.text(*RUN, "-u", "5", IMAGE, "id", "-u") == "5"
    assert len((tmp_path / "cid").read_text()) == 64


def test_a_detached_containers_life(engine: Engine) -> None:
    script = "echo started; exec sleep 1000"
    container = engine.text("run", "-d", "--name", "life", "--network", "none", IMAGE, "sh", "-c", script)
    try:
        assert engine.text("ps", "-q", "--no-trunc") == container
        assert engine.text("exec", "life", "echo", "hi") == "hi"
        assert engine.run("exec", "life", "sh", "-c", "exit 9", check=False).returncode == 9
        assert engine.run("exec", "-i", "life", "cat", stdin=b"abc").stdout == b"abc"
        assert engine.text("logs", "life") == "started"
        engine.run("pause", "life")
        assert engine.text("inspect", "-f", "{{.State.Status}}", "life") == "paused"
        engine.run("unpause", "life")
        engine.run("rename", "life", "life2")
        engine.run("stop", "-t", "0", "life2")
        assert engine.text("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "life2") == "exited 137"
        engine.run("start", "life2")
        engine.run("kill", "life2")
        assert engine.text("wait", "life2") == "137"
        assert json.loads(engine.text("inspect", "life2"))[0]["Id"] == container
    finally:
        engine.run("rm", "-f", container)


def test_signals_are_passed_on(engine: Engine) -> None:
    script = "trap 'echo got; exit 3' TERM; echo ready; while true; do sleep 0.1; done"
    process = engine.start(*RUN, IMAGE, "sh", "-c", script)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=40)[0] == b"got\n"
    assert process.returncode == 3


def test_images_travel(engine: Engine, tmp_path: Path) -> None:
    engine.run("tag", IMAGE, "cli/other:2")
    engine.run("save", "-o", f"{tmp_path}/s.tar", "cli/other:2")
    engine.run("rmi", "cli/other:2")
    assert engine.text("load", "-i", f"{tmp_path}/s.tar") == "Loaded image: cli/other:2"
    with open(tmp_path / "s.tar", "rb") as file:
        assert engine.text("load", stdin=file.read()) == "Loaded image: cli/other:2"
    assert engine.text(*RUN, "cli/other:2", "echo", "works") == "works"
    assert "cli/other" in engine.text("images", "--format", "{{.Repository}}")
    engine.run("rmi", "cli/other:2")
    assert sorted(os.listdir(tmp_path)) == ["s.tar"]


def test_a_commit_keeps_changes(engine: Engine) -> None:
    engine.run("run", "--name", "work", "--network", "none", IMAGE, "sh", "-c", "echo kept > /root/f")
    engine.run("commit", "-m", "m", "-c", "ENV X=1", "work", "cli/committed:1")
    assert engine.text(*RUN, "cli/committed:1", "sh", "-c", "cat /root/f; echo $X") == "kept\n1"
    engine.run("rm", "work")
    engine.run("rmi", "cli/committed:1")


class Terminal:
    """A command on a pseudo terminal."""

    def __init__(self, engine: Engine, *arguments: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(COMMAND[0], [*COMMAND, *arguments], engine.environment)
        self.resize(33, 77)
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, text: bytes) -> None:
        """Read until a text appears; what came before it is forgotten."""
        while text not in self.seen:
            assert select.select([self.fd], [], [], 20)[0], (text, self.seen)
            self.seen += os.read(self.fd, 4096)
        self.seen = self.seen.partition(text)[2]

    def type(self, data: bytes) -> None:
        os.write(self.fd, data)

    def finish(self) -> int:
        while True:
            try:
                if not os.read(self.fd, 4096):
                    break
            except OSError:
                break
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_terminal_has_size_resize_and_detach_keys(engine: Engine) -> None:
    terminal = Terminal(engine, "run", "-it", "--name", "tty", "--network", "none", IMAGE, "sh")
    terminal.expect(b"# ")
    terminal.resize(20, 50)
    script = b'until [ "$(stty size)" = "20 50" ]; do sleep 0.05; done; echo re""sized\n'
    terminal.type(script)
    terminal.expect(b"resized")
    terminal.type(b"\x10\x11")
    assert terminal.finish() == 0
    assert engine.text("inspect", "-f", "{{.State.Running}}", "tty") == "true"
    terminal = Terminal(engine, "attach", "tty")
    terminal.type(b'echo a""gain\n')
    terminal.expect(b"again")
    terminal.type(b"exit 6\n")
    assert terminal.finish() == 6
    engine.run("rm", "tty")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_three_interrupts_leave_a_container_that_is_deaf_to_them(engine: Engine) -> None:
    terminal = Terminal(
        engine, "run", "--name", "deaf", "--network", "none", IMAGE, "sh", "-c", "echo ready; exec sleep 60"
    )
    terminal.expect(b"ready")
    for _ in range(3):  # each must have been taken: equal signals that are pending count once
        terminal.type(b"\x03")
        terminal.expect(b"^C")
        while b"left the container" not in terminal.seen and select.select([terminal.fd], [], [], 0.3)[0]:
            terminal.seen += os.read(terminal.fd, 4096)
    assert b"left the container" in terminal.seen
    assert terminal.finish() == 130
    assert engine.text("inspect", "-f", "{{.State.Running}}", "deaf") == "true"
    engine.run("rm", "-f", "deaf")
