"""resolv.conf, hosts and hostname, as Docker writes them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from carboy.errors import InvalidArgument
from carboy.network import files


def test_loopback_nameservers_are_left_out() -> None:
    host = "nameserver 127.0.0.1\nnameserver 10.0.0.53\nsearch a.example b.example\n"
    host += "options ndots:2\noptions edns0\n"
    assert files.resolv_conf(host) == (
        "nameserver 10.0.0.53\nsearch a.example b.example\noptions ndots:2 edns0\n"
        "\n# Based on host file: '/etc/resolv.conf'\n# Overrides: []\n"
    )


@pytest.mark.parametrize(
    "host", ["", "nameserver 127.0.0.53\n", "nameserver ::1\n", "nameserver fd00::1\n", "# x\n"]
)
def test_public_nameservers_stand_in_when_none_is_left(host: str) -> None:
    assert files.resolv_conf(host) == (
        "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        "\n# Based on host file: '/etc/resolv.conf'\n# Used default nameservers.\n# Overrides: []\n"
    )


def test_what_the_user_gives_replaces_the_hosts() -> None:
    text = files.resolv_conf(
        "nameserver 10.0.0.1\nsearch host.example\noptions rotate\n",
        nameservers=["127.0.0.1", "fd00::2"],
        search=["."],
        options=["timeout:1"],
    )
    assert text == (
        "nameserver 127.0.0.1\nnameserver fd00::2\noptions timeout:1\n"
        "\n# Based on host file: '/etc/resolv.conf'\n# Overrides: [nameservers search options]\n"
    )


def test_in_the_hosts_namespace_its_nameservers_are_kept() -> None:
    text = files.resolv_conf("nameserver 127.0.0.53\n", own_namespace=False)
    assert text.startswith("nameserver 127.0.0.53\n\n")


def test_odd_lines_are_kept_and_invalid_nameservers_are_not() -> None:
    text = files.resolv_conf(
        "nameserver\nnameserver x\nsortlist 10.0.0.0\ndomain one\nsearch two\nnameserver 1.1.1.1\n"
    )
    assert text.startswith("nameserver 1.1.1.1\nsearch two\nsortlist 10.0.0.0\n")


def test_the_stub_of_systemd_resolved_points_to_its_real_file() -> None:
    assert files.resolv_conf_source("nameserver 127.0.0.53\noptions edns0\n") == files.SYSTEMD_RESOLV_CONF
    assert files.resolv_conf_source("nameserver 127.0.0.1\n") == files.ETC_RESOLV_CONF
    assert files.resolv_conf_source("nameserver 127.0.0.53\nnameserver 1.1.1.1\n") == files.ETC_RESOLV_CONF


def test_hosts() -> None:
    assert files.hosts(
        hostname="web",
        domainname="lab.example",
        addresses=[IPv4Address("172.30.0.2")],
        extra=[("db", "10.0.0.9")],
    ) == (
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
        "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        "10.0.0.9\tdb\n172.30.0.2\tweb.lab.example web\n"
    )


def test_hosts_without_network() -> None:
    assert files.hosts(hostname="x", ipv6_loopback=False) == "127.0.0.1\tlocalhost\n"


def test_hostname() -> None:
    assert files.hostname_file("web") == "web\n"


def test_extra_hosts_are_parsed() -> None:
    gateway = IPv4Address("172.30.0.1")
    assert files.parse_extra_host("db:10.0.0.9", gateway=None) == ("db", "10.0.0.9")
    assert files.parse_extra_host("db:fd00::9", gateway=None) == ("db", "fd00::9")
    assert files.parse_extra_host("db=[fd00::9]", gateway=None) == ("db", "fd00::9")
    assert files.parse_extra_host("h:host-gateway", gateway=gateway) == ("h", "172.30.0.1")


@pytest.mark.parametrize(
    "text", ["", "db", ":1.2.3.4", "db:", "db:x", "d b:1.2.3.4", "db:1.2.3.4\n6.6.6.6 evil"]
)
def test_hostile_extra_hosts_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        files.parse_extra_host(text, gateway=None)


def test_nothing_hostile_adds_a_line() -> None:
    with pytest.raises(InvalidArgument):
        files.hosts(hostname="a\n6.6.6.6 evil")
    with pytest.raises(InvalidArgument):
        files.resolv_conf("", search=["a\nnameserver 6.6.6.6"])
    with pytest.raises(InvalidArgument):
        files.resolv_conf("", nameservers=["1.1.1.1\nnameserver 6.6.6.6"])
    with pytest.raises(InvalidArgument):
        files.hostname_file("a b")
