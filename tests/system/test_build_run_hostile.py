"""RUN under bad conditions: hostile programs, full disks, daemons that die; what is kept out of layers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from carboy.build.executor import MountedTree, StepFailed
from carboy.build.graph import RunDevice
from carboy.build.progress import Cancellation
from carboy.build.trees import LocalTree
from carboy.engine.building import trust
from carboy.errors import CarboyError, InvalidArgument, NotFound
from support.leftovers import control_groups, processes
from support.steps import EPOCH, Notes, Workbench, tar_of, workbench

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["workbench"]


def test_residues_stay_behind_and_the_base_stays_as_it_was(workbench: Workbench) -> None:
    old = workbench.add(tar_of({"var/log/old": b"old", "var/log/gone": b"", "etc/machine-id": b"base"}))
    script = (
        "mkdir -p /var/lib/apt/lists /root/.cache/pip /var/log/new; echo x > /var/lib/apt/lists/x; "
        "echo y > /root/.cache/pip/y; echo changed > /var/log/old; rm /var/log/gone; echo > /var/log/new/f;"
        "echo mine > /etc/machine-id; echo > /tmp/t; echo kept > /kept"
    )
    layers = (workbench.base, old)
    done = workbench.run(script, layers=layers, reproducible=True)
    members = list(workbench.members(done.layer))
    assert [name for name in members if name.split("/")[-1] not in ("var", "lib", "log")] == [
        "kept",
        "var/lib/apt",
        "var/lib/apt/lists",
        "var/log/.wh.gone",
    ]
    expected = {
        "/var/lib/apt/lists/x",
        "/root/.cache",
        "/var/log/old",
        "/var/log/new",
        "/etc/machine-id",
        "/tmp/t",
    }
    assert set(done.removed) == expected
    assert done.layer is not None
    after = workbench.printed("cat /var/log/old /etc/machine-id", layers=(*layers, done.layer))
    assert after == "oldbase"
    assert not workbench.run(script, layers=layers).removed


def test_the_hosts_certificates_are_there_and_never_enter(
    workbench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "host.crt"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nHOST\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    place = "etc/ssl/certs/ca-certificates.crt"
    image = workbench.add(tar_of({place: b"IMAGE\n", "usr/x": b""}, links={"etc/ssl/cert.pem": f"/{place}"}))
    layers = (workbench.base, image)
    show = f"cat /{place}; echo $SSL_CERT_FILE; grep -c HOST $PIP_CERT"
    text = workbench.printed(show, layers=layers, host_ca=True, env=("PATH=/bin", "SSL_CERT_FILE=/mine"))
    assert "IMAGE" in text
    assert "HOST" in text
    assert "/mine" in text
    for script in (
        "true",
        f"chmod 600 /{place}",
        f"touch /{place}; cat /{place} > /dev/null",
        "mkdir /etc/ssl/x; rmdir /etc/ssl/x",
    ):
        assert workbench.run(script, layers=layers, host_ca=True).layer is None
    # What update-ca-certificates does: a new file in its place.  No mount is in its way.
    done = workbench.run(f"echo NEW > /tmp/new; mv -f /tmp/new /{place}", layers=layers, host_ca=True)
    assert workbench.content(done.layer, place) == b"NEW\n"
    assert workbench.printed(f"cat /{place}", layers=layers) == "IMAGE\n"
    assert workbench.run("true", host_ca=True).layer is None
    bundle.unlink()
    monkeypatch.setattr(trust, "BUNDLES", ())
    del text


def test_a_flood_of_processes_ends(workbench: Workbench) -> None:
    script = "i=0; while [ $i -lt 300 ]; do sleep 1000 & i=$((i+1)); done; exit 4"
    with pytest.raises(StepFailed, match="4"):
        workbench.run(script)
    groups = control_groups(workbench.paths.cgroup_parent)
    assert not [group for group in groups if group.rpartition("/")[2].startswith("build")]


def test_a_program_that_holds_its_output_open(workbench: Workbench) -> None:
    begin = time.monotonic()
    workbench.run("(trap '' HUP TERM; sleep 1000) & exit 0")
    assert time.monotonic() - begin < 5


def test_mounts_of_a_step_that_fails_are_given_back(workbench: Workbench) -> None:
    other = workbench.add(tar_of({"a": b""}))
    mounts = (MountedTree(target="/bin/busybox/x", layers=(other,)),)
    for _ in range(3):
        with pytest.raises((CarboyError, OSError)):
            workbench.run("true", mounts=mounts)
    with pytest.raises(CarboyError):
        workbench.run("true", limits=replace(workbench.job("x").limits, memory=1))


def test_hostile_names_and_links_in_the_upper_directory(workbench: Workbench) -> None:
    done = workbench.run(
        "ln -s / /l; ln -s ../../../../etc/passwd /p; mkfifo /f 2>/dev/null; mknod /n c 1 3; echo > '/a\nb'"
    )
    assert {"l", "p", "n", "a\nb"} <= set(workbench.members(done.layer))
    with pytest.raises(CarboyError, match=r"\.wh\."):
        workbench.run("touch /.wh.x")


def test_a_cancelled_build_begins_no_step(workbench: Workbench) -> None:
    cancellation = Cancellation()
    cancellation.cancel("gone")
    with pytest.raises(CarboyError, match="gone"):
        workbench.run("true", cancellation=cancellation)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[str]:
    """A disk of a few megabytes."""
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    home = tempfile.mkdtemp(prefix="carboy-test-")
    if subprocess.run(["mount", "-o", "loop", str(image), home], check=False).returncode:
        os.rmdir(home)
        pytest.skip("no loop devices here")
    try:
        yield home
    finally:
        subprocess.run(["umount", "-l", home], check=True)
        os.rmdir(home)


@pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="needs mkfs.ext4")
def test_a_full_disk_is_told(small_disk: str) -> None:
    bench = Workbench(small_disk)
    try:
        with pytest.raises(StepFailed, match="is full"):
            bench.run("head -c 100000000 /dev/zero > /big")
        bench.executor._remover.submit(lambda: None).result(10)
        with pytest.raises((CarboyError, OSError), match="space"):
            bench.run("head -c 13000000 /dev/urandom > /big")  # it fits once, not twice
        bench.executor._remover.submit(lambda: None).result(10)
        assert bench.run("echo > /small").layer is not None
        assert not os.listdir(bench.paths.ingest)
    finally:
        bench.close()


CHILD = """
import sys
from support.steps import Notes, Workbench
bench = Workbench(sys.argv[1])
class Told(Notes):
    def output(self, vertex, stream, data):
        sys.stdout.write(data.decode()); sys.stdout.flush()
bench.run(sys.argv[2], notes=Told())
"""


def test_a_daemon_that_is_killed_takes_its_steps_along() -> None:
    home = tempfile.mkdtemp(prefix="carboy-test-")
    try:
        here = Path(__file__).parents[2]
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, home, "echo begun; sleep 1000 & sleep 1000"],
            env={**os.environ, "PYTHONPATH": f"{here}/src:{here}/tests"},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        deadline = time.monotonic() + 20
        while processes(home) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not processes(home)
        bench = Workbench(home)
        try:
            assert not os.listdir(bench.paths.containers)
            assert not os.listdir(bench.paths.containers_run)
            assert bench.printed("echo well") == "well\n"
        finally:
            bench.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_two_drivers_give_the_same_layer(workbench: Workbench) -> None:
    from carboy.store.layers import DirectoryLayers
    from carboy.store.snapshots import Snapshots

    script = "mkdir /d; echo x > /d/f; chmod 700 /root; rm /etc/group; ln -s f /d/l; rm -r /home; mkdir /home"
    done = workbench.run(script)
    parts = workbench.engine.containers.lifecycle._parts
    home = tempfile.mkdtemp(prefix="carboy-test-")
    try:
        paths = type(workbench.paths)(f"{home}/root", f"{home}/run")
        paths.create()
        layers = DirectoryLayers(paths)
        fd = workbench.engine.layers.open_tar(workbench.base)
        with os.fdopen(fd, "rb") as tar:
            layers.ingest(tar)
        other = replace(parts, paths=paths, snapshots=Snapshots(paths, layers))
        executor = type(workbench.executor)(other, workbench.caches)
        kept, workbench.executor = workbench.executor, executor
        try:
            again = workbench.run(script)
        finally:
            workbench.executor = kept
            executor.close()
            layers.close()
        assert again == done
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_times_are_clamped_and_never_later(workbench: Workbench) -> None:
    done = workbench.run("touch -d @1000 /old; touch -d @4000000000 /far; mkdir /d; touch -d @5 /d")
    assert workbench.members(done.layer) == {"d": 5, "far": EPOCH, "old": 1000}


def test_nothing_is_seen_of_the_host(workbench: Workbench) -> None:
    text = workbench.printed("cat /proc/mounts; ls /dev; env")
    assert workbench.home not in text
    assert os.uname().nodename not in text or os.uname().nodename in ("build", "")


def test_names_that_are_exchanged_while_they_are_mounted(workbench: Workbench, tmp_path: Path) -> None:
    """buildkit 2024-23651, buildah 2024-11218: a source that is swapped for a link leads nowhere else."""
    context, outside = tmp_path / "context", tmp_path / "outside"
    (context / "sub").mkdir(parents=True)
    (context / "sub/mark").write_text("inside")
    outside.mkdir()
    (outside / "mark").write_text("OUTSIDE")
    (context / "link").symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            os.rename(context / "sub", context / "kept")
            os.rename(context / "link", context / "sub")
            os.rename(context / "sub", context / "link")
            os.rename(context / "kept", context / "sub")

    thread = threading.Thread(target=swap)
    thread.start()
    root = os.open(context, os.O_RDONLY | os.O_DIRECTORY)
    seen: set[str] = set()
    try:
        for number in range(16):
            tree = LocalTree(root, str(context))
            mount = MountedTree(target="/m", local=tree, source="sub", readonly=number % 2 == 0)
            with contextlib.suppress(NotFound, StepFailed):
                seen.add(workbench.printed("cat /m/mark", mounts=(mount,)))
    finally:
        over.set()
        thread.join()
        os.close(root)
    assert seen <= {"inside"}


def test_privileges_are_only_those_that_the_job_says(workbench: Workbench) -> None:
    script = "mount -t tmpfs x /tmp && echo mounted || echo refused"
    assert workbench.printed(script).split()[-1] == "refused"
    assert workbench.printed(script, security="insecure").split()[-1] == "mounted"
    assert workbench.run("true", security="insecure").layer is None
    for network in ("container:x", "x", "none:"):
        with pytest.raises(InvalidArgument, match="network"):
            workbench.run("true", network=network)
    with pytest.raises(InvalidArgument, match="security"):
        workbench.run("true", security="unconfined")


def test_a_monitor_that_is_killed(workbench: Workbench) -> None:
    notes, errors = Notes(), []
    others = set(os.listdir(workbench.paths.containers_run))  # steps of tests before: removed behind them

    def run() -> None:
        try:
            workbench.run("echo begun; sleep 1000", notes=notes)
        except CarboyError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert notes.heard.wait(10)
    [name] = set(os.listdir(workbench.paths.containers_run)) - others
    record = json.loads(Path(f"{workbench.paths.container_run(name)}/monitor.json").read_text())
    os.kill(int(record["monitor_pid"]), signal.SIGKILL)
    thread.join(20)
    assert not thread.is_alive()
    assert "ended unexpectedly" in str(errors[0])
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{record['init_pid']}/stat").read_text().rpartition(")")[2].split()[0]
        assert state in "ZX"


def test_devices_that_are_not_here(workbench: Workbench) -> None:
    name = "nobody.example/device=none"
    assert workbench.run("true", devices=(RunDevice(name=name),)).layer is None
    with pytest.raises(CarboyError, match=r"nobody\.example"):
        workbench.run("true", devices=(RunDevice(name=name, required=True),))
