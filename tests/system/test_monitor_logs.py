"""The monitor's log: rotation, limits of what is kept, partial lines, terminals, and no log at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, RequestError, daemon

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["daemon"]

NUMBERS = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done"


def run(daemon: Daemon, script: str, config: dict[str, str], driver: str = "json-file", **more: Any) -> str:
    host = {"NetworkMode": "none", "LogConfig": {"Type": driver, "Config": config}}
    container = daemon.create("sh", "-c", script, host=host, **more)
    daemon.post(f"/containers/{container}/start")
    assert daemon.wait(container) == 0
    return container


def files(daemon: Daemon, container: str) -> list[Path]:
    """The log's files, oldest first."""
    folder = Path(daemon.root) / "containers" / container
    return sorted(folder.glob("*-json.log*"), key=lambda path: path.name, reverse=True)


def test_rotation_keeps_the_newest_lines_whole(daemon: Daemon) -> None:
    container = run(daemon, NUMBERS, {"max-size": "4k", "max-file": "3"})
    found = files(daemon, container)
    assert [path.name.partition("json.log")[2] for path in found] == [".2", ".1", ""]
    assert all(path.stat().st_size < 4096 + 200 for path in found)
    lines = daemon.output(container).splitlines()
    assert lines == [b"line %d" % number for number in range(300 - len(lines), 300)]
    assert len(lines) > 60
    assert daemon.output(container, query="&tail=2") == b"line 298\nline 299\n"
    daemon.remove_all()


def test_one_file_starts_again(daemon: Daemon) -> None:
    container = run(daemon, NUMBERS, {"max-size": "4k"})
    assert len(files(daemon, container)) == 1
    assert daemon.output(container).endswith(b"line 299\n")
    daemon.remove_all()


def test_a_follower_sees_every_line_of_a_rotated_log(daemon: Daemon) -> None:
    config = {"max-size": "2k", "max-file": "5"}
    host = {"NetworkMode": "none", "LogConfig": {"Type": "json-file", "Config": config}}
    script = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); usleep 1000; done"
    container = daemon.create("sh", "-c", script, host=host)
    daemon.post(f"/containers/{container}/start")
    seen = daemon.output(container, query="&follow=1")
    assert seen == b"".join(b"line %d\n" % number for number in range(200))
    daemon.remove_all()


def test_both_streams_partial_lines_and_any_bytes(daemon: Daemon) -> None:
    script = r"printf 'no end'; printf 'err\n\377\000\033' >&2; head -c 40000 /dev/zero | tr '\0' x"
    container = run(daemon, script, {})
    assert daemon.output(container) == b"no end" + b"x" * 40000
    assert daemon.output(container, "stderr").startswith(b"err\n")
    for line in files(daemon, container)[0].read_text().splitlines():
        assert {"log", "stream", "time"} <= set(json.loads(line))
    daemon.remove_all()


def test_labels_are_written_beside_each_line(daemon: Daemon) -> None:
    container = run(daemon, "echo x", {"labels": "a,c"}, Labels={"a": "1", "b": "2"})
    assert json.loads(files(daemon, container)[0].read_text())["attrs"] == {"a": "1"}
    daemon.remove_all()


def test_a_log_is_closed_to_other_users(daemon: Daemon) -> None:
    container = run(daemon, "echo x", {})
    assert files(daemon, container)[0].stat().st_mode & 0o777 == 0o640
    daemon.remove_all()


def test_no_log(daemon: Daemon) -> None:
    container = run(daemon, "echo x", {}, driver="none")
    assert files(daemon, container) == []
    with pytest.raises(RequestError, match="does not support reading"):
        daemon.output(container)
    daemon.remove_all()


def test_exit_json_is_whole_and_the_run_directory_gone(daemon: Daemon) -> None:
    container = run(daemon, "true", {})
    document = json.loads((Path(daemon.root) / "containers" / container / "exit.json").read_text())
    assert (document["exit_code"], document["oom"], document["error"]) == (0, False, "")
    assert document["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    daemon.post(f"/containers/{container}/start")
    daemon.wait(container)
    daemon.request("DELETE", f"/containers/{container}")
    assert not os.path.exists(f"{daemon.run}/containers/{container}")
