"""Published ports as text."""

from __future__ import annotations

import pytest

from carboy.cli import port, ports
from carboy.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.document import Json

INSPECTED: Json = {
    "443/tcp": [{"HostIp": "::", "HostPort": "8443"}],
    "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
    "53/udp": None,
}


def listed(inside: int, outside: int = 0, address: str = "", protocol: str = "tcp") -> Json:
    found: Json = {"PrivatePort": inside, "Type": protocol}
    if outside:
        found.update(PublicPort=outside, IP=address)
    return found


def test_neighbours_are_told_as_a_range() -> None:
    same = [listed(number, number, "0.0.0.0") for number in (82, 80, 81)]
    assert ports.column(same) == "0.0.0.0:80-82->80-82/tcp"
    assert ports.column([listed(1), listed(2), listed(4)]) == "1-2/tcp, 4/tcp"


def test_what_has_another_number_outside_stands_alone_and_last() -> None:
    mixed = [listed(80, 8080, "0.0.0.0"), listed(80, 8080, "::"), listed(81, 8081, "0.0.0.0"), listed(9)]
    assert ports.column(mixed) == ("9/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 0.0.0.0:8081->81/tcp")


def test_port_tells_all_or_one() -> None:
    assert port.lines(INSPECTED, "", "web") == [
        "80/tcp -> 0.0.0.0:8080",
        "80/tcp -> [::]:8080",
        "443/tcp -> [::]:8443",
    ]
    assert port.lines(INSPECTED, "443", "web") == ["[::]:8443"]
    for missing in ("53/udp", "81", "80/udp"):
        with pytest.raises(NotFound, match="No public port"):
            port.lines(INSPECTED, missing, "web")
