"""What a client asks to be published."""

from __future__ import annotations

from typing import Any

import pytest

from carboy.engine.spec.ports import check_ports, parse_port, parse_range, wishes
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import ContainerConfig, CreateRequest, HostConfig
from carboy.formats.dockerapi.wire import from_plain
from carboy.network.ports import Wish, parse_address


def asked(host: dict[str, Any], *exposed: str) -> tuple[ContainerConfig, HostConfig]:
    body = {"ExposedPorts": {port: {} for port in exposed}, "HostConfig": host}
    request, _ = from_plain(body, CreateRequest)
    return request.container_config(), request.host_config


def test_bindings_become_wishes() -> None:
    bindings = {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostPort": "8000-8010"}],
        "53/udp": [{"HostIp": "", "HostPort": ""}],
        "443": [{"HostIp": "::", "HostPort": "0"}],
        "81/tcp": [],
    }
    assert wishes(*asked({"PortBindings": bindings})) == [
        Wish("udp", 53),
        Wish("tcp", 80, parse_address("127.0.0.1"), range(8080, 8081)),
        Wish("tcp", 80, None, range(8000, 8011)),
        Wish("tcp", 443, parse_address("::")),
    ]


def test_publish_all_adds_what_is_exposed_and_not_bound() -> None:
    host = {"PublishAllPorts": True, "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}
    found = wishes(*asked(host, "80/tcp", "53/udp", "9/sctp"))
    assert [(one.protocol, one.inside_port, len(one.candidates)) for one in found] == [
        ("udp", 53, 0),
        ("tcp", 80, 1),
    ]
    assert wishes(*asked({}, "80/tcp")) == []


@pytest.mark.parametrize("bad", ["", "x", "0", "65536", "80/frob", "-1", "80-90", "8" * 5000, "٨٠"])
def test_ports_that_are_none(bad: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid port specification"):
        parse_port(bad)


@pytest.mark.parametrize("bad", ["x", "70000", "9-1", "1-", "-1", "1-2-3", "0-5"])
def test_ranges_that_are_none(bad: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid port specification"):
        parse_range(bad)


def test_the_hosts_network_discards_them() -> None:
    config, host = asked({"PortBindings": {"80/tcp": [{"HostPort": "80"}]}})
    assert check_ports(config, host, mode="bridge") == []
    assert len(check_ports(config, host, mode="host")) == 1
