"""Debian's Podman drives carboy-runtime: run, exec, stop, remove."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.runtime import cgroups
from support.daemon import busybox_tar
from support.ocicommand import write_script

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_podman, pytest.mark.timeout(90)]
PARENT = f"/carboy-podman-{os.getpid()}"


class Podman:
    """Podman with a home of its own."""

    def __init__(self, home: Path) -> None:
        script = write_script(home / "carboy-runtime", "--root", str(home / "state"))
        self.state = home / "state"
        self._command = [
            *("podman", "--root", str(home / "root"), "--runroot", str(home / "run")),
            *("--tmpdir", str(home / "tmp"), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"),
            *("--events-backend", "none", "--runtime", str(script)),
        ]

    def call(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """One command."""
        done = subprocess.run(
            [*self._command, *arguments], input=stdin, capture_output=True, timeout=60, check=False
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace")
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`podman run --network none …`."""
        return self.call("run", "--network", "none", "--cgroup-parent", PARENT, *arguments)


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    if os.getuid() != 0 or not shutil.which("podman"):
        pytest.skip("needs root and podman")
    made = Podman(tmp_path_factory.mktemp("podman"))
    imported = made.call("import", "-", "bb", stdin=io.BytesIO(busybox_tar()).getvalue())
    assert imported.returncode == 0, imported.stderr
    yield made
    made.call("rm", "--all", "--force", "--time", "0")
    for hierarchy in cgroups.read_layout().hierarchies:
        for path in sorted(Path(hierarchy.mount_point + PARENT).rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
        if os.path.isdir(hierarchy.mount_point + PARENT):
            os.rmdir(hierarchy.mount_point + PARENT)
    assert list(made.state.glob("[!.]*")) == []


def test_run_gives_output_and_exit_code(podman: Podman) -> None:
    done = podman.run("--rm", "bb", "sh", "-c", "echo out; echo err >&2; id -u; exit 7")
    assert (done.returncode, done.stdout) == (7, "out\n0\n"), done.stderr
    assert "err\n" in done.stderr


@pytest.mark.parametrize(("program", "code"), [("nope", 127), ("/etc/passwd", 126)])
def test_run_tells_a_missing_program_from_one_that_cannot_be_executed(
    podman: Podman, program: str, code: int
) -> None:
    assert podman.run("--rm", "bb", program).returncode == code


def test_a_container_lives_takes_execs_stops_and_is_removed(podman: Podman) -> None:
    started = podman.run(
        "-d", "--name", "one", "--init=false", "bb", "sh", "-c", "trap 'exit 3' TERM; sleep 100 & wait"
    )
    assert started.returncode == 0, started.stderr
    assert podman.call("exec", "one", "sh", "-c", "echo inside; exit 4").stdout == "inside\n"
    assert podman.call("exec", "--user", "1000", "one", "id", "-u").stdout == "1000\n"
    assert podman.call("exec", "one", "nope").returncode == 127
    assert podman.call("exec", "-t", "one", "tty").stdout.strip() == "/dev/pts/0"
    assert podman.call("pause", "one").returncode == 0
    assert podman.call("unpause", "one").returncode == 0
    stopped = podman.call("stop", "--time", "5", "one")
    assert stopped.returncode == 0, stopped.stderr
    assert podman.call("inspect", "--format", "{{.State.ExitCode}}", "one").stdout == "3\n"
    removed = podman.call("rm", "one")
    assert removed.returncode == 0, removed.stderr


def test_run_with_limits_user_and_volume(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("shared\n")
    tmp_path.chmod(0o755)
    done = podman.run(
        *("--rm", "--user", "1000:1000", "--volume", f"{tmp_path}:/data:ro", "--pids-limit", "30"),
        *("--memory", "64m", "bb", "sh", "-c", "cat /data/file; id -u; echo $HOME > /dev/null"),
    )
    assert done.stdout == "shared\n1000\n", done.stderr
