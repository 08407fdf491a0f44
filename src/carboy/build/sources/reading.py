"""A file out of a build context, whatever it is: the Dockerfile, .dockerignore.

Paths are resolved by the kernel below the context's root (RESOLVE_IN_ROOT): links lead nowhere else.  Of an
archive or repository the layer that it became is mounted, so the same rule holds.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from carboy.build.operation import Filesystem, Value
from carboy.build.trees import LocalTree
from carboy.errors import InvalidArgument, NotFound, Unsupported
from carboy.formats.dockerfile.source import DEFAULT_LIMITS
from carboy.formats.dockerignore import Ignore, files_for
from carboy.linux.paths import open_in_root
from carboy.store.layers import LayerStore

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_IGNORE_LIMIT = 1 << 20
_NAMES = ("Dockerfile", "dockerfile")


@contextmanager
def root_of(value: Value, layers: LayerStore) -> Iterator[int | None]:
    """A descriptor of the root of a context; None when it is empty."""
    if isinstance(value, LocalTree):
        yield value.root
        return
    if not value.layers:
        yield None
        return
    if len(value.layers) > 1:
        raise Unsupported("an image cannot be the context that the Dockerfile is read from")
    mounted = layers.mount(value.layers[0])
    try:
        yield mounted
    finally:
        os.close(mounted)


def read_file(root: int | None, unsafe_path: str, *, limit: int) -> bytes | None:
    """A regular file's bytes; None when there is none of that name."""
    if root is None:
        return None
    try:
        descriptor = open_in_root(root, unsafe_path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        if error.errno in (errno.ENXIO, errno.ENAMETOOLONG):
            raise InvalidArgument(f"{unsafe_path[:200]!r} in the build context is no file") from None
        raise InvalidArgument(
            f"cannot read {unsafe_path[:200]!r} in the build context: {error.strerror}"
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidArgument(f"{unsafe_path[:200]!r} in the build context is no regular file")
        return _bounded(descriptor, unsafe_path, limit)
    finally:
        os.close(descriptor)


def read_dockerfile(value: Value, layers: LayerStore, unsafe_name: str = "") -> tuple[str, bytes]:
    """(the name it has, its bytes).  Without a name Dockerfile, else dockerfile."""
    names = (checked_path(unsafe_name),) if unsafe_name else _NAMES
    with root_of(value, layers) as root:
        for name in names:
            data = read_file(root, name, limit=4 * DEFAULT_LIMITS.text)
            if data is not None:
                return name, data
    raise NotFound(
        f"failed to read dockerfile: open {names[0]}: no such file or directory in the build context"
    )


def read_ignore(value: Value, layers: LayerStore, dockerfile_name: str = "") -> Ignore | None:
    """The patterns that keep files out of a context; the Dockerfile's own come first."""
    with root_of(value, layers) as root:
        for name in files_for(checked_path(dockerfile_name) if dockerfile_name else _NAMES[0]):
            data = read_file(root, name, limit=_IGNORE_LIMIT)
            if data is not None:
                return parse_ignore(data)
    return None


def parse_ignore(data: bytes) -> Ignore | None:
    """Patterns; None when there are none."""
    ignore = Ignore.parse(data.decode("utf-8", "surrogateescape"))
    return ignore if ignore.patterns else None


def checked_path(unsafe_path: str) -> str:
    """A path below the context's root, as Docker reads it: a leading slash means nothing."""
    parts: list[str] = []
    for part in unsafe_path.split("/"):
        if part == "..":
            if not parts:
                raise InvalidArgument(
                    f"forbidden path outside the build context: {unsafe_path[:200]} (of the Dockerfile)"
                )
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if not parts or "\0" in unsafe_path:
        raise InvalidArgument(f"invalid name {unsafe_path[:200]!r} of a Dockerfile")
    return "/".join(parts)


def is_empty(value: Value) -> bool:
    """Whether nothing at all is in it."""
    return isinstance(value, Filesystem) and not value.layers


def _bounded(descriptor: int, unsafe_path: str, limit: int) -> bytes:
    pieces, size = [], 0
    while data := os.read(descriptor, min(1 << 18, limit + 1 - size)):
        pieces.append(data)
        size += len(data)
        if size > limit:
            raise InvalidArgument(f"{unsafe_path[:200]!r} in the build context is larger than {limit} bytes")
    return b"".join(pieces)
