"""Which daemon a command speaks to."""

from __future__ import annotations

import pytest

from carboy.client import address
from carboy.errors import InvalidArgument


def choose(host: str | None = None, **environment: str) -> tuple[str, bool]:
    home = address.home(environment, 0)
    chosen, own = address.choose(environment, home, host)
    return chosen.url, own


def test_the_order_of_precedence() -> None:
    assert choose() == ("unix:///run/carboy/carboy.sock", True)
    assert choose(CARBOY_RUN="/x") == ("unix:///x/carboy.sock", True)
    assert choose(DOCKER_HOST="tcp://h:1") == ("tcp://h:1", False)
    assert choose(DOCKER_HOST="tcp://h:1", CARBOY_HOST="unix:///s") == ("unix:///s", False)
    assert choose(CARBOY_RUN="/x", CARBOY_HOST="unix:///x/carboy.sock") == ("unix:///x/carboy.sock", True)
    assert choose(DOCKER_HOST="unix:///run/carboy/carboy.sock") == ("unix:///run/carboy/carboy.sock", True)
    assert choose("unix:///run/carboy/carboy.sock") == ("unix:///run/carboy/carboy.sock", False)


def test_ordinary_users_have_homes_of_their_own() -> None:
    home = address.home({"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/5"}, 5)
    assert (home.root, home.run) == ("/home/u/.local/share/carboy", "/run/user/5/carboy")


def test_urls() -> None:
    assert address.parse("tcp://[::1]:2375").host == "::1"
    assert address.parse("tcp://localhost").port == 2375
    for bad in ("nonsense", "unix://relative", "tcp://", "tcp://h:x", "tcp://h:99999", "ssh://h", "http://x"):
        with pytest.raises(InvalidArgument):
            address.parse(bad)
    with pytest.raises(InvalidArgument):
        address.home({"CARBOY_ROOT": "relative"}, 0)
