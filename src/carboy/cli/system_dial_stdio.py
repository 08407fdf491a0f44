"""carboy system dial-stdio.

Joins standard input and output to the daemon's socket: what ssh:// runs on the far machine.
"""

from __future__ import annotations

from carboy.cli import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = ""
FLAGS = ()
ARGUMENTS = (0, 0)
EXAMPLES = """
ssh far carboy system dial-stdio
"""


def main(session: Session, parsed: Parsed) -> int:  # noqa: ARG001 - the face of all commands
    """Copy both ways until the daemon closes; the end of our input closes that direction alone."""
    streams.copy(session.client.connect(), tty=True, stdin=0)
    return 0
