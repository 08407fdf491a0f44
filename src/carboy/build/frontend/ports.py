"""What EXPOSE takes: `80`, `53/udp`, `8000-8002/tcp`, and with a host's part, which does not count."""

from __future__ import annotations

from carboy.errors import InvalidArgument

_PROTOCOLS = ("tcp", "udp", "sctp")


def exposed(unsafe_texts: tuple[str, ...]) -> tuple[str, ...]:
    """`port/protocol` of each port, ranges in single ports; raises InvalidArgument."""
    ports: list[str] = []
    for text in unsafe_texts:
        ports += _exposed(text)
    return tuple(ports)


def _exposed(text: str) -> list[str]:
    host, _, container = text.rpartition(":")
    numbers, _, protocol = container.partition("/")
    protocol = protocol.lower() or "tcp"
    if not numbers:
        raise InvalidArgument(f"no port specified: {text[:80]}<empty>")
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {protocol[:40]}")
    first, last = _range(numbers, "containerPort")
    published = host.rpartition(":")[2]
    if published:
        low, high = _range(published, "hostPort")
        if high - low != last - first and first != last:
            raise InvalidArgument(
                f"invalid ranges specified for container and host Ports: {numbers} and {published}"
            )
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low = _port(first)
    high = _port(last) if dash else low
    if low is None or high is None or high < low:
        raise InvalidArgument(f"invalid {what}: {text[:80]}")
    return low, high


def _port(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65535:
        return None
    return int(text)
