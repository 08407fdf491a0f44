"""Hooks: order, state on standard input, where they run, what a failure does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from carboy.formats.spawner import StepError
from support.oci import Running, base_config, rootfs, run

__all__ = ["rootfs"]
pytestmark = pytest.mark.needs_root


def hook(place: Path, name: str, script: str = "") -> dict[str, object]:
    """A hook that notes its name and its state."""
    line = f"echo {name} >> {place}/order; cat > {place}/{name}.json; {script}"
    return {"path": "/bin/sh", "args": ["sh", "-c", line], "env": ["PATH=/usr/bin:/bin"]}


def test_five_hooks_run_in_order_and_know_the_container(rootfs: Path, tmp_path: Path) -> None:
    (rootfs / "notes").mkdir()
    config = base_config(rootfs, "sleep", "100")
    config["annotations"] = {"a": "b"}
    names = ["prestart", "createRuntime", "createContainer", "poststart"]
    config["hooks"] = {name: [hook(tmp_path, name)] for name in names}
    config["hooks"]["startContainer"] = [
        {
            "path": "/bin/sh",
            "args": ["sh", "-c", "cat > /notes/start; pwd >> /notes/start"],
            "env": ["PATH=/bin"],
        }
    ]
    with Running(config, tmp_path) as running:
        assert (tmp_path / "order").read_text().split() == names
        for name, status in zip(names, ("creating", "creating", "creating", "running"), strict=True):
            state = json.loads((tmp_path / f"{name}.json").read_text())
            assert (state["status"], state["pid"]) == (status, running.pid)
            assert (state["bundle"], state["annotations"]) == (str(tmp_path), {"a": "b"})
        inside, end = json.JSONDecoder().raw_decode((rootfs / "notes/start").read_text())
        assert (inside["status"], inside["pid"]) == ("created", running.pid)
        assert (rootfs / "notes/start").read_text()[end:] == "/\n"


def test_where_hooks_run(rootfs: Path, tmp_path: Path) -> None:
    config = base_config(rootfs, "sleep", "100")
    config["hooks"] = {
        name: [hook(tmp_path, name, f"readlink /proc/self/ns/mnt /proc/self/ns/net > {tmp_path}/{name}.ns")]
        for name in ("createRuntime", "createContainer")
    }
    with Running(config, tmp_path) as running:
        host = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net")]
        inside = [os.readlink(f"/proc/{running.pid}/ns/{name}") for name in ("mnt", "net")]
    assert (tmp_path / "createRuntime.ns").read_text().split() == host
    assert (tmp_path / "createContainer.ns").read_text().split() == inside


@pytest.mark.parametrize(
    "name", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"]
)
def test_a_hook_that_fails_ends_the_container(rootfs: Path, name: str) -> None:
    config = base_config(rootfs, "sleep", "100")
    config["hooks"] = {name: [{"path": "/bin/sh", "args": ["sh", "-c", "exit 7"]}]}
    with pytest.raises(StepError, match="failed with exit code 7"):
        run(config)


def test_a_hook_that_takes_too_long_is_killed(rootfs: Path) -> None:
    config = base_config(rootfs, "true")
    config["hooks"] = {"prestart": [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]}
    with pytest.raises(StepError, match="took more than 1 s"):
        run(config)
