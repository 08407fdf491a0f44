"""Documents of the Docker Engine API: tolerant reading, exact names."""

from __future__ import annotations

import json

import pytest

from carboy.errors import InvalidArgument
from carboy.formats.dockerapi import wire
from carboy.formats.dockerapi.containers import ContainerConfig, CreateRequest, HostConfig, WaitResponse
from carboy.formats.dockerapi.execs import ExecConfig, ExecInspect, ExecProcess
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.progress import ProgressDetail, ProgressMessage, line
from carboy.formats.dockerapi.system import event
from carboy.formats.dockerapi.times import parse_duration, parse_moment, parse_rfc3339, rfc3339


def test_null_is_absent_and_inside_a_map_it_is_the_zero_value() -> None:
    body = (
        b'{"Env": null, "Cmd": null, "ExposedPorts": {"80/tcp": null},'
        b' "HostConfig": {"PortBindings": {"80/tcp": null}}}'
    )
    request, unknown = wire.decode(body, CreateRequest)
    assert unknown == []
    assert request.env == []
    assert request.cmd is None
    assert list(request.exposed_ports) == ["80/tcp"]
    assert request.host_config.port_bindings == {"80/tcp": []}


def test_names_match_without_regard_to_case_but_exact_ones_win() -> None:
    request, _ = wire.decode(b'{"image": "a", "Image": "b", "hostconfig": {"memory": 5}}', CreateRequest)
    assert request.image == "b"
    assert request.host_config.memory == 5


def test_a_command_may_be_one_string() -> None:
    request, _ = wire.decode(b'{"Cmd": "ls -l", "Entrypoint": ["sh"]}', CreateRequest)
    assert (request.cmd, request.entrypoint) == (["ls -l"], ["sh"])
    with pytest.raises(InvalidArgument, match=r"\$\.Env"):
        wire.decode(b'{"Env": "A=b"}', CreateRequest)


def test_unknown_fields_are_listed_with_their_path() -> None:
    body = b'{"X": 1, "HostConfig": {"Y": 2, "Mounts": [{"Type": "bind", "Z": 3}]}}'
    _, unknown = wire.decode(body, CreateRequest)
    assert unknown == ["X", "HostConfig.Y", "HostConfig.Mounts.Z"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"{}x", b"\xff", b'{"HostConfig": []}', b'{"Cmd": {"a": 1}}', b"[" * 1000],
)
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidArgument):
        wire.decode(body, CreateRequest)


def test_irregular_names() -> None:
    names = set(json.loads(wire.encode(HostConfig())))
    assert names >= {
        "NanoCpus",
        "ContainerIDFile",
        "UTSMode",
        "CpusetCpus",
        "BlkioDeviceReadIOps",
        "OomKillDisable",
        "IOMaximumIOps",
        "ShmSize",
        "CgroupnsMode",
        "KernelMemoryTCP",
        "ReadonlyRootfs",
        "IpcMode",
    }
    process = ExecProcess(entrypoint="x")
    shown = json.loads(
        wire.encode(ExecInspect(id="1", running=True, process_config=process, container_id="2"))
    )
    assert shown["ID"] == "1"
    assert shown["ContainerID"] == "2"
    assert shown["ProcessConfig"]["entrypoint"] == "x"


def test_absent_fields_are_left_out_where_docker_leaves_them_out() -> None:
    assert wire.encode(WaitResponse(status_code=0)) == b'{"StatusCode":0}'
    message = ProgressMessage(status="x", progress_detail=ProgressDetail(current=1, total=2))
    assert line(message) == b'{"status":"x","progressDetail":{"current":1,"total":2}}\r\n'
    document = json.loads(wire.encode(event("container", "die", "1", {"image": "i"}, 1_500_000_000)))
    assert (document["status"], document["from"], document["time"], document["timeNano"]) == (
        "die",
        "i",
        1,
        15 * 10**8,
    )


def test_a_config_survives_the_round_trip() -> None:
    config = ContainerConfig(image="x", cmd=["a"], labels={"k": "v"}, stop_timeout=3)
    assert wire.decode(wire.encode(config), ContainerConfig) == (config, [])
    assert wire.decode(b"null", ExecConfig)[0] == ExecConfig()


def test_filters_in_both_forms() -> None:
    for text in ('{"label": {"a=b": true, "c": true, "d": false}}', '{"label": ["a=b", "c"]}'):
        filters = Filters.parse(text)
        assert filters.get("label") == ["a=b", "c"]
        assert filters.labels({"a": "b", "c": ""})
        assert not filters.labels({"a": "b"})
    assert not Filters.parse("")
    assert Filters.parse('{"name": ["^web"]}').pattern("name", "web1")
    assert not Filters.parse('{"name": ["^web"]}').pattern("name", "myweb")
    assert Filters.parse('{"id": ["ab"]}').prefix("id", "abc")
    assert Filters.parse('{"dangling": ["true"]}').boolean("dangling", default=False)
    with pytest.raises(InvalidArgument):
        Filters.parse('{"dangling": ["maybe"]}').boolean("dangling", default=False)
    with pytest.raises(InvalidArgument, match="invalid filter 'x'"):
        Filters.parse('{"x": ["1"]}').require_known({"name"})


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 1}', '{"a": {"b": 1}}', "\ud800"])
def test_bad_filters_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Filters.parse(text)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a*)*b", "(a|aa)+$", "[", "(" * 5000, "(?i)x", r"(a)\1"])
def test_hostile_patterns_end(pattern: str) -> None:
    Filters({"name": [pattern]}).pattern("name", "a" * 60 + "!")


def test_times() -> None:
    assert rfc3339(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456789Z"
    assert rfc3339(1_700_000_000_000_000_000) == "2023-11-14T22:13:20Z"
    assert parse_rfc3339("2023-11-14T22:13:20.123456789Z") == 1_700_000_000_123_456_789
    assert parse_rfc3339("2023-11-14T23:13:20+01:00") == 1_700_000_000 * 10**9
    assert parse_duration("1h1m1.5s") == 3_661_500_000_000
    assert parse_moment("1700000000.5", now=0) == 1_700_000_000_500_000_000
    assert parse_moment("10m", now=10**12) == 10**12 - 600 * 10**9
    for bad in ("x", "1x", "", "--", "2023-99-99T00:00:00Z", "1.x", "h", "9" * 400 + "h", "9999999h"):
        with pytest.raises(InvalidArgument):
            parse_moment(bad, now=0)
