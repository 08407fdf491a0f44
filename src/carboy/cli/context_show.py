"""carboy context show."""

from __future__ import annotations

import os

from carboy.client import endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = ""
FLAGS = ()
ARGUMENTS = (0, 0)
OFFLINE = True
EXAMPLES = """
carboy context show
"""


def main(session: Session, parsed: Parsed) -> int:  # noqa: ARG001 - the face of all commands
    """Print the name of the context that counts."""
    session.out(endpoint.context_name(session.wish, os.environ, session.settings))
    return 0
