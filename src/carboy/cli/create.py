"""carboy create.

Takes the flags of `carboy run`, prints the new container's ID and does not start it.
"""

from __future__ import annotations

from carboy.cli import launch
from carboy.cli.containerflags import CONTAINER_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
FLAGS = CONTAINER_FLAGS
ARGUMENTS = (1, None)
INTERSPERSED = False
EXAMPLES = "carboy create --name job debian sleep 60\ncarboy start -a job"


def main(session: Session, parsed: Parsed) -> int:
    """Create the container and print its ID."""
    session.out(launch.create(session, parsed, launch.chosen_streams(parsed)))
    return 0
