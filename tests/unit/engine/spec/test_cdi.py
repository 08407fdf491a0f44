"""CDI specifications: reading, refusing what is hostile, joining the edits of several devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carboy.engine.spec import cdi
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import DeviceRequest


def specification(
    kind: str = "v.com/c", edits: dict[str, Any] | None = None, **devices: dict[str, Any]
) -> bytes:
    found = [{"name": name, "containerEdits": value} for name, value in devices.items()]
    return json.dumps(
        {"cdiVersion": "0.6.0", "kind": kind, "devices": found, "containerEdits": edits or {}}
    ).encode()


def test_the_edits_of_a_specification_come_once(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(
        specification(edits={"env": ["C=1"]}, one={"env": ["A=1"]}, two={"env": ["A=2"]})
    )
    registry = cdi.Registry.load([str(tmp_path), str(tmp_path / "absent")])
    assert registry.names == ["v.com/c=one", "v.com/c=two"]
    assert registry.edits(["v.com/c=two", "v.com/c=one", "v.com/c=two"]).env == ["C=1", "A=2", "A=1"]
    # Nothing of one call is left in the next.
    assert registry.edits(["v.com/c=one"]).env == ["C=1", "A=1"]


def test_the_same_name_twice_is_nobodys(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_bytes(specification(one={"env": ["A=1"]}))
    registry = cdi.Registry.load([str(tmp_path)])
    assert registry.names == []
    with pytest.raises(InvalidArgument, match="two files describe"):
        registry.edits(["v.com/c=one"])


@pytest.mark.parametrize(
    "edits",
    [
        {"env": ["=x"]},
        {"env": ["x"]},
        {"env": ["A=\0"]},
        {"deviceNodes": [{"path": "relative"}]},
        {"deviceNodes": [{"path": "/d", "type": "x"}]},
        {"deviceNodes": [{"path": "/d", "permissions": "rwx"}]},
        {"deviceNodes": [{"path": "/d", "major": -1}]},
        {"deviceNodes": [{"path": "/d", "uid": 2**32}]},
        {"mounts": [{"hostPath": "/a", "containerPath": "b"}]},
        {"mounts": [{"hostPath": "/a", "containerPath": "/b", "type": "overlay"}]},
        {"mounts": [{"hostPath": "/a", "containerPath": "/b", "options": ["carboy.process=1"]}]},
        {"hooks": [{"hookName": "never", "path": "/x"}]},
        {"hooks": [{"hookName": "poststart", "path": "x"}]},
        {"additionalGids": [-1]},
        {"intelRdt": {"closID": "x"}},
        {"netDevices": [{}]},
        {"env": "A=1"},
        {"env": [1]},
    ],
)
def test_edits_that_are_refused(edits: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        cdi.parse(specification(one=edits), yaml=False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        specification(kind="nodash"),
        specification(kind="../x/y"),
        specification(one={}).replace(b"one", b"a b"),
        b'{"cdiVersion": "9.9.9", "kind": "v.com/c", "devices": []}',
    ],
)
def test_documents_that_are_refused(data: bytes) -> None:
    for yaml in (False, True):
        with pytest.raises(InvalidArgument):
            cdi.parse(data, yaml=yaml)


def test_yaml_cannot_multiply_itself_or_make_objects() -> None:
    laughs = b"a: &a [x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9)
    )
    for data in (laughs, b"- " * 2000 + b"x", b"!!python/object/apply:os.system ['true']", b"a: *b"):
        with pytest.raises(InvalidArgument):
            cdi.parse(data, yaml=True)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("vendor.com/class=name", ("vendor.com/class", "name")),
        ("nvidia.com/gpu=all", ("nvidia.com/gpu", "all")),
        ("nvidia.com/gpu=0", ("nvidia.com/gpu", "0")),
        ("v-x.com/c_1=MIG-0:1", ("v-x.com/c_1", "MIG-0:1")),
    ],
)
def test_names(name: str, parts: tuple[str, str]) -> None:
    assert cdi.parse_name(name) == parts


@pytest.mark.parametrize(
    "name",
    [
        "/dev/zero",
        "vendor.com/class",
        "vendor.com/class=",
        "/class=x",
        "vendor.com/=x",
        "vendor.com/a/b=x",
        "vendor.com/class=../x",
        "vendor.com/class=x\n",
    ],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid CDI device name"):
        cdi.parse_name(name)


def test_gpus_of_either_vendor(tmp_path: Path) -> None:
    (tmp_path / "amd.json").write_bytes(specification(kind="amd.com/gpu", all={"env": ["A=1"]}))
    registry = cdi.Registry.load([str(tmp_path)])
    request = DeviceRequest(count=-1, capabilities=[["gpu"]])
    assert cdi.device_names([request], registry) == ["amd.com/gpu=all"]
    with pytest.raises(InvalidArgument, match="could not select device driver"):
        cdi.device_names([DeviceRequest(driver="nvidia", count=-1, capabilities=[["gpu"]])], registry)
    with pytest.raises(InvalidArgument, match="cannot set both Count and DeviceIDs"):
        cdi.device_names([DeviceRequest(count=1, device_ids=["0"], capabilities=[["gpu"]])], registry)
