"""Where a build's Dockerfile comes from: a directory, a file, standard input, a tar on it."""

from __future__ import annotations

import os

from carboy.errors import InvalidArgument, NotFound, Unsupported
from carboy.formats.dockerfile.source import DEFAULT_LIMITS
from carboy.formats.dockerignore import Ignore, clean, files_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "Dockerfile"
_GZIP = b"\x1f\x8b"
_OTHER_PACKED = (b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_REMOTE = ("http://", "https://", "git://", "git@", "ssh://", "github.com/")


class Source:
    """A Dockerfile, the name to show for it, and the patterns of its context."""

    __slots__ = ("dockerfile", "ignore", "name")

    def __init__(self, dockerfile: bytes, name: str, ignore: Ignore | None) -> None:
        self.dockerfile = dockerfile
        self.name = name
        self.ignore = ignore


def read(context: str, file: str) -> Source:
    """The Dockerfile of a context; `file` is the value of --file."""
    if context.startswith(_REMOTE) or context.endswith(".git"):
        raise Unsupported(f'context "{context}": --check reads no remote contexts: check a directory out')
    if context == "-":
        if file == "-":
            raise InvalidArgument("invalid argument: can't use stdin for both build context and dockerfile")
        return _from_stdin(file)
    if not os.path.isdir(context):
        state = "is no directory" if os.path.exists(context) else "not found"
        mend = f": for a Dockerfile write -f {context}, and its directory" if os.path.isfile(context) else ""
        raise NotFound(f'unable to prepare context: path "{context}" {state}{mend}')
    if file == "-":
        with open(0, "rb", closefd=False) as stream:
            return Source(_limited(stream.read, "standard input"), NAME, _ignore(context, ""))
    path = file or _default(context)
    return Source(_read(path, "dockerfile"), os.path.normpath(path), _ignore(context, path))


def _default(context: str) -> str:
    path = os.path.join(context, NAME)
    small = os.path.join(context, NAME.lower())
    return small if not os.path.lexists(path) and os.path.exists(small) else path


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return _limited(stream.read, path)
    except OSError as error:
        raise NotFound(f"failed to read {what}: open {path}: {error.strerror}") from error


def _limited(read: Callable[[int], bytes], name: str) -> bytes:
    data = read(DEFAULT_LIMITS.text + 1)
    if len(data) > DEFAULT_LIMITS.text:
        raise InvalidArgument(f"{name} is larger than {DEFAULT_LIMITS.text} bytes: it is no Dockerfile")
    return data


def _ignore(context: str, dockerfile: str) -> Ignore | None:
    own, *_ = files_for(dockerfile)
    for path in ([own] if dockerfile else []) + [os.path.join(context, files_for("")[0])]:
        if os.path.exists(path):
            return Ignore.parse(_read(path, "the patterns").decode("utf-8", "surrogateescape"))
    return None


def _from_stdin(file: str) -> Source:
    """Standard input is a context in a tar, or, when it is text, the Dockerfile itself."""
    with open(0, "rb", closefd=False) as stream:
        head = stream.peek(512)
        if head.startswith(_OTHER_PACKED):
            raise Unsupported("a context on standard input may be a tar or a tar.gz")
        if head.startswith(_GZIP):
            import gzip

            return _from_tar(gzip.GzipFile(fileobj=stream).read, file)
        if head[257:262] == b"ustar" or b"\0" in head:
            return _from_tar(stream.read, file)
        return Source(_limited(stream.read, "standard input"), NAME, None)


def _from_tar(read: Callable[[int], bytes], file: str) -> Source:
    from carboy.formats.tar.entry import REGULAR
    from carboy.formats.tar.reader import ForwardReader, scan

    wanted = clean(file or NAME).removeprefix("/")
    names = (wanted, *files_for(wanted))
    found: dict[str, bytes] = {}
    reader = ForwardReader(read)
    for entry in scan(reader):
        name = clean(os.fsdecode(entry.unsafe_path)).removeprefix("/")
        if name in names and entry.kind == REGULAR:
            if entry.size > DEFAULT_LIMITS.text:
                raise InvalidArgument(f"{name} is larger than {DEFAULT_LIMITS.text} bytes")
            found[name] = reader(entry.data_offset, entry.size)
    if wanted not in found:
        raise NotFound(f"failed to read dockerfile: open {wanted}: it is not in the context")
    for name in files_for(wanted):
        if name in found:
            return Source(found[wanted], wanted, Ignore.parse(found[name].decode("utf-8", "surrogateescape")))
    return Source(found[wanted], wanted, None)
