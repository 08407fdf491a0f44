"""carboy context import.

Reads what `context export` (Carboy's or Docker's) wrote: tar or zip.
"""

from __future__ import annotations

import os
import sys

from carboy.client import address, contexts
from carboy.errors import Corrupt, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "CONTEXT FILE|-"
FLAGS = ()
ARGUMENTS = (2, 2)
OFFLINE = True
EXAMPLES = """
carboy context import lab lab.dockercontext
"""
MAX_ARCHIVE = 10 << 20
_ALLOWED = ("meta.json", *("tls/docker/" + name for name in contexts.TLS_FILES))


def main(session: Session, parsed: Parsed) -> int:
    """Store the context of an archive under a name."""
    name, root = contexts.check_name(parsed.arguments[0]), session.settings.directory
    path = parsed.arguments[1]
    if path == "-":
        data = sys.stdin.buffer.read(MAX_ARCHIVE + 1)
    else:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            data = file.read(MAX_ARCHIVE + 1)
    if len(data) > MAX_ARCHIVE:
        raise InvalidArgument(f"{path}: larger than {MAX_ARCHIVE >> 20} MiB: this is no context")
    members = _members(data, path)
    if "meta.json" not in members:
        raise InvalidArgument(f"invalid context: {path} holds no meta.json")
    made = contexts.parse(members["meta.json"], f"{path}: meta.json", root)
    made.name = name
    if made.host:
        address.parse(made.host)
    tls = {member.rpartition("/")[2]: data for member, data in members.items() if member != "meta.json"}
    contexts.save(root, made, tls, new=True)
    session.out(name)
    session.warn(f"Successfully imported context {contexts.quoted(name)}")
    return 0


def _members(data: bytes, path: str) -> dict[str, bytes]:
    """The files that a context has; anything else in the archive is refused. Nothing is extracted."""
    try:
        found = _from_zip(data) if data[:2] == b"PK" else _from_tar(data)
    except (ValueError, EOFError) as error:
        raise InvalidArgument(f"{path}: cannot be read as a tar or zip archive: {error}") from error
    for unsafe_name in found:
        if unsafe_name not in _ALLOWED:
            raise InvalidArgument(f"{path}: {contexts.quoted(unsafe_name)} does not belong to a context")
    return found


def _from_tar(data: bytes) -> dict[str, bytes]:
    from carboy.formats.tar.entry import DIRECTORY, REGULAR
    from carboy.formats.tar.reader import scan

    found: dict[str, bytes] = {}
    try:
        for member in scan(lambda offset, size: data[offset : offset + size]):
            name = os.fsdecode(member.unsafe_path)
            if member.kind == DIRECTORY:
                continue
            if member.kind != REGULAR or member.segments is not None or member.size > contexts.MAX_FILE:
                raise ValueError(f"{name} is not a small regular file")
            found[name] = data[member.data_offset : member.data_offset + member.size]
    except Corrupt as error:
        raise ValueError(str(error)) from error
    return found


def _from_zip(data: bytes) -> dict[str, bytes]:
    import io
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if any(member.file_size > contexts.MAX_FILE for member in members):
                raise ValueError("a member is too large")
            return {member.filename: archive.read(member) for member in members}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error)) from error
