"""What create refuses: impossible limits, conflicts, nonsense; with the words that clients know."""

from __future__ import annotations

from typing import Any

import pytest

from carboy.engine.spec.check import check_request
from carboy.engine.spec.conflicts import check_conflicts
from carboy.engine.spec.devices import check_devices
from carboy.engine.spec.mounts import plan_mounts
from carboy.errors import CarboyError
from carboy.formats.dockerapi.containers import CreateRequest
from carboy.formats.dockerapi.wire import from_plain
from unit.engine.spec.test_document import FACTS


def refused(host: dict[str, Any], **config: Any) -> str:
    request, _ = from_plain({**config, "HostConfig": host}, CreateRequest)
    with pytest.raises(CarboyError) as caught:
        check_conflicts(request)
        check_request(request.container_config(), request.host_config, FACTS)
        check_devices(request.host_config, FACTS)
        plan_mounts(request.container_config(), request.host_config, [])
    assert caught.value.status in (400, 404, 501)
    return str(caught.value)


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ({"Memory": 1 << 20}, "Minimum memory limit allowed is 6MB"),
        ({"Memory": -5}, "negative"),
        ({"MemorySwap": 1 << 30}, "You should always set the Memory limit"),
        ({"Memory": 1 << 30, "MemorySwap": 1 << 29}, "Minimum memoryswap limit"),
        ({"Memory": 1 << 24, "MemoryReservation": 1 << 25}, "can not be less than memory reservation"),
        ({"NanoCpus": 5 * 10**9}, "Range of CPUs is from 0.01 to 4.00"),
        ({"NanoCpus": 10**9, "CpuQuota": 1000}, "Nano CPUs and CPU Quota cannot both be set"),
        ({"CpuPeriod": 10}, "CPU cfs period"),
        ({"CpuQuota": 10}, "CPU cfs quota"),
        ({"CpusetCpus": "7"}, "Requested CPUs are not available - requested 7, available: 0-3"),
        ({"CpusetCpus": "x"}, "Invalid value x for cpuset cpus"),
        ({"CpuShares": 1}, "minimum allowed cpu-shares is 2"),
        ({"CpuRealtimePeriod": 1000, "CpuRealtimeRuntime": 2000}, "cannot be higher than"),
        ({"BlkioWeightDevice": [{"Path": "/dev/null", "Weight": 5}]}, "Range of blkio weight"),
        ({"BlkioDeviceReadBps": [{"Path": "/dev/none", "Rate": 5}]}, "No such file"),
        ({"BlkioDeviceReadBps": [{"Path": "/dev/null", "Rate": 5}]}, "not a block device"),
        ({"MemorySwappiness": 200}, "valid memory swappiness range is 0-100"),
        ({"BlkioWeight": 5}, "Range of blkio weight"),
        ({"OomScoreAdj": 2000}, "range for oom score adj"),
        ({"ShmSize": -1}, "SHM size"),
        ({"Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 5}]}, "soft limit must be less"),
        ({"Ulimits": [{"Name": "nonsense", "Soft": 1, "Hard": 5}]}, "invalid ulimit type"),
        ({"CapAdd": ["NONSENSE"]}, "unknown capability"),
        ({"SecurityOpt": ["nonsense"]}, "invalid --security-opt"),
        ({"Sysctls": {"vm.swappiness": "1"}}, "not namespaced"),
        ({"Sysctls": {"net.x/../../vm": "1"}}, "not namespaced"),
        ({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 2}}, "maximum retry count"),
        ({"RestartPolicy": {"Name": "sometimes"}}, "invalid restart policy"),
        ({"RestartPolicy": {"Name": "always"}, "AutoRemove": True}, "AutoRemove"),
        ({"NetworkMode": "nowhere"}, "not found"),
        ({"NetworkMode": "container:x", "Dns": ["1.1.1.1"]}, "conflicting options: dns"),
        ({"PidMode": "nonsense"}, "invalid PID mode"),
        ({"DeviceRequests": [{"Capabilities": [["gpu"]]}]}, "could not select device driver"),
        ({"NetworkMode": "host", "Links": ["a:b"]}, "can't be used with links"),
        ({"LogConfig": {"Type": "splunk"}}, "splunk"),
        ({"StorageOpt": {"size": "1g"}}, "pquota"),
        ({"Isolation": "process"}, "linux only supports 'default'"),
        ({"Runtime": "kata"}, "unknown or invalid runtime name: kata"),
        ({"ConsoleSize": [1, 2, 3]}, "invalid console size"),
        ({"Binds": ["/a"]}, ""),
        ({"Binds": ["a:/b:nonsense"]}, "invalid mode"),
        ({"Binds": ["/a:b"]}, "must be absolute"),
        ({"Binds": ["/a:/"]}, "destination can't be '/'"),
        ({"Binds": ["/a:/proc"]}, "inside /proc"),
        ({"Binds": ["/a:/x/../proc/sys"]}, "inside /proc"),
        ({"Binds": ["../a:/b"]}, "includes invalid characters"),
        ({"Binds": ["/a:/b", "/c:/b"]}, "Duplicate mount point: /b"),
        ({"Binds": ["/a:/b:shared,slave"]}, "invalid mode"),
        ({"Mounts": [{"Type": "bind", "Source": "a", "Target": "/b"}]}, "mount path must be absolute"),
        ({"Mounts": [{"Type": "nonsense", "Target": "/b"}]}, "mount type unknown"),
        (
            {
                "Mounts": [
                    {
                        "Type": "bind",
                        "Source": "/a",
                        "Target": "/b",
                        "BindOptions": {"Propagation": "rshared,rw"},
                    }
                ]
            },
            "invalid propagation mode",
        ),
        ({"Tmpfs": {"/t": "size=1m,nonsense"}}, "invalid tmpfs option"),
        ({"Tmpfs": {"/t": "bind"}}, "invalid tmpfs option"),
    ],
)
def test_refusals(host: dict[str, Any], text: str) -> None:
    if host == {"Binds": ["/a"]}:
        return  # an anonymous volume
    assert text in refused(host)


def test_hostnames_conflict_with_shared_namespaces() -> None:
    assert "hostname and the network mode" in refused({"NetworkMode": "container:x"}, Hostname="h")
    assert "hostname and the UTS mode" in refused({"UTSMode": "host"}, Hostname="h")


def test_what_has_no_effect_is_warned_about() -> None:
    request, _ = from_plain(
        {"NetworkDisabled": True, "HostConfig": {"KernelMemory": 1, "CpuPercent": 5, "Runtime": "runc"}},
        CreateRequest,
    )
    warnings = check_conflicts(request)
    warnings += check_request(request.container_config(), request.host_config, FACTS)
    assert len(warnings) == 4
