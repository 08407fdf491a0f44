"""The OCI configuration of a container, by golden cases.

A case is a folder of tests/golden/spec: request.json (the body of a create), config.json (the
result).  `CARBOY_GOLDEN=rewrite pytest tests/unit/engine/spec` writes the results again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from carboy.engine.spec.check import check_request
from carboy.engine.spec.document import Placement, build
from carboy.engine.spec.facts import HostFacts
from carboy.engine.spec.mounts import plan_mounts
from carboy.engine.spec.security import ALL_CAPABILITIES, DEFAULT_CAPABILITIES, MASKED_PATHS, READONLY_PATHS
from carboy.engine.users import Identity
from carboy.formats.dockerapi.containers import CreateRequest
from carboy.formats.dockerapi.wire import from_plain

GOLDEN = Path(__file__).parents[3] / "golden" / "spec"
ID = "0123456789ab" + "c" * 52

FACTS = HostFacts(
    cpus=4,
    cpu_set=frozenset(range(4)),
    mem_set=frozenset({0}),
    kernel=(6, 18),
    machine="x86_64",
    capabilities=ALL_CAPABILITIES,
    seccomp_profile=b'{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}',
)


def built(body: dict[str, Any]) -> dict[str, Any]:
    request, unknown = from_plain(body, CreateRequest)
    assert unknown == []
    config, host = request.container_config(), request.host_config
    check_request(config, host, FACTS)
    mounts, _ = plan_mounts(config, host, [])
    placement = Placement(
        container_id=ID,
        identity=Identity(0, 0, "/root", (10,)),
        volumes={mount.source: f"/volumes/{mount.source}" for mount in mounts if mount.type == "volume"},
        files={"/etc/hosts": "/bundle/hosts"},
        namespaces={"pid": "/proc/7/ns/pid", "network": "/proc/7/ns/net", "ipc": "/proc/7/ns/ipc"},
    )
    text = json.dumps(build(config, host, mounts, placement=placement, facts=FACTS))
    document: dict[str, Any] = json.loads(text)
    return document


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_golden(case: str) -> None:
    result = built(json.loads((GOLDEN / case / "request.json").read_text()))
    expected = GOLDEN / case / "config.json"
    if os.environ.get("CARBOY_GOLDEN") == "rewrite":
        expected.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    assert result == json.loads(expected.read_text())


def test_defaults_are_dockers() -> None:
    document = built({"Image": "x", "Cmd": ["true"]})
    process, linux = document["process"], document["linux"]
    assert sorted(DEFAULT_CAPABILITIES) == process["capabilities"]["bounding"]
    assert "inheritable" not in process["capabilities"]
    assert "ambient" not in process["capabilities"]
    assert linux["maskedPaths"] == list(MASKED_PATHS)
    assert linux["readonlyPaths"] == list(READONLY_PATHS)
    kinds = {namespace["type"] for namespace in linux["namespaces"]}
    assert kinds == {"mount", "network", "uts", "pid", "ipc", "cgroup", "time"}
    assert process["noNewPrivileges"] is False
    assert linux["resources"]["devices"][0] == {"allow": False, "access": "rwm"}


def test_a_privileged_container_has_everything() -> None:
    document = built({"Image": "x", "Cmd": ["true"], "HostConfig": {"Privileged": True}})
    assert document["process"]["capabilities"]["bounding"] == sorted(ALL_CAPABILITIES)
    assert "seccomp" not in document["linux"]
    assert document["linux"]["maskedPaths"] == []


def test_without_any_command_is_refused() -> None:
    with pytest.raises(Exception, match="no command specified"):
        built({"Image": "x"})
