"""Sources of ADD that are not files: addresses and git repositories, as BuildKit tells them apart.

https://example.org/data.csv                  a file
https://example.org/project.git#v1:docs       a repository: its path ends with .git
git://…  ssh://…  git@example.org:project     a repository, whatever its path
….git?ref=v1&subdir=docs&keep-git-dir=true    the same by a query
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from carboy.errors import InvalidArgument
from carboy.formats.dockerfile.runflags import FlagError, read_bool
from carboy.formats.dockerfile.source import suggestion

_SCP = re.compile(r"([a-zA-Z0-9_-]+)@([a-zA-Z0-9.-]+):([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_SCHEME = re.compile(r"(https?|ssh|git)://", re.ASCII)
_CREDENTIALS = re.compile(r"\b(https?|git|ssh|ftp)://([^/\s]*)@")  # to the last @: passwords may hold some
_UNNAMED = "__unnamed__"
_KEYS = ("ref", "tag", "branch", "subdir", "checksum", "commit", "keep-git-dir", "submodules")
_SWITCHES = ("keep-git-dir", "submodules")


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A git source."""

    url: str
    """Without query and fragment; credentials are still in it."""
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool = True


def is_http(source: str) -> bool:
    """Whether it is fetched as a file, unless it is a repository."""
    return source.startswith(("http://", "https://"))


def file_name(url: str) -> str:
    """What a fetched file is called when the destination is a directory."""
    try:
        name = unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]
    except ValueError:
        return _UNNAMED
    return _UNNAMED if name in ("", ".", "..") or "\0" in name or "/" in name else name


def read_repository(source: str) -> Repository | None:
    """The repository that a source is, or None; raises InvalidArgument for one that means nothing."""
    scheme = _SCHEME.match(source)
    if scheme is None:
        match = _SCP.fullmatch(source)
        if match is None:
            return None
        user, host, path, query, fragment = match.groups()
        return _read(f"{user}@{host}:{path}", query or "", fragment or "")
    try:
        parts = urlsplit(source)
    except ValueError:
        return None
    if scheme[1] in ("http", "https") and not parts.path.endswith(".git"):
        return None
    return _read(f"{parts.scheme}://{parts.netloc}{parts.path}", parts.query, parts.fragment)


def _read(url: str, query: str, fragment: str) -> Repository:
    ref, _, subdir = unquote(fragment).partition(":")
    values = _query(query)
    ref = _agreed("ref", ref, values.get("ref", ""))
    subdir = _agreed("subdir", subdir, values.get("subdir", ""))
    if "tag" in values and "branch" in values:
        raise InvalidArgument("branch conflicts with tag")
    for key, prefix in (("tag", "refs/tags/"), ("branch", "refs/heads/")):
        if key in values:
            ref = _agreed("ref", ref, prefix + values[key].removeprefix(prefix))
    checksum = values.get("checksum", "") or values.get("commit", "")
    if ".." in subdir.split("/"):
        raise InvalidArgument(f"the subdirectory {subdir!r} leads out of the repository")
    return Repository(
        url=url,
        ref=ref or checksum,
        subdir=subdir,
        checksum=checksum,
        keep_git_dir=_switch("keep-git-dir", values),
        submodules=_switch("submodules", values) is not False,
    )


def _query(query: str) -> dict[str, str]:
    values: dict[str, str] = {}
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=2 * len(_KEYS))
    except ValueError as error:
        raise InvalidArgument("the address of a repository has too many fields") from error
    for key, value in fields:
        if key not in _KEYS:
            raise InvalidArgument(f'unexpected query "{key}"{suggestion(key, _KEYS)}')
        if key in values:
            raise InvalidArgument(f'query "{key}" has multiple values')
        if not value and key not in _SWITCHES:
            raise InvalidArgument(f'query "{key}" has no value')
        values[key] = value
    return values


def _agreed(what: str, one: str, other: str) -> str:
    if one and other and one != other:
        raise InvalidArgument(f'{what} conflicts: "{one}" vs "{other}"')
    return one or other


def _switch(key: str, values: dict[str, str]) -> bool | None:
    if key not in values:
        return None
    try:
        return read_bool(key, values[key]) if values[key] else True
    except FlagError as error:
        raise InvalidArgument(f'invalid {key} value: "{values[key]}"') from error


def redacted(text: str) -> str:
    """Text in which no address holds credentials; a plain user name of ssh stays."""
    return _CREDENTIALS.sub(_hide, text) if "@" in text else text


def _hide(match: re.Match[str]) -> str:
    user, colon, _ = match[2].partition(":")
    if match[1] == "ssh":
        return f"ssh://{user}:xxxxx@" if colon else match[0]
    return f"{match[1]}://xxxxx{':xxxxx' if colon else ''}@"
