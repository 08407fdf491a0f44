"""Docker's own command line drives a real daemon: Debian's, and another one where the machine has it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clients.commands import COMMANDS
from support.daemon import busybox_tar

IMAGE = "compat/cli:1"

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_docker, pytest.mark.timeout(60)]


class Docker:
    """One docker command and one daemon."""

    def __init__(self, command: str, host: str) -> None:
        self.command = command
        self.environment = {**os.environ, "DOCKER_HOST": host, "DOCKER_CLI_HINTS": "false"}

    def run(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.command, *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=self.environment,
            timeout=40,
            check=False,
        )

    def out(self, *arguments: str, stdin: bytes | None = None) -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.decode().strip()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self.command, *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


@pytest.fixture(scope="module", params=COMMANDS or [""])
def docker(request: pytest.FixtureRequest, host: str) -> Docker:
    if not request.param:
        pytest.skip("needs Debian's docker command")
    docker = Docker(request.param, host)
    docker.out("import", "--change", 'CMD ["sh"]', "-", IMAGE, stdin=busybox_tar())
    return docker


@pytest.fixture(autouse=True)
def cleaned(docker: Docker) -> Iterator[None]:
    yield
    found = docker.out("ps", "-aq").split()
    if found:
        docker.out("rm", "-f", "-v", *found)


def test_version_and_info(docker: Docker) -> None:
    assert docker.out("version", "--format", "{{.Server.APIVersion}}")
    assert docker.out("info", "--format", "{{.OSType}}") == "linux"


def test_run(docker: Docker) -> None:
    assert docker.out("run", "--rm", IMAGE, "echo", "hello") == "hello"
    done = docker.run("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, b"out\n", b"err\n")
    assert docker.out("ps", "-aq") == ""


def test_run_with_input(docker: Docker) -> None:
    data = bytes(range(256)) * 4096
    done = docker.run("run", "--rm", "-i", IMAGE, "cat", stdin=data)
    assert (done.returncode, done.stdout) == (0, data)


def test_exit_codes_of_failures(docker: Docker) -> None:
    assert docker.run("run", "--rm", IMAGE, "no-such-program").returncode == 127
    assert docker.run("run", "--rm", IMAGE, "/etc").returncode == 126
    assert docker.run("run", "--rm", "--pull", "never", "no/such:image").returncode == 125


def test_run_in_a_terminal(docker: Docker) -> None:
    process, terminal = pty.fork()
    if process == 0:
        os.execve(docker.command, ["docker", "run", "--rm", "-it", IMAGE, "sh"], docker.environment)
    try:
        os.write(terminal, b"echo $((40 + 2))-answer; exit 9\n")
        data = b""
        end = time.monotonic() + 40
        while b"42-answer" not in data and time.monotonic() < end:
            if select.select([terminal], [], [], 1)[0]:
                data += os.read(terminal, 4096)
        assert b"42-answer" in data
        _, status = os.waitpid(process, 0)
        assert os.waitstatus_to_exitcode(status) == 9
    finally:
        os.close(terminal)


def test_signals_are_passed_on(docker: Docker) -> None:
    script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    process = docker.start("run", "--rm", IMAGE, "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=40)
    assert (process.returncode, out) == (3, b"got it\n")


def test_the_life_of_a_container(docker: Docker) -> None:
    container_id = docker.out("run", "-d", "--name", "life", "--label", "a=b", IMAGE, "sleep", "100")
    assert docker.out("ps", "-q", "--no-trunc", "--filter", "label=a=b") == container_id
    assert docker.out("ps", "--format", "{{.Names}} {{.Image}} {{.Status}}").startswith(f"life {IMAGE} Up ")
    docker.out("pause", "life")
    assert docker.out("inspect", "-f", "{{.State.Status}}", "life") == "paused"
    docker.out("unpause", "life")
    docker.out("rename", "life", "other")
    docker.out("restart", "-t", "0", "other")
    docker.out("kill", "other")
    assert docker.out("wait", "other") == "137"
    assert docker.run("rm", "life").returncode == 1
    docker.out("start", "other")
    docker.out("stop", "-t", "0", "other")
    document = json.loads(docker.out("inspect", "other"))[0]
    assert document["State"]["Status"] == "exited"
    assert document["Name"] == "/other"
    docker.out("rm", "other")
    assert "No such container" in docker.run("start", "other").stderr.decode()


def test_logs(docker: Docker) -> None:
    docker.out("run", "--name", "talk", IMAGE, "sh", "-c", "echo one; echo two >&2")
    done = docker.run("logs", "talk")
    assert (done.stdout, done.stderr) == (b"one\n", b"two\n")
    assert docker.out("logs", "-n", "1", "-t", "talk").count("\n") == 0
    docker.out(
        "run", "-d", "--name", "slow", IMAGE, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"
    )
    assert docker.out("logs", "-f", "slow") == "1\n2\n3"


def test_exec(docker: Docker) -> None:
    docker.out("run", "-d", "--name", "host", IMAGE, "sleep", "100")
    assert docker.out("exec", "host", "echo", "inside") == "inside"
    assert docker.run("exec", "host", "sh", "-c", "exit 6").returncode == 6
    assert docker.out("exec", "-i", "host", "cat", stdin=b"piped") == "piped"
    assert (
        docker.out("exec", "-e", "X=y", "-w", "/tmp", "-u", "7", "host", "sh", "-c", "echo $X; pwd; id -u")
        == "y\n/tmp\n7"
    )
    docker.out("exec", "-d", "host", "touch", "/made")
    assert docker.run("exec", "host", "no-such-program").returncode in (126, 127)


def test_attach(docker: Docker) -> None:
    docker.out("create", "-i", "--name", "echo", IMAGE, "cat")
    process = docker.start("start", "-a", "-i", "echo")
    out, _ = process.communicate(b"and back\n", timeout=40)
    assert (process.returncode, out) == (0, b"and back\n")
    docker.out("run", "-d", "-i", "--name", "later", IMAGE, "cat")
    process = docker.start("attach", "later")
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"attached\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"attached\n"
    finally:
        process.kill()
        process.communicate()


def test_images(docker: Docker, tmp_path: Path) -> None:
    assert IMAGE in docker.out("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    docker.out("tag", IMAGE, "compat/second:2")
    assert "sh" in docker.out("inspect", "-f", "{{.Config.Cmd}}", "compat/second:2")
    assert docker.out("history", "-q", "compat/second:2")
    archive = str(tmp_path / "image.tar")
    docker.out("save", "-o", archive, "compat/second:2")
    docker.out("rmi", "compat/second:2")
    assert "Loaded image: compat/second:2" in docker.out("load", "-i", archive)
    docker.out("rmi", "compat/second:2")
    assert docker.run("rmi", "compat/second:2").returncode == 1


def test_commit(docker: Docker) -> None:
    docker.out("run", "--name", "work", IMAGE, "sh", "-c", "echo result > /result")
    docker.out("commit", "-m", "message", "-c", 'CMD ["cat", "/result"]', "work", "compat/result:1")
    assert docker.out("run", "--rm", "compat/result:1") == "result"
    docker.out("rmi", "compat/result:1")


def test_volumes_and_networks(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("host")
    assert docker.out("run", "--rm", "-v", f"{tmp_path}:/m:ro", IMAGE, "cat", "/m/f") == "host"
    docker.out("volume", "create", "vol")
    docker.out("run", "--rm", "-v", "vol:/v", IMAGE, "touch", "/v/x")
    assert docker.out("run", "--rm", "--mount", "type=volume,src=vol,dst=/v", IMAGE, "ls", "/v") == "x"
    assert "vol" in docker.out("volume", "ls", "-q").split()
    docker.out("volume", "rm", "vol")
    assert {"bridge", "host", "none"} <= set(docker.out("network", "ls", "--format", "{{.Name}}").split())
    assert docker.out("network", "inspect", "-f", "{{.Driver}}", "bridge") == "bridge"


def test_events(docker: Docker) -> None:
    began = str(int(time.time()) - 1)
    docker.out("run", "--rm", "--name", "noted", IMAGE, "true")
    until = str(int(time.time()) + 1)
    shown = docker.out(
        "events", "--since", began, "--until", until, "--filter", "container=noted", "--format", "{{.Action}}"
    )
    assert [one for one in shown.split() if one in ("create", "start", "die", "destroy")] == [
        "create",
        "start",
        "die",
        "destroy",
    ]


def test_disk_usage(docker: Docker) -> None:
    assert "Images" in docker.out("system", "df")
