"""carboy context rm.

The one in use is kept without -f.
"""

from __future__ import annotations

import os

from carboy.cli.each import each
from carboy.client import config, contexts, endpoint
from carboy.errors import Conflict, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTEXT [CONTEXT...]"
FLAGS = (("force", "f", "bool", "Remove it although it is in use; a missing one is no error"),)
ARGUMENTS = (1, None)
OFFLINE = True
EXAMPLES = """
carboy context rm lab
"""


def main(session: Session, parsed: Parsed) -> int:
    """Forget contexts and their keys."""
    root, force = session.settings.directory, parsed.flag("force")
    current = endpoint.context_name(session.wish, os.environ, session.settings)

    def remove(name: str) -> None:
        if name == endpoint.DEFAULT:
            raise InvalidArgument('context "default" cannot be removed')
        if not contexts.exists(root, name):
            if force:
                return
            raise contexts.ContextNotFound(f"context {contexts.quoted(name)} does not exist")
        if name == current:
            if not force:
                raise Conflict(f"context {contexts.quoted(name)} is in use, set -f flag to force remove")
            if session.settings.context == name:
                config.set_context(root, "")
        contexts.remove(root, name)

    return each(session, parsed.arguments, remove)
