"""The words for namespaces: `bridge`, `host`, `none`, `container:NAME`."""

from __future__ import annotations

from carboy.formats.dockerapi.containers import HostConfig


def network_mode(host: HostConfig) -> str:
    """`bridge`, `host`, `none` or `container:<ref>`."""
    mode = host.network_mode or "default"
    return "bridge" if mode in ("default", "bridge") else mode


def network_id(name: str) -> str:
    """The constant id of a built-in network: 64 hexadecimal digits, recognisable by eye."""
    return name.encode().hex().ljust(64, "0")[:64]


def joined(mode: str) -> str | None:
    """The container in `container:<ref>`, None for any other mode."""
    kind, _, reference = mode.partition(":")
    return reference if kind == "container" else None
