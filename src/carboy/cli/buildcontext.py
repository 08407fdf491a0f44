"""The contexts of a build: handed over by descriptor to a daemon of this machine, else sent as tars.

    PATH                 a directory: its descriptor, or its tar less what .dockerignore keeps out
    -                    a tar on standard input, or a Dockerfile there (the context is empty)
    https://… git@…      the daemon fetches it
    docker-image://…     an image (named contexts only)

`Given` says what goes into the body of `POST /build/begin`, and what follows as a tar.
"""

from __future__ import annotations

import os
import stat
from binascii import b2a_base64

from carboy.errors import InvalidArgument, NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carboy.client.document import Json

NAME = "Dockerfile"
MAX_DOCKERFILE = 4 << 20
_URLS = ("http://", "https://", "git://", "git@", "ssh://", "github.com/")
_IMAGE = "docker-image://"
_HEAD = 512
_READ = 1 << 20


class Given:
    """The contexts of one build; what they hold open is closed by `close`."""

    def __init__(self) -> None:
        self.document: Json = {}
        """Fields of `POST /build/begin`."""
        self.dockerfile = ""
        """The Dockerfile's path within the context, for `POST /build`."""
        self.remote = ""
        self.shown = NAME
        """What people call the Dockerfile."""
        self.tars: dict[str, Callable[[], Iterator[bytes]]] = {}
        """By context: what has to be sent."""
        self._open: list[int] = []
        self._near: list[tuple[str, Json, Callable[[], Iterator[bytes]]]] = []

    def hand_over(self, name: str, document: Json, tar: Callable[[], Iterator[bytes]]) -> None:
        """A context that the daemon gets by descriptor, or, if it will not have that, as a tar."""
        self._near.append((name, document, tar))

    def send_all(self) -> None:
        """The daemon takes no descriptors: everything is sent."""
        for name, context, tar in self._near:
            context["Kind"] = "archive"
            context.pop("Descriptor", None)
            self.tars[name] = tar
        self._near.clear()

    def keep(self, descriptor: int) -> int:
        """Hold a descriptor open until the build has ended."""
        self._open.append(descriptor)
        return descriptor

    def close(self) -> None:
        """Let go of everything."""
        while self._open:
            os.close(self._open.pop())


def gather(context: str, file: str, named: list[str], *, near: bool) -> Given:
    """Find all contexts; `near`: the daemon may be given descriptors of ours."""
    given = Given()
    try:
        if context == "-":
            _from_stdin(given, file)
        elif _is_url(context):
            given.document["Context"] = {"Kind": "remote", "Url": context}
            given.remote, given.dockerfile = context, "" if file == "-" else file
            given.shown = file or NAME
            if file == "-":
                given.document["Dockerfile"] = encoded(_limited(0, "standard input"))
        else:
            _from_directory(given, context, file)
        for one in named:
            _named(given, one)
        if not near:
            given.send_all()
    except BaseException:
        given.close()
        raise
    return given


def _is_url(context: str) -> bool:
    """Whether the daemon is to fetch it."""
    return context.startswith(_URLS) or (context.endswith(".git") and not os.path.isdir(context))


def encoded(data: bytes) -> str:
    """Bytes as they go into a document."""
    return b2a_base64(data, newline=False).decode()


def _from_directory(given: Given, context: str, file: str) -> None:
    _require_directory(context)
    given.shown = os.path.normpath(file) if file and file != "-" else NAME
    inside = _inside(context, file)
    if inside is not None:
        given.dockerfile = inside
        given.shown = inside or _default(context)
    elif file == "-":
        given.document["Dockerfile"] = encoded(_limited(0, "standard input"))
        given.shown = "-"
    else:
        given.document["Dockerfile"] = encoded(read(file))
        given.document["DockerfilePath"] = os.path.abspath(file)
        beside = file + ".dockerignore"
        if os.path.exists(beside):
            given.document["Ignore"] = encoded(read(beside))
    if inside is not None and not os.path.exists(path := os.path.join(context, inside or _default(context))):
        mend = "" if file else _elsewhere(context)
        raise NotFound(f"failed to read dockerfile: open {path}: no such file or directory{mend}")
    if file and file != "-" and os.path.isdir(file):
        raise InvalidArgument(f"failed to read dockerfile: {file} is a directory: -f names the file in it")
    given.document["Context"] = _directory(given, "", context, given.dockerfile)


def _named(given: Given, unsafe_text: str) -> None:
    name, equals, value = unsafe_text.partition("=")
    if not equals or not name or not value:
        raise InvalidArgument(f'invalid --build-context "{unsafe_text}": write NAME=PATH, or NAME=URL')
    contexts = given.document.setdefault("Contexts", {})
    if value.startswith(_IMAGE):
        contexts[name] = {"Kind": "image", "Reference": value.removeprefix(_IMAGE)}
    elif value.startswith("oci-layout://"):
        raise Unsupported(
            f'--build-context "{unsafe_text}": OCI layouts are no contexts yet: `carboy load` it and write '
            f"{name}=docker-image://REFERENCE"
        )
    elif _is_url(value):
        contexts[name] = {"Kind": "remote", "Url": value}
    elif os.path.isdir(value):
        contexts[name] = _directory(given, name, value, "")
    else:
        raise NotFound(f'unable to prepare context "{name}": path "{value}" not found')


def _directory(given: Given, name: str, path: str, dockerfile: str) -> Json:
    descriptor = given.keep(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    ignore = given.document.get("Ignore", "") if not name else ""
    found: Json = {"Kind": "directory", "Descriptor": descriptor, "Path": os.path.realpath(path)}
    given.hand_over(name, found, lambda: _packed(path, descriptor, dockerfile, ignore))
    return found


def _packed(path: str, descriptor: int, dockerfile: str, ignore: str) -> Iterator[bytes]:
    from carboy.cli import buildpack  # only here: matching and tars cost milliseconds

    return buildpack.pack_context(path, descriptor, dockerfile, ignore)


def _from_stdin(given: Given, file: str) -> None:
    """A tar, or, when it is text, the Dockerfile."""
    if file == "-":
        raise InvalidArgument("invalid argument: can't use stdin for both build context and dockerfile")
    if os.isatty(0):
        raise InvalidArgument("a build from - reads a tar or a Dockerfile: redirect a file to standard input")
    regular = stat.S_ISREG(os.fstat(0).st_mode)
    begin = os.lseek(0, 0, os.SEEK_CUR) if regular else 0
    head = _at_least(0, _HEAD)
    if not _is_archive(head):
        rest = _limited(0, "standard input", MAX_DOCKERFILE - len(head))
        given.document["Dockerfile"] = encoded(head + rest)
        given.document["Empty"] = True
        given.shown = "-"
        return
    given.dockerfile = file
    given.shown = file or NAME
    if regular:
        os.lseek(0, begin, os.SEEK_SET)
        head = b""
    given.document["Context"] = {"Kind": "archive"}
    if regular and begin == 0:
        given.document["Context"]["Descriptor"] = 0
        given.hand_over("", given.document["Context"], lambda: _stream(head))
    else:
        given.tars[""] = lambda: _stream(head)


def _is_archive(head: bytes) -> bool:
    packed = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
    return head.startswith(packed) or head[257:262] == b"ustar" or b"\0" in head


def _stream(head: bytes) -> Iterator[bytes]:
    yield head
    while data := os.read(0, _READ):
        yield data


def _at_least(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


def _require_directory(context: str) -> None:
    if not os.path.isdir(context):
        state = "is no directory" if os.path.exists(context) else "not found"
        mend = f": for a Dockerfile write -f {context}, and its directory" if os.path.isfile(context) else ""
        raise NotFound(f'unable to prepare context: path "{context}" {state}{mend}')


def _inside(context: str, file: str) -> str | None:
    """The path of the Dockerfile within the context, "" for the default one; None when it is elsewhere."""
    if not file:
        return ""
    if file == "-":
        return None
    path = os.path.abspath(file)
    # Where its directory really is counts, as for the daemon; the file itself may be a link there.
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    found = os.path.relpath(real, os.path.realpath(context))
    if found.startswith("../"):
        return None
    if os.path.islink(real) and os.path.relpath(os.path.realpath(real), os.path.realpath(context)).startswith(
        "../"
    ):
        return None
    return found


def _default(context: str) -> str:
    small = NAME.lower()
    have = os.path.lexists(os.path.join(context, NAME)) or not os.path.exists(os.path.join(context, small))
    return NAME if have else small


def _elsewhere(context: str) -> str:
    """What can be done, and what could be meant."""
    with os.scandir(context) as entries:
        found = sorted(
            entry.name
            for entry in entries
            if any(word in entry.name.lower() for word in ("dockerfile", "containerfile"))
            and not entry.name.endswith(".dockerignore")
        )
    here = f"; here is {', '.join(found[:3])}{', …' if len(found) > 3 else ''}" if found else ""
    return f": -f names a Dockerfile that is called otherwise or is elsewhere{here}"


def read(path: str) -> bytes:
    """A Dockerfile, or the patterns beside one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"failed to read dockerfile: open {path}: {(error.strerror or '').lower()}") from error
    try:
        return _limited(descriptor, path)
    finally:
        os.close(descriptor)


def _limited(descriptor: int, name: str, most: int = MAX_DOCKERFILE) -> bytes:
    data = _at_least(descriptor, most + 1)
    if len(data) > most:
        raise InvalidArgument(f"{name} is larger than {MAX_DOCKERFILE} bytes: it is no Dockerfile")
    return data
