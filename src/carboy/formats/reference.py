"""Names of images, as people write them and as they are meant.

    busybox                 docker.io/library/busybox:latest
    user/app:1.0            docker.io/user/app:1.0
    localhost:5000/a/b      localhost:5000/a/b:latest
    reg.example/x@sha256:…  by digest

The *familiar* form (left) leaves out what is understood; the *canonical* one (right) is what
is stored.  The grammar is that of the distribution project (`reference/reference.go`), with
sha256 as the only digest; the texts of its errors are those that Docker's clients show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from carboy.digest import Digest
from carboy.errors import InvalidArgument

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"

_OFFICIAL = "library/"
_LEGACY_DOMAIN = "index.docker.io"
_LONGEST_NAME = 255
_LONGEST_TEXT = 1024

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_ID_PREFIX = re.compile(r"(?:sha256:)?([a-f0-9]{1,64})")


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A parsed name: which repository, and perhaps which tag or digest in it."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def repository(self) -> str:
        """The canonical repository: `docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """The repository as people write it: `busybox`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        bare = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in bare else bare

    @property
    def familiar(self) -> str:
        """The whole name as people write it: `busybox:latest`."""
        return self.familiar_repository + self._suffix()

    def __str__(self) -> str:
        return self.repository + self._suffix()

    def tagged(self) -> Reference:
        """The same with the tag `latest`, when there is neither tag nor digest."""
        if self.tag is None and self.digest is None:
            return replace(self, tag=DEFAULT_TAG)
        return self

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{tag}@{self.digest}" if self.digest is not None else tag


def parse(unsafe_text: str) -> Reference:
    """A reference in any form; raises InvalidArgument with Docker's words."""
    if len(unsafe_text) > _LONGEST_TEXT:
        raise InvalidArgument(f"invalid reference format: more than {_LONGEST_TEXT} characters")
    if _IDENTIFIER.fullmatch(unsafe_text):
        raise InvalidArgument(
            f"invalid repository name ({unsafe_text}), cannot specify 64-byte hexadecimal strings"
        )
    name, at, digest_text = unsafe_text.partition("@")
    digest = _digest(digest_text, unsafe_text) if at else None
    # A colon after the last slash begins a tag; before it, it begins a port.
    slash = name.rfind("/")
    colon = name.find(":", slash + 1)
    tag = None
    if colon >= 0:
        name, tag = name[:colon], parse_tag(name[colon + 1 :])
    domain, path = _split_domain(name)
    _check(domain, path, unsafe_text)
    return Reference(domain, path, tag, digest)


def parse_tag(unsafe_tag: str) -> str:
    """The tag itself, when it is one."""
    if not _TAG.fullmatch(unsafe_tag):
        raise InvalidArgument(f"invalid reference format: invalid tag {unsafe_tag[:128]!r}")
    return unsafe_tag


def parse_repository(unsafe_name: str, unsafe_tag: str = "") -> Reference:
    """A repository and a tag given apart, as the API's `repo` and `tag`; always tagged.

    A tag inside the repository's name counts when none is given beside it.
    """
    reference = parse(unsafe_name)
    if reference.digest is not None:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    if unsafe_tag:
        reference = replace(reference, tag=parse_tag(unsafe_tag))
    return reference.tagged()


def id_prefix(unsafe_text: str) -> str | None:
    """The hexadecimal digits, when `unsafe_text` can be an image ID or the beginning of one."""
    match = _ID_PREFIX.fullmatch(unsafe_text)
    return match.group(1) if match else None


def _digest(text: str, whole: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid reference format: {whole[:300]!r}: {error}") from error


def _split_domain(name: str) -> tuple[str, str]:
    """(domain, path) with defaults: what is before the first slash, when it looks like a host."""
    first, slash, rest = name.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first.lower() != first
    if not slash or not is_host:
        first, rest = DEFAULT_DOMAIN, name
    if first == _LEGACY_DOMAIN:
        first = DEFAULT_DOMAIN
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = _OFFICIAL + rest
    return first, rest


def _check(domain: str, path: str, whole: str) -> None:
    if len(path) > _LONGEST_NAME or len(domain) > _LONGEST_NAME:
        raise InvalidArgument(f"repository name must not be more than {_LONGEST_NAME} characters")
    if _DOMAIN.fullmatch(domain) and _PATH.fullmatch(path):
        return
    if _PATH.fullmatch(path.lower()) and path.isascii():
        raise InvalidArgument(f"invalid reference format: repository name ({path}) must be lowercase")
    raise InvalidArgument(f"invalid reference format: {whole[:300]!r}")
