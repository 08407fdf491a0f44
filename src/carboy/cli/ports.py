"""Published ports as text: the column of `ps`, the lines of `port`."""

from __future__ import annotations

from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.document import Json


def place(address: str, port: str) -> str:
    """`0.0.0.0:8080`, `[::]:8080`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def places(bindings: Json) -> list[tuple[str, str]]:
    """Each published port of `NetworkSettings.Ports` with a place of the machine, in order."""
    return [
        (port, place(document.text(binding, "HostIp"), document.text(binding, "HostPort")))
        for port in sorted(bindings, key=_number)
        for binding in document.children(bindings, port)
    ]


def _number(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return (int(number) if number.isdigit() else 0, protocol)


def column(listed: list[Json]) -> str:
    """The ports of a container in a listing.

    Neighbouring ports that have the same number outside as inside are told as one range; so are
    those that are only exposed.
    """
    ranges: list[list[int]] = []
    kinds: list[tuple[str, str]] = []
    current: dict[tuple[str, str], int] = {}
    single = []
    for port in sorted(listed, key=_order):
        address, protocol = document.text(port, "IP"), document.text(port, "Type")
        inside, outside = document.number(port, "PrivatePort"), document.number(port, "PublicPort")
        if address and outside != inside:
            single.append(f"{place(address, str(outside))}->{inside}/{protocol}")
            continue
        kind = (address, protocol)
        index = current.get(kind)
        if index is not None and ranges[index][1] + 1 == inside:
            ranges[index][1] = inside
            continue
        current[kind] = len(ranges)
        ranges.append([inside, inside])
        kinds.append(kind)
    shown = [_range(kind, first, last) for kind, (first, last) in zip(kinds, ranges, strict=True)]
    return ", ".join(shown + single)


def _order(port: Json) -> tuple[int, str, int, str]:
    return (
        document.number(port, "PrivatePort"),
        document.text(port, "IP"),
        document.number(port, "PublicPort"),
        document.text(port, "Type"),
    )


def _range(kind: tuple[str, str], first: int, last: int) -> str:
    address, protocol = kind
    span = str(first) if first == last else f"{first}-{last}"
    return f"{place(address, span)}->{span}/{protocol}" if address else f"{span}/{protocol}"
