"""Hosts as URLs, and the directories of a home."""

from __future__ import annotations

import pytest

from carboy.client import address, ssh
from carboy.errors import InvalidArgument


def test_ordinary_users_have_homes_of_their_own() -> None:
    home = address.home({"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/5"}, 5)
    assert (home.root, home.run) == ("/home/u/.local/share/carboy", "/run/user/5/carboy")


def test_urls() -> None:
    assert address.parse("tcp://[::1]:2375").host == "::1"
    assert address.parse("tcp://[::1]").port == 2375
    assert address.parse("tcp://localhost").port == 2375
    assert address.parse("localhost:1").url == "tcp://localhost:1"
    for bad in ("nonsense", "unix://relative", "tcp://", "tcp://h:x", "tcp://h:99999", "http://x", "fd://"):
        with pytest.raises(InvalidArgument):
            address.parse(bad)
    with pytest.raises(InvalidArgument):
        address.home({"CARBOY_ROOT": "relative"}, 0)


def test_tls_has_a_port_of_its_own() -> None:
    tls = address.Tls()
    assert address.parse("tcp://h", tls).port == 2376
    assert address.parse("tcp://h:1", tls).tls is tls
    assert address.parse("unix:///s", tls).tls is None


def test_ssh_urls() -> None:
    one = address.parse("ssh://me@host:22/run/x.sock")
    assert (one.ssh, one.user, one.host, one.port, one.socket) == (True, "me", "host", 22, "/run/x.sock")
    assert ssh.command(one)[-1] == (
        "sh -c 'command -v carboy >/dev/null 2>&1 "
        "&& exec carboy --host unix:///run/x.sock system dial-stdio; "
        "exec docker --host unix:///run/x.sock system dial-stdio'"
    )
    plain = address.parse("ssh://host")
    assert (plain.user, plain.port, plain.socket, plain.path) == ("", 0, "", "")
    assert ssh.command(plain)[:-1] == ["ssh", "-o", "ConnectTimeout=30", "-T", "--", "host"]


@pytest.mark.parametrize(
    "bad",
    [
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://-l@host",
        "ssh://u:secret@host",
        "ssh://@host",
        "ssh://host:x",
        "ssh://host/run/$(id).sock",
        "ssh://host/run/a'b",
        "ssh://ho st",
        "ssh://host;id",
    ],
)
def test_nothing_of_an_ssh_url_reaches_a_shell(bad: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        address.parse(bad)
    assert "secret" not in str(caught.value)
