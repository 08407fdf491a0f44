"""Named daemons, in Docker's own store: what one program makes, the other sees.

    <config>/contexts/meta/<sha256 of the name>/meta.json
        {"Name": ..., "Metadata": {"Description": ...},
         "Endpoints": {"docker": {"Host": ..., "SkipTLSVerify": ...}}}
    <config>/contexts/tls/<sha256 of the name>/docker/{ca,cert,key}.pem

Names are plain words, so nothing in them can lead out of the store.
"""

from __future__ import annotations

import os
from hashlib import sha256

from carboy.client import address, config, document
from carboy.errors import CarboyError, Conflict, Corrupt, InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.address import Address
    from carboy.client.document import Json

TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
MAX_FILE = 1 << 20
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


class ContextNotFound(NotFound):
    """There is no context of this name."""


class Context:
    """One stored context; `tls` maps the names of TLS_FILES to their bytes."""

    def __init__(self, name: str, metadata: Json, endpoint: Json, *, root: str = "") -> None:
        self.name = name
        self.metadata = metadata
        self.endpoint = endpoint
        self.meta_path, self.tls_path = paths(root, name)
        self.tls: dict[str, bytes] | None = None

    @property
    def description(self) -> str:
        return document.text(self.metadata, "Description")

    @property
    def host(self) -> str:
        return document.text(self.endpoint, "Host")

    @property
    def skip_verify(self) -> bool:
        return document.flag(self.endpoint, "SkipTLSVerify")

    def document(self) -> Json:
        """As meta.json has it."""
        return {"Name": self.name, "Metadata": self.metadata, "Endpoints": {"docker": self.endpoint}}

    def tls_files(self) -> list[str]:
        """Which TLS files the context has."""
        return [name for name in TLS_FILES if os.path.exists(f"{self.tls_path}/docker/{name}")]

    def tls_data(self) -> dict[str, bytes]:
        """The TLS files themselves."""
        return {name: read(f"{self.tls_path}/docker/{name}") for name in self.tls_files()}

    def address(self) -> Address:
        """Where its daemon is."""
        files = {name: f"{self.tls_path}/docker/{name}" for name in self.tls_files()}
        tls = None
        if files or self.skip_verify:
            ca, cert, key = (files.get(name, "") for name in TLS_FILES)
            tls = address.Tls(ca=ca, cert=cert, key=key, verify=not self.skip_verify)
        if not self.host:
            raise InvalidArgument(f"context {quoted(self.name)} has no docker endpoint")
        return address.parse(self.host, tls)


def quoted(name: str) -> str:
    """A name as Docker's messages show it."""
    return document.scalar(name)


def check_name(unsafe_name: str) -> str:
    """A name that may be given to a new context."""
    if unsafe_name == "default":
        raise InvalidArgument('"default" is a reserved context name')
    plain = (
        len(unsafe_name) > 1 and unsafe_name[0] in _LETTERS and _LETTERS.union("_.+-").issuperset(unsafe_name)
    )
    if not plain:
        raise InvalidArgument(
            f"context name {quoted(unsafe_name)} is invalid, names are validated against regexp "
            '"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"'
        )
    return unsafe_name


def paths(root: str, name: str) -> tuple[str, str]:
    """The two directories of a context."""
    key = sha256(os.fsencode(name)).hexdigest()
    return f"{root}/contexts/meta/{key}", f"{root}/contexts/tls/{key}"


def exists(root: str, name: str) -> bool:
    """Whether there is a context of this name."""
    return os.path.exists(paths(root, name)[0] + "/meta.json")


def load(root: str, name: str) -> Context:
    """The context of this name."""
    path = paths(root, name)[0] + "/meta.json"
    try:
        data = read(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ContextNotFound(
            f"context {quoted(name)}: context not found: open {path}: no such file or directory"
        ) from error
    return parse(data, path, root)


def parse(data: bytes, path: str, root: str) -> Context:
    """A context from the bytes of its meta.json."""
    try:
        found = document.as_object(document.decode(data))
    except CarboyError as error:
        raise Corrupt(f"parsing {path}: it is not a JSON object") from error
    endpoint = document.child(document.child(found, "Endpoints"), "docker")
    return Context(document.text(found, "Name"), document.child(found, "Metadata"), endpoint, root=root)


def every(root: str) -> list[Context]:
    """All contexts, by name."""
    try:
        keys = os.listdir(root + "/contexts/meta")
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for key in keys:
        path = f"{root}/contexts/meta/{key}/meta.json"
        try:
            found.append(parse(read(path), path, root))
        except (FileNotFoundError, NotADirectoryError):
            continue
    return sorted(found, key=lambda context: context.name)


def save(root: str, context: Context, tls: dict[str, bytes], *, new: bool) -> None:
    """Write a context: its keys first, so that it appears whole; nobody else may read the keys."""
    context.meta_path, context.tls_path = paths(root, context.name)
    if new and exists(root, context.name):
        raise Conflict(f"context {quoted(context.name)} already exists")
    folder = context.tls_path + "/docker"
    if tls:
        os.makedirs(folder, 0o700, exist_ok=True)
    for name in TLS_FILES:
        if name in tls:
            config.replace(f"{folder}/{name}", tls[name], 0o600)
        elif os.path.exists(f"{folder}/{name}"):
            os.unlink(f"{folder}/{name}")
    os.makedirs(context.meta_path, 0o755, exist_ok=True)
    config.replace(context.meta_path + "/meta.json", document.encode(context.document()), 0o644)


def remove(root: str, name: str) -> None:
    """Forget a context and its keys."""
    meta, tls = paths(root, name)
    if not exists(root, name):
        raise ContextNotFound(f"context {quoted(name)} does not exist")
    os.unlink(meta + "/meta.json")
    _remove_directory(meta)
    for file in TLS_FILES:
        try:
            os.unlink(f"{tls}/docker/{file}")
        except FileNotFoundError:
            pass
    _remove_directory(tls + "/docker")
    _remove_directory(tls)


def _remove_directory(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass  # absent, or it holds what is not ours


def read(path: str) -> bytes:
    """A small file, whole."""
    with open(path, "rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise InvalidArgument(f"{path}: larger than {MAX_FILE} bytes")
    return data
