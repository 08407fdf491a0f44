"""carboy context use.

Docker's own commands follow, too: both keep the choice in ~/.docker/config.json.
`default` is Carboy's own daemon.
"""

from __future__ import annotations

import os

from carboy.client import config, contexts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "CONTEXT"
FLAGS = ()
ARGUMENTS = (1, 1)
OFFLINE = True
EXAMPLES = """
carboy context use lab
carboy context use default
"""


def main(session: Session, parsed: Parsed) -> int:
    """Make a context the current one."""
    name, root = parsed.arguments[0], session.settings.directory
    if name != "default":
        contexts.load(root, name)
    config.set_context(root, "" if name == "default" else name)
    session.out(name)
    session.warn(f"Current context is now {contexts.quoted(name)}")
    for variable in ("CARBOY_HOST", "DOCKER_HOST"):
        if os.environ.get(variable) and name != "default":
            session.warn(
                f"Warning: {variable} environment variable overrides the active context. To use a context, "
                f"either set the global --context flag, or unset {variable} environment variable."
            )
    return 0
