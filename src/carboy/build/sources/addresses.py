"""Addresses in builds: what is refused in them, and what of them is shown.  Pure.

`frontend/addresses.py` takes them apart.  They may hold credentials; `shown` has none.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

from carboy.errors import InvalidArgument

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ABBREVIATED = re.compile(r"[0-9a-f]{7,40}")


def checked_ref(unsafe_ref: str) -> str:
    """A branch, tag or commit that can be one."""
    if (
        len(unsafe_ref) > 1024
        or unsafe_ref.startswith(("-", "/"))
        or ".." in unsafe_ref
        or any(one in unsafe_ref for one in " ~^:?*[\\")
        or not unsafe_ref.isprintable()
    ):
        raise InvalidArgument(f"invalid git ref {unsafe_ref[:80]!r}: name a branch, a tag or a commit")
    return unsafe_ref


def checked_subdir(unsafe_path: str) -> str:
    """A directory below the repository's root, no slashes at its ends; one that leaves it is refused."""
    if not unsafe_path or unsafe_path in (".", "/"):
        return ""
    parts = [part for part in unsafe_path.split("/") if part not in ("", ".")]
    if unsafe_path.startswith("/") or ".." in parts or "\0" in unsafe_path or "\\" in unsafe_path:
        raise InvalidArgument(f"invalid subdirectory {unsafe_path[:200]!r} of a repository: it leaves it")
    return "/".join(parts)


def is_commit(text: str) -> bool:
    """Whether it is a whole commit id."""
    return _COMMIT.fullmatch(text) is not None


def may_abbreviate(text: str) -> bool:
    """Whether it can be the beginning of a commit id."""
    return _ABBREVIATED.fullmatch(text) is not None


def shown(url: str) -> str:
    """An address without credentials (and without what only is one: `user:password@`, `token@`)."""
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"
    at = parts.netloc.rpartition("@")
    if not at[1]:
        return url
    user = at[0].partition(":")[0]
    netloc = f"{user}@{at[2]}" if parts.scheme == "ssh" and user else at[2]
    return urlunsplit(parts._replace(netloc=netloc))


def scrub(text: str, url: str) -> str:
    """`text` (an error of a library, a server's line) without the credentials that `url` holds."""
    text = text.replace(url, shown(url))
    try:
        parts = urlsplit(url)
    except ValueError:
        return text
    secrets = (
        {parts.password or ""} if parts.scheme == "ssh" else {parts.password or "", parts.username or ""}
    )
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        for spelling in {secret, unquote(secret)}:
            text = text.replace(spelling, "xxxxx")
    return text
