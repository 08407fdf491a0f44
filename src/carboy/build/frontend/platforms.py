"""Platforms in one form: `linux/amd64`, `linux/arm/v7`."""

from __future__ import annotations

import re

from carboy.errors import InvalidArgument

_ARCHITECTURES = {
    "x86_64": ("amd64", ""), "x86-64": ("amd64", ""), "aarch64": ("arm64", ""), "i386": ("386", ""),
    "i486": ("386", ""), "i586": ("386", ""), "i686": ("386", ""), "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}  # fmt: skip
_UNDERSTOOD = frozenset((("arm64", "8"), ("arm64", "v8"), ("amd64", "v1")))
_SYSTEMS = {"macos": "darwin"}
_PIECE = re.compile(r"[A-Za-z0-9_.()+-]+")
_KNOWN = frozenset(
    ("386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x", "wasm")
) | frozenset(_ARCHITECTURES)


def read_platform(unsafe_text: str) -> str:
    """A platform that a request names, in its one spelling; raises InvalidArgument."""
    pieces = unsafe_text.split("/")
    if not 1 <= len(pieces) <= 3 or not all(_PIECE.fullmatch(piece) for piece in pieces):
        raise InvalidArgument(
            f'"{unsafe_text[:80]}" is no platform: '
            "say os/architecture or os/architecture/variant, as linux/arm64"
        )
    return normalized(unsafe_text)


def normalized(platform: str) -> str:
    """One spelling of a platform: other names of architectures and usual variants replaced."""
    pieces = platform.lower().split("/")
    if len(pieces) == 1:
        # Only the architecture, or only the system: the rest is what it usually is.
        pieces = ["linux", pieces[0]] if pieces[0] in _KNOWN else [pieces[0], "amd64"]
    system, architecture, *rest = pieces
    variant = rest[0] if rest else ""
    architecture, usual = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or usual
    if architecture == "arm":
        variant = "v" + variant.removeprefix("v") if variant else "v7"
    elif (architecture, variant) in _UNDERSTOOD:
        variant = ""
    return "/".join(part for part in (_SYSTEMS.get(system, system), architecture, variant) if part)


def of_image(operating_system: str, architecture: str, variant: str) -> str:
    """The platform that an image's config names; empty when it names none."""
    if not (operating_system and architecture):
        return ""
    return normalized("/".join(part for part in (operating_system, architecture, variant) if part))
