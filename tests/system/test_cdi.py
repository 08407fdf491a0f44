"""Devices by name: CDI specifications in directories of the test's own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.buildclient import begin, build
from support.daemon import IMAGE, Daemon, RequestError, running_daemon

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]

HOOK = """#!/bin/sh
cat > {out}
"""

YAML = """
cdiVersion: "0.6.0"
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    env: [GPU=0]
- name: all
  containerEdits:
    env: ["GPU=all"]
    deviceNodes:
    - path: /dev/gpu0
      hostPath: /dev/zero
containerEdits:
  env: [COMMON=1]
"""


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two directories that stand for /etc/cdi and /var/run/cdi, and one of files."""
    top = tmp_path_factory.mktemp("cdi")
    for name in ("etc", "run", "files"):
        (top / name).mkdir()
    return top


@pytest.fixture(scope="module")
def daemon(directories: Path) -> Iterator[Daemon]:
    """A daemon that reads those."""
    places = [f"--cdi-spec-dir={directories}/{name}" for name in ("etc", "run")]
    yield from running_daemon(*places)


@pytest.fixture(scope="module", autouse=True)
def specifications(directories: Path, daemon: Daemon) -> Path:
    """Two vendors; the second directory wins."""
    (directories / "files" / "library").write_text("library of the host")
    hook = directories / "files" / "hook"
    hook.write_text(HOOK.format(out=directories / "files" / "state"))
    hook.chmod(0o755)
    write(
        directories / "etc" / "vendor.json",
        "vendor.com/thing",
        one={
            "env": ["THING=one"],
            "deviceNodes": [
                {"path": "/dev/one", "hostPath": "/dev/zero", "permissions": "r"},
                {
                    "path": "/dev/two",
                    "type": "c",
                    "major": 1,
                    "minor": 3,
                    "fileMode": 0o640,
                    "uid": 7,
                    "gid": 8,
                },
            ],
            "mounts": [
                {
                    "hostPath": str(directories / "files" / "library"),
                    "containerPath": "/usr/lib/library",
                    "options": ["ro", "nosuid", "nodev", "bind"],
                }
            ],
            "hooks": [{"hookName": "createContainer", "path": str(hook)}],
            "additionalGids": [4321],
        },
        two={"env": ["THING=two"]},
        gone={"deviceNodes": [{"path": "/dev/absent-device"}]},
    )
    write(directories / "run" / "override.json", "vendor.com/thing", two={"env": ["THING=newer"]})
    (directories / "etc" / "nvidia.yaml").write_text(YAML)
    return directories


def write(path: Path, kind: str, **devices: Any) -> None:
    found = [{"name": name, "containerEdits": edits} for name, edits in devices.items()]
    path.write_text(json.dumps({"cdiVersion": "0.5.0", "kind": kind, "devices": found}))


def run(daemon: Daemon, script: str, *names: str, **request: Any) -> str:
    asked = request or {"Driver": "cdi", "DeviceIDs": list(names)}
    return daemon.shell(script, host={"DeviceRequests": [asked]})


def refused(daemon: Daemon, **request: Any) -> str:
    with pytest.raises(RequestError) as caught:
        daemon.create("true", host={"DeviceRequests": [request]})
    assert caught.value.status == 400
    return caught.value.message


def test_a_device_brings_nodes_mounts_variables_groups_and_hooks(daemon: Daemon, directories: Path) -> None:
    script = (
        "echo $THING; head -c 2 /dev/one | wc -c;"
        "stat -c '%a %u %g' /dev/two; cat /usr/lib/library; echo; id -G;"
        "touch /usr/lib/library 2>/dev/null && echo w; true"
    )
    lines = run(daemon, script, "vendor.com/thing=one").splitlines()
    assert lines == ["one", "2", "640 7 8", "library of the host", "0 4321"]
    assert json.loads((directories / "files" / "state").read_text())["status"] == "creating"


def test_info_names_the_directories(daemon: Daemon, directories: Path) -> None:
    assert daemon.get("/info")["CDISpecDirs"] == [f"{directories}/etc", f"{directories}/run"]


def test_the_later_directory_wins(daemon: Daemon) -> None:
    assert run(daemon, "echo $THING", "vendor.com/thing=two") == "newer\n"


def test_gpus_go_through_cdi(daemon: Daemon) -> None:
    gpu = {"Capabilities": [["gpu"]]}
    assert run(daemon, "echo $GPU $COMMON; test -c /dev/gpu0", Count=-1, **gpu) == "all 1\n"
    assert run(daemon, "echo $GPU", Count=1, **gpu) == "0\n"
    assert run(daemon, "echo $GPU", DeviceIDs=["all"], Driver="nvidia", **gpu) == "all\n"
    assert "unresolvable CDI devices nvidia.com/gpu=1" in refused(daemon, Count=2, **gpu)
    assert 'could not select device driver "amd" with capabilities: [[gpu]]' in refused(
        daemon, Driver="amd", Count=-1, **gpu
    )
    assert 'could not select device driver "" with capabilities: [[tpu]]' in refused(
        daemon, Capabilities=[["tpu"]]
    )
    assert "have no options" in refused(daemon, Count=1, Options={"a": "b"}, **gpu)


def test_what_cannot_be_resolved(daemon: Daemon) -> None:
    text = refused(daemon, Driver="cdi", DeviceIDs=["vendor.com/thing=absent"])
    assert "CDI device injection failed: unresolvable CDI devices vendor.com/thing=absent" in text
    assert "invalid CDI device name" in refused(daemon, Driver="cdi", DeviceIDs=["../../etc"])
    container = daemon.create(
        "true",
        host={
            "NetworkMode": "none",
            "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["vendor.com/thing=gone"]}],
        },
    )
    with pytest.raises(RequestError, match="failed to stat CDI host device"):
        daemon.post(f"/containers/{container}/start")
    daemon.request("DELETE", f"/containers/{container}")


def test_a_bad_file_harms_only_its_own_devices(daemon: Daemon, directories: Path) -> None:
    bad = directories / "run" / "bad.json"
    bad.write_text("{")
    pipe = directories / "run" / "pipe.json"
    os.mkfifo(pipe)
    open_to_all = directories / "run" / "open.json"
    write(open_to_all, "open.com/thing", one={"env": ["A=1"]})
    open_to_all.chmod(0o666)
    try:
        assert run(daemon, "echo $THING", "vendor.com/thing=two") == "newer\n"
        assert "may change it" in refused(daemon, Driver="cdi", DeviceIDs=["open.com/thing=one"])
    finally:
        for path in (bad, pipe, open_to_all):
            path.unlink()


def test_a_run_of_a_build_sees_what_was_allowed(daemon: Daemon) -> None:
    text = (
        f"FROM {IMAGE}\n"
        "RUN --device=nvidia.com/gpu=all,required --device=vendor.com/thing=two "
        "{ echo $GPU $COMMON $THING; head -c 3 /dev/gpu0 | wc -c; } > /seen\n"
    )
    assert "--allow device=nvidia.com/gpu=all" in build(daemon, text).error
    allowed = ["device=nvidia.com/gpu", "device=vendor.com/thing=two"]
    built = build(daemon, build=begin(daemon, Dockerfile=text.encode(), Empty=True, Allow=allowed))
    inside = daemon.shell("cat /seen; echo [$GPU]; ls /dev/gpu0 2>&1; true", Image=built.id)
    assert inside.startswith("all 1 newer\n3\n[]\n")
    assert "No such file" in inside
