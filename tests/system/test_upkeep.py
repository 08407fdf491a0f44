"""Stats, top, update, prunes and sizes of real containers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.commands import until
from support.daemon import Daemon, RequestError, Unix, busybox_tar, daemon

__all__ = ["daemon"]
pytestmark = [pytest.mark.needs_root]
NONE = {"NetworkMode": "none"}
MEGA = 1 << 20


@pytest.fixture(autouse=True)
def _clean(daemon: Daemon) -> Iterator[None]:
    yield
    daemon.remove_all()


def started(daemon: Daemon, *command: str, host: dict[str, Any] | None = None, **more: Any) -> str:
    container = daemon.create(*command, host={**NONE, **(host or {})}, **more)
    daemon.post(f"/containers/{container}/start")
    return container


def group_file(daemon: Daemon, container: str, controller: str, v1: str, v2: str) -> str:
    document = json.loads(Path(daemon.paths.container_run(container), "monitor.json").read_text())
    groups = document["cgroup"]
    path = f"{groups[controller]}/{v1}" if controller in groups else f"{groups['unified']}/{v2}"
    return Path(path).read_text().strip()


class Stream:
    """A stream of figures, read line by line."""

    def __init__(self, daemon: Daemon, path: str) -> None:
        self.connection = Unix(daemon.socket)
        self.connection.request("GET", path)
        self.response = self.connection.getresponse()
        assert self.response.status == 200

    def frame(self) -> dict[str, Any]:
        line = self.response.readline()
        found: dict[str, Any] = json.loads(line) if line else {}
        return found

    def close(self) -> None:
        self.response.close()
        self.connection.close()


# -- stats


def test_figures_of_a_container_that_works(daemon: Daemon) -> None:
    container = started(
        daemon, "sh", "-c", "while :; do :; done", host={"Memory": 64 * MEGA, "PidsLimit": 20, **NONE}
    )
    frame = daemon.get(f"/containers/{container}/stats?stream=false")
    cpu, before = frame["cpu_stats"], frame["precpu_stats"]
    assert cpu["cpu_usage"]["total_usage"] > before["cpu_usage"]["total_usage"] > 0
    assert cpu["system_cpu_usage"] > before["system_cpu_usage"]
    assert cpu["online_cpus"] == os.cpu_count()
    assert frame["preread"] < frame["read"]
    assert frame["memory_stats"]["limit"] == 64 * MEGA
    assert 0 < frame["memory_stats"]["usage"] < 64 * MEGA
    assert frame["pids_stats"] == {"current": 1, "limit": 20}
    assert "networks" not in frame
    shot = daemon.get(f"/containers/{container}/stats?stream=false&one-shot=true")
    assert shot["preread"] == "0001-01-01T00:00:00Z"
    assert shot["precpu_stats"]["cpu_usage"]["total_usage"] == 0


def test_a_stream_through_stop_start_and_removal(daemon: Daemon) -> None:
    container = started(daemon, "sleep", "100", StopSignal="SIGKILL")
    stream = Stream(daemon, f"/containers/{container}/stats")
    assert stream.frame()["pids_stats"]["current"] == 1
    assert stream.frame()["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    daemon.post(f"/containers/{container}/stop?t=0")
    until(lambda: stream.frame()["pids_stats"] == {})
    daemon.post(f"/containers/{container}/start")
    until(lambda: stream.frame()["pids_stats"] == {"current": 1})
    daemon.request("DELETE", f"/containers/{container}?force=1")
    until(lambda: stream.frame() == {})
    stream.close()


def test_interfaces_are_the_containers_own(daemon: Daemon) -> None:
    container = started(daemon, "sh", "-c", "ping -c 2 127.0.0.1; sleep 100", host={"NetworkMode": "bridge"})
    frame = daemon.get(f"/containers/{container}/stats?stream=false&one-shot=true")
    assert list(frame["networks"]) == ["eth0"]
    assert set(frame["networks"]["eth0"]) == {
        f"{way}_{what}" for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")
    }
    hosts = started(daemon, "sleep", "100", host={"NetworkMode": "host"})
    assert "networks" not in daemon.get(f"/containers/{hosts}/stats?stream=false&one-shot=true")


def test_watching_leaves_nothing_behind(daemon: Daemon) -> None:
    container = started(daemon, "sleep", "100", host={"NetworkMode": "bridge"})
    assert daemon.process is not None
    descriptors = f"/proc/{daemon.process.pid}/fd"

    def groups() -> int:
        found = 0
        for name in os.listdir(descriptors):
            try:
                found += "/sys/fs/cgroup/" in os.readlink(f"{descriptors}/{name}")
            except OSError:
                continue
        return found

    before = groups()
    streams = [Stream(daemon, f"/containers/{container}/stats") for _ in range(5)]
    for stream in streams:
        assert stream.frame()["name"]
    assert groups() > before
    for stream in streams:
        stream.close()
    until(lambda: groups() == before)
    tasks = f"/proc/{daemon.process.pid}/task"
    until(lambda: not any(Path(f"{tasks}/{one}/comm").read_text() == "stats\n" for one in os.listdir(tasks)))


def test_a_watched_container_lets_its_network_go(daemon: Daemon) -> None:
    container = started(daemon, "sleep", "100", host={"NetworkMode": "bridge"})
    stream = Stream(daemon, f"/containers/{container}/stats")
    stream.frame()
    ports = f"/sys/class/net/{daemon.bridge}/brif"
    links = set(os.listdir(ports))
    daemon.post(f"/containers/{container}/stop?t=0")
    for _ in range(3):  # again and again: an interface that lives on would be in the way
        daemon.post(f"/containers/{container}/start")
        daemon.post(f"/containers/{container}/stop?t=0")
    stream.close()
    until(lambda: not (set(os.listdir(ports)) - links))


# -- top


def test_top_shows_what_the_host_sees(daemon: Daemon) -> None:
    container = started(daemon, "sh", "-c", "sleep 100 & sleep 200 & wait")
    # Three processes may be three shells still.
    until(lambda: daemon.request("GET", f"/containers/{container}/top").count(b'"sleep ') == 2)
    found = daemon.get(f"/containers/{container}/top")
    assert found["Titles"] == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    pid = daemon.get(f"/containers/{container}/json")["State"]["Pid"]
    assert sorted(row[7] for row in found["Processes"])[1:] == ["sleep 100", "sleep 200"]
    assert str(pid) in [row[1] for row in found["Processes"]]
    some = daemon.get(f"/containers/{container}/top?ps_args={quote('-o pid,args')}")
    assert some["Titles"] == ["PID", "COMMAND"]
    assert {row[1] for row in some["Processes"]} >= {"sleep 100", "sleep 200"}


@pytest.mark.parametrize("arguments", ["--no-such-option", "-o user", "-o comm=PID", "-o pid,'$(touch /x)'"])
def test_bad_arguments_of_ps_are_the_clients_fault(daemon: Daemon, arguments: str) -> None:
    container = started(daemon, "sleep", "100")
    with pytest.raises(RequestError) as caught:
        daemon.get(f"/containers/{container}/top?ps_args={quote(arguments)}")
    assert caught.value.status == 400


def test_top_of_what_does_not_run(daemon: Daemon) -> None:
    container = daemon.create("true", host=NONE)
    with pytest.raises(RequestError) as caught:
        daemon.get(f"/containers/{container}/top")
    assert (caught.value.status, caught.value.message) == (409, f"container {container} is not running")


def test_cve_2022_1227_no_program_of_the_image_is_run(daemon: Daemon) -> None:
    evil = b"#!/bin/sh\ntouch /ran\n"
    daemon.make_image("evil:test", busybox_tar({"bin/ps": (0o755, evil), "usr/bin/ps": (0o755, evil)}))
    container = started(daemon, "sleep", "100", Image="evil:test")
    daemon.get(f"/containers/{container}/top")
    assert not Path(daemon.paths.upper(container), "ran").exists()
    assert not Path("/ran").exists()


# -- update


def test_limits_change_while_it_runs(daemon: Daemon) -> None:
    container = started(daemon, "sleep", "100", host={"Memory": 64 * MEGA})
    answer = daemon.post(
        f"/containers/{container}/update",
        {
            "Memory": 256 * MEGA,
            "MemorySwap": 512 * MEGA,
            "NanoCpus": 500_000_000,
            "CpuShares": 512,
            "CpusetCpus": "0",
            "PidsLimit": 33,
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
        },
    )
    assert answer == {"Warnings": None}
    host = daemon.get(f"/containers/{container}/json")["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (256 * MEGA, 512 * MEGA, 33)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}

    def read(controller: str, v1: str, v2: str) -> str:
        return group_file(daemon, container, controller, v1, v2)

    assert read("memory", "memory.limit_in_bytes", "memory.max") == str(256 * MEGA)
    assert read("cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert read("pids", "pids.max", "pids.max") == "33"
    # down again, below what swap was: the order of the two files turns round
    daemon.post(f"/containers/{container}/update", {"Memory": 32 * MEGA, "MemorySwap": 48 * MEGA})
    assert read("memory", "memory.limit_in_bytes", "memory.max") == str(32 * MEGA)
    daemon.post(f"/containers/{container}/stop?t=0")
    daemon.post(f"/containers/{container}/start")
    assert read("memory", "memory.limit_in_bytes", "memory.max") == str(32 * MEGA)
    assert read("pids", "pids.max", "pids.max") == "33"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"Memory": 1000}, 400, "Minimum memory limit allowed is 6MB"),
        ({"Memory": 900 * MEGA}, 400, "update the memoryswap at the same time"),
        ({"MemoryReservation": 100 * MEGA}, 400, "can not be less than memory reservation"),
        ({"CpusetCpus": "4000"}, 400, "Requested CPUs are not available"),
        ({"RestartPolicy": {"Name": "sometimes"}}, 400, "invalid restart policy"),
        ({"PidsLimit": "many"}, 400, "invalid request body"),
    ],
)
def test_what_is_refused_changes_nothing(
    daemon: Daemon, body: dict[str, Any], status: int, text: str
) -> None:
    container = started(daemon, "sleep", "100", host={"Memory": 64 * MEGA})
    before = daemon.get(f"/containers/{container}/json")["HostConfig"]
    with pytest.raises(RequestError) as caught:
        daemon.post(f"/containers/{container}/update", {"CpuShares": 333, **body})
    assert caught.value.status == status
    assert text in caught.value.message
    assert daemon.get(f"/containers/{container}/json")["HostConfig"] == before


def test_what_the_kernel_refuses_is_taken_back(daemon: Daemon) -> None:
    # 60 MiB are in use: the limit cannot go below, and the shares must be as before.
    container = started(
        daemon,
        "sh",
        "-c",
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=60 2>/dev/null; echo done; sleep 100",
        host={"ShmSize": 100 * MEGA, "CpuShares": 700, "Memory": 80 * MEGA, "MemorySwap": 80 * MEGA},
    )
    until(lambda: daemon.output(container) == b"done\n")
    with pytest.raises(RequestError) as caught:
        daemon.post(
            f"/containers/{container}/update",
            {"CpuShares": 333, "Memory": 10 * MEGA, "MemorySwap": 10 * MEGA},
        )
    assert "Cannot update container" in caught.value.message
    host = daemon.get(f"/containers/{container}/json")["HostConfig"]
    assert (host["CpuShares"], host["Memory"]) == (700, 80 * MEGA)
    limit = group_file(daemon, container, "memory", "memory.limit_in_bytes", "memory.max")
    assert limit == str(80 * MEGA)
    if os.path.exists("/sys/fs/cgroup/cpu"):
        assert group_file(daemon, container, "cpu", "cpu.shares", "cpu.weight") == "700"


def test_a_container_that_removes_itself_is_not_restarted(daemon: Daemon) -> None:
    container = started(daemon, "sleep", "100", host={"AutoRemove": True})
    with pytest.raises(RequestError, match="AutoRemove is enabled"):
        daemon.post(f"/containers/{container}/update", {"RestartPolicy": {"Name": "always"}})


# -- prunes and sizes


def prune(daemon: Daemon, kind: str, filters: dict[str, list[str]] | None = None, version: str = "") -> Any:
    query = f"?filters={quote(json.dumps(filters))}" if filters else ""
    return daemon.post(f"{version}/{kind}/prune{query}")


def test_pruning_containers(daemon: Daemon) -> None:
    running = started(daemon, "sleep", "100")
    ended = started(daemon, "sh", "-c", "dd if=/dev/zero of=/f bs=1k count=100 2>/dev/null; echo hello")
    daemon.wait(ended)
    kept = daemon.create("true", host=NONE, Labels={"keep": "yes"})
    assert prune(daemon, "containers", {"until": ["1h"]})["ContainersDeleted"] == []
    began = time.time()
    found = prune(daemon, "containers", {"label!": ["keep"]})
    assert found["ContainersDeleted"] == [ended]
    assert found["SpaceReclaimed"] >= 102_400
    left = {one["Id"] for one in daemon.get("/containers/json?all=1")}
    assert left == {running, kept}
    events = daemon.request("GET", f"/events?since={began - 1}&until={time.time()}").splitlines()
    *_, event = [one for one in map(json.loads, events) if one["Action"] == "prune"]
    assert event["Type"] == "container"
    assert event["Actor"]["Attributes"] == {"reclaimed": str(found["SpaceReclaimed"])}
    for filters in ({"nonsense": ["x"]}, {"until": ["x"]}, {"until": ["1h", "2h"]}):
        with pytest.raises(RequestError) as caught:
            prune(daemon, "containers", filters)
        assert caught.value.status == 400


def test_pruning_images(daemon: Daemon) -> None:
    daemon.make_image("used:test", busybox_tar({"etc/a": (0o644, b"a")}))
    daemon.make_image("unused:test", busybox_tar({"etc/b": (0o644, b"b" * 4096)}))
    dangling = daemon.make_image("unused:test", busybox_tar({"etc/c": (0o644, b"c")}))
    daemon.create("true", host=NONE, Image="used:test")
    found = prune(daemon, "images")
    assert [set(one) for one in found["ImagesDeleted"]][-1] == {"Deleted"}
    assert found["SpaceReclaimed"] > 1_000_000
    names = {name for one in daemon.get("/images/json") for name in one["RepoTags"]}
    assert names >= {"used:test", "unused:test"}
    assert prune(daemon, "images")["ImagesDeleted"] == []
    found = prune(daemon, "images", {"dangling": ["false"]})
    gone = {one.get("Untagged") or one["Deleted"] for one in found["ImagesDeleted"]}
    assert gone >= {"unused:test", dangling}
    names = {name for one in daemon.get("/images/json") for name in one["RepoTags"]}
    assert "used:test" in names
    assert "unused:test" not in names
    daemon.make_image()  # the other tests' image went as well


def test_pruning_volumes_by_version(daemon: Daemon) -> None:
    daemon.post("/volumes/create", {"Name": "named"})
    daemon.post("/volumes/create", {})
    found = prune(daemon, "volumes", version="/v1.42")
    assert "named" not in found["VolumesDeleted"]
    assert len(found["VolumesDeleted"]) == 1
    assert prune(daemon, "volumes", version="/v1.41")["VolumesDeleted"] == ["named"]


def test_sizes(daemon: Daemon) -> None:
    script = "dd if=/dev/zero of=/f bs=1k count=100 2>/dev/null; ln /f /g; ln -s /f /h; echo hi > /v/x"
    container = started(daemon, "sh", "-c", script, host={"Binds": ["vol:/v"]})
    daemon.wait(container)
    (summary,) = daemon.get("/containers/json?all=1&size=1")
    assert summary["SizeRw"] == 102_402
    inspected = daemon.get(f"/containers/{container}/json?size=1")
    assert inspected["SizeRw"] == 102_402
    usage = daemon.get("/system/df")
    (image,) = [one for one in usage["Images"] if "busybox:test" in one["RepoTags"]]
    assert summary["SizeRootFs"] == inspected["SizeRootFs"] == 102_402 + image["Size"]
    assert image["Containers"] == 1
    assert usage["Containers"][0]["SizeRw"] == 102_402
    (volume,) = [one for one in usage["Volumes"] if one["Name"] == "vol"]
    assert volume["UsageData"] == {"Size": 3, "RefCount": 1}
    assert usage["BuildCache"] == []
    some = daemon.get("/v1.44/system/df?type=volume&type=image")
    assert some["Containers"] is None
    assert some["BuildCache"] is None
    assert len(some["Volumes"]) == len(usage["Volumes"])
    with pytest.raises(RequestError, match="unknown object type"):
        daemon.get("/v1.44/system/df?type=nonsense")
    daemon.remove_all()
    daemon.request("DELETE", "/volumes/vol")


def test_logs_count_in_disk_usage(daemon: Daemon) -> None:
    container = started(daemon, "sh", "-c", "yes | head -c 100000")
    daemon.wait(container)
    (found,) = daemon.get("/system/df?type=container")["Containers"]
    assert found["SizeRw"] > 100_000
    (summary,) = daemon.get("/containers/json?all=1&size=1")
    assert summary["SizeRw"] == 0
