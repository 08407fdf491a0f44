"""carboy context inspect."""

from __future__ import annotations

import os

from carboy.cli.context_ls import default_host
from carboy.cli.inspect import show
from carboy.client import contexts, endpoint
from carboy.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

USAGE = "[OPTIONS] [CONTEXT...]"
FLAGS = (("format", "f", "string", "Print by a Go template, or json"),)
ARGUMENTS = (0, None)
OFFLINE = True
EXAMPLES = """
carboy context inspect lab
carboy context inspect -f '{{.Endpoints.docker.Host}}' lab
"""


def main(session: Session, parsed: Parsed) -> int:
    """Print the document of each context; without names, of the current one."""
    current = endpoint.context_name(session.wish, os.environ, session.settings)
    found: list[Json] = []
    code = 0
    for name in parsed.arguments or [current]:
        try:
            found.append(_document(session, name))
        except NotFound as error:
            session.fail(str(error))
            code = 1
    show(session, found, parsed.text("format"))
    return code


def _document(session: Session, name: str) -> Json:
    if name == endpoint.DEFAULT:
        one = contexts.Context(name, {}, {"Host": default_host(session), "SkipTLSVerify": False})
        files: list[str] = []
        one.meta_path = one.tls_path = "<IN MEMORY>"
    else:
        one = contexts.load(session.settings.directory, name)
        files = one.tls_files()
    return {
        **one.document(),
        "TLSMaterial": {"docker": files} if files else {},
        "Storage": {"MetadataPath": one.meta_path, "TLSPath": one.tls_path},
    }
