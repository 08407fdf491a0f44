"""Rules of nftables as tests compare them."""

from __future__ import annotations

from carboy.formats.netlink import attribute_list, attributes, text_of


def raw(text: str) -> bytes:
    """Bytes from hexadecimal digits."""
    return bytes.fromhex(text)


def expressions(parts: list[bytes]) -> list[tuple[str, dict[int, bytes]]]:
    """The names and attributes of a rule's expressions."""
    found = []
    for _, value in attribute_list(b"".join(parts)):
        fields = attributes(value)
        found.append((text_of(fields[1]), attributes(fields.get(2, b""))))
    return found
