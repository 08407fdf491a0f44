"""carboy context export.

The file holds the keys: keep it as secret as them.
"""

from __future__ import annotations

import os

from carboy.cli.context_ls import DESCRIPTION, default_host
from carboy.cli.flags import UsageError
from carboy.cli.session import write_all
from carboy.client import contexts, document
from carboy.formats.tar.entry import DIRECTORY, REGULAR, TarEntry
from carboy.formats.tar.writer import END, encode, padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "CONTEXT [FILE|-]"
FLAGS = ()
ARGUMENTS = (1, 2)
OFFLINE = True
EXAMPLES = """
carboy context export lab
carboy context export lab - | ssh other carboy context import lab -
"""


def main(session: Session, parsed: Parsed) -> int:
    """Write a tar of the context."""
    name = parsed.arguments[0]
    path = parsed.arguments[1] if len(parsed.arguments) > 1 else name + ".dockercontext"
    if path == "-" and os.isatty(1):
        raise UsageError("cowardly refusing to export to a terminal, specify a file path", 1)
    data = archive(session, name)
    if path == "-":
        write_all(1, data)
        return 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
    session.warn(f"Written file {contexts.quoted(path)}")
    return 0


def archive(session: Session, name: str) -> bytes:
    """meta.json and tls/docker/*.pem, in the layout of Docker's export."""
    if name == "default":
        host = {"Host": default_host(session), "SkipTLSVerify": False}
        found, tls = contexts.Context(name, {"Description": DESCRIPTION}, host), {}
    else:
        found = contexts.load(session.settings.directory, name)
        tls = found.tls_data()
    entries = [(TarEntry(b"meta.json", REGULAR), document.encode(found.document()))]
    if tls:
        entries += [(TarEntry(name, DIRECTORY, mode=0o700), b"") for name in (b"tls", b"tls/docker")]
    entries += [(TarEntry(b"tls/docker/" + name.encode(), REGULAR, mode=0o600), tls[name]) for name in tls]
    pieces = []
    for entry, data in entries:
        entry.size = len(data)
        pieces += [encode(entry), data, padding(len(data))]
    return b"".join([*pieces, END])
