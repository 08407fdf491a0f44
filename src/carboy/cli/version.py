"""carboy version."""

from __future__ import annotations

import os
import sys

from carboy import __version__
from carboy.client import document
from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

USAGE = "[OPTIONS]"
FLAGS = (("format", "f", "string", "Print by a Go template, or json"),)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy version
carboy version -f '{{.Server.Version}}'
"""


def main(session: Session, parsed: Parsed) -> int:
    """Print both versions; the client's also when no daemon answers."""
    python = ".".join(map(str, sys.version_info[:3]))
    client: Json = {
        "Version": __version__,
        "ApiVersion": "1.51",
        "DefaultAPIVersion": "1.51",
        "PythonVersion": python,
        "Os": sys.platform,
        "Arch": os.uname().machine,
        "Context": session.context,
    }
    failure: CarboyError | None = None
    server: Json | None = None
    try:
        server = session.client.get_object("/version")
    except CarboyError as error:
        failure = error
    template = parsed.text("format")
    if template:
        from carboy.cli.inspect import show_one

        show_one(session, {"Client": client, "Server": server}, template)
    else:
        session.out("Client: Carboy\n" + _lines(client))
        if server is not None:
            name = document.text(document.child(server, "Platform"), "Name") or "Engine"
            session.out(f"\nServer: {name}\n" + _lines(server))
    if failure is not None:
        raise failure
    return 0


_NAMES = (
    ("Version", "Version"),
    ("ApiVersion", "API version"),
    ("MinAPIVersion", "Minimum API version"),
    ("PythonVersion", "Python version"),
    ("GoVersion", "Go version"),
    ("GitCommit", "Git commit"),
    ("KernelVersion", "Kernel"),
    ("Os", "OS"),
    ("Arch", "Architecture"),
    ("Context", "Context"),
)


def _lines(facts: Json) -> str:
    return "\n".join(f" {name + ':':21}{facts[key]}" for key, name in _NAMES if facts.get(key))
