"""API versions: what is served, and what a client with another one is told."""

from __future__ import annotations

from carboy.errors import InvalidArgument

Version = tuple[int, int]

MINIMUM: Version = (1, 24)
MAXIMUM: Version = (1, 51)


def text(version: Version) -> str:
    """`1.51`"""
    return f"{version[0]}.{version[1]}"


def split(path: str) -> tuple[Version, str]:
    """The version that a path asks for (the newest when it names none), and the path without it.

    The refusals' texts are Docker's: clients match on them.
    """
    if not path.startswith("/v") or path[2:3] not in "0123456789":
        return MAXIMUM, path
    word, slash, rest = path[2:].partition("/")
    major, dot, minor = word.partition(".")
    if not all(part.isdecimal() and part.isascii() and len(part) < 6 for part in (major, minor)) or not dot:
        return MAXIMUM, path  # `/vfoo` is a page that does not exist
    version = (int(major), int(minor))
    if version < MINIMUM:
        raise InvalidArgument(
            f"client version {word} is too old. Minimum supported API version is {text(MINIMUM)}, "
            "please upgrade your client to a newer version"
        )
    if version > MAXIMUM:
        raise InvalidArgument(
            f"client version {word} is too new. Maximum supported API version is {text(MAXIMUM)}"
        )
    return version, slash + rest
