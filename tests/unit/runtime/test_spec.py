"""config.json: what is read, and what is refused with the path of the offence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carboy.errors import InvalidArgument, NotFound, Unsupported
from carboy.runtime import spec


def document(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "process": {"args": ["true"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}]},
    }
    for path, value in changes.items():
        place = made
        *folders, name = path.split("__")
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    return made


def test_the_least_document_has_safe_defaults() -> None:
    read = spec.parse(document())
    assert read.process is not None
    assert (read.process.user.uid, read.process.user.umask) == (0, 0o022)
    caps = read.process.capabilities
    assert (caps.bounding, caps.effective, caps.permitted, caps.inheritable, caps.ambient) == (0,) * 5
    assert read.process.oom_score_adj is None
    assert read.linux.namespaces == {"mount": "", "uts": ""}
    assert read.explicit_limits == frozenset()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"ociVersion": "2.0.0"}, "ociVersion"),
        ({"ociVersion": 1}, "ociVersion"),
        ({"process__cwd": "relative"}, r"process\.cwd"),
        ({"process__args": ["a", 1]}, r"process\.args\[1\]"),
        ({"process__args": ["a\0b"]}, r"process\.args\[0\]"),
        ({"process__args": "sh"}, r"process\.args is not a list"),
        ({"process__user": {"uid": -1}}, r"process\.user\.uid"),
        ({"process__user": {"uid": 2**32}}, r"process\.user\.uid"),
        ({"process__user": {"uid": True}}, r"process\.user\.uid"),
        ({"process__user": {"additionalGids": [2**32]}}, r"additionalGids\[0\]"),
        ({"process__oomScoreAdj": 1001}, "oomScoreAdj"),
        ({"process__rlimits": [{"type": "NOFILE", "soft": 1, "hard": 1}]}, "NOFILE"),
        ({"process__rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}, "soft limit"),
        ({"process__rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2}, "twice"),
        ({"process__execCPUAffinity": {"initial": "0-x"}}, "initial"),
        ({"process__execCPUAffinity": {"final": "99999"}}, "final"),
        ({"mounts": [{"type": "tmpfs"}]}, r"mounts\[0\]\.destination"),
        ({"mounts": {}}, "mounts"),
        ({"linux__namespaces": [{"type": "mount"}, {"type": "moon"}]}, "moon"),
        ({"linux__namespaces": [{"type": "mount"}, {"type": "mount"}]}, "twice"),
        ({"linux__namespaces": []}, "mount namespace"),
        ({"linux__devices": [{"path": "dev/x", "type": "c"}]}, r"devices\[0\]\.path"),
        ({"linux__devices": [{"path": "/dev/x", "type": "q"}]}, r"devices\[0\]\.type"),
        ({"linux__uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}, "user namespace"),
        ({"linux__timeOffsets": {"boottime": {"secs": 1}}}, "time namespace"),
        ({"linux__sysctl": {"kernel.panic": "1"}}, "would change the host"),
        ({"linux__sysctl": {"net.ipv4.ip_forward": "1"}}, "network namespace"),
        ({"linux__sysctl": {"net/../kernel/panic": "1"}}, "sysctl"),
        ({"hooks": {"prestart": [{"path": "relative"}]}}, r"hooks\.prestart\[0\]\.path"),
        ({"annotations": {"a": 1}}, r"annotations\.a"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidArgument, match=path):
        spec.parse(document(**changes))


def test_a_host_name_needs_its_namespace() -> None:
    with pytest.raises(InvalidArgument, match="uts"):
        spec.parse(document(hostname="a", linux__namespaces=[{"type": "mount"}]))


def test_unknown_capabilities_are_kept_apart() -> None:
    read = spec.parse(document(process__capabilities={"bounding": ["CAP_KILL", "CAP_FLY"]}))
    assert read.process is not None
    assert read.process.capabilities is not None
    assert read.process.capabilities.bounding == 1 << 5
    assert read.process.capabilities.unknown == ["CAP_FLY"]


def test_lists_of_processors() -> None:
    read = spec.parse(document(process__execCPUAffinity={"initial": "0-2, 7", "final": ""}))
    assert read.process is not None
    assert read.process.cpu_affinity == ([0, 1, 2, 7], [])


def test_limits_that_the_user_asked_for() -> None:
    read = spec.parse(document(annotations={spec.EXPLICIT_LIMITS: "RLIMIT_CPU,RLIMIT_CORE"}))
    assert read.explicit_limits == {"RLIMIT_CPU", "RLIMIT_CORE"}


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="bundle"):
        spec.load(str(tmp_path / "config.json"))
    for text in ("{", "[" * 100000, "[]", '"x"'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InvalidArgument):
            spec.load(str(tmp_path / "config.json"))
    (tmp_path / "config.json").write_text(json.dumps(document()))
    assert spec.load(str(tmp_path / "config.json")).version == "1.2.0"


@pytest.mark.parametrize("value", [None, [], "x", {"args": []}, {"args": [""] * 0}])
def test_exec_needs_a_process(value: object) -> None:
    with pytest.raises(InvalidArgument):
        spec.parse_process(value)


def test_cache_allocation_is_refused_not_ignored() -> None:
    config = document()
    config["linux"]["intelRdt"] = {"l3CacheSchema": "L3:0=f"}
    with pytest.raises(Unsupported, match="intelRdt"):
        spec.parse(config)
