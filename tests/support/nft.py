"""Rules of nftables as tests compare them, and a chain as others make it."""

from __future__ import annotations

from carboy.formats import nftables as nft
from carboy.formats.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    Request,
    attribute_list,
    attributes,
    text_of,
)


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


def new_chain(table: str, chain: str) -> Request:
    """Create a chain that rules jump to, as Docker has some: Carboy makes none."""
    body = nft.name_attribute(1, table) + nft.name_attribute(3, chain)
    return nft.request(nft.NEWCHAIN, NLM_F_ACK | NLM_F_CREATE, body, f"create chain {table} {chain}")
