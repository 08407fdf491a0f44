"""carboy context create.

A context is a name for a daemon; Docker sees the same ones.  Keys of --docker: host, ca, cert,
key (files), skip-tls-verify, from (another context).
"""

from __future__ import annotations

from carboy.cli import contextfields
from carboy.client import contexts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTEXT"
FLAGS = (
    ("description", "", "string", "What it is for"),
    ("docker", "", "list", "The endpoint: host=URL,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=BOOL"),
    ("from", "", "string", "Make it as another context"),
)
ARGUMENTS = (1, 1)
OFFLINE = True
EXAMPLES = """
carboy context create lab --docker host=ssh://me@lab.example
carboy context create ci --description "build machine" \\
    --docker host=tcp://ci:2376,ca=ca.pem,cert=cert.pem,key=key.pem
"""


def main(session: Session, parsed: Parsed) -> int:
    """Store the context; its name is printed."""
    name = contexts.check_name(parsed.arguments[0])
    root, source = session.settings.directory, parsed.text("from")
    description = parsed.text("description")
    if parsed.given("docker"):
        endpoint, tls = contextfields.endpoint(session, parsed.list("docker"))
    else:
        endpoint, tls = contextfields.copied(session, source or "default")
        if source and source != "default" and not description:
            description = contexts.load(root, source).description
    metadata = {"Description": description} if description else {}
    contexts.save(root, contexts.Context(name, metadata, endpoint, root=root), tls, new=True)
    session.out(name)
    session.warn(f"Successfully created context {contexts.quoted(name)}")
    return 0
