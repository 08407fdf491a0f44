"""carboy context update.

What is not named stays as it is; --docker replaces the whole endpoint.
"""

from __future__ import annotations

from carboy.cli import contextfields
from carboy.client import contexts
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTEXT"
FLAGS = (
    ("description", "", "string", "What it is for"),
    ("docker", "", "list", "The endpoint: host=URL,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=BOOL"),
)
ARGUMENTS = (1, 1)
OFFLINE = True
EXAMPLES = """
carboy context update lab --docker host=ssh://me@lab2.example
"""


def main(session: Session, parsed: Parsed) -> int:
    """Change a stored context."""
    name, root = parsed.arguments[0], session.settings.directory
    if name == "default":
        raise InvalidArgument('"default" is a reserved context name')
    found = contexts.load(root, name)
    tls = found.tls_data()
    if parsed.given("docker"):
        found.endpoint, tls = contextfields.endpoint(session, parsed.list("docker"))
    if parsed.given("description"):
        found.metadata = {**found.metadata, "Description": parsed.text("description")}
    contexts.save(root, found, tls, new=False)
    session.out(name)
    session.warn(f"Successfully updated context {contexts.quoted(name)}")
    return 0
