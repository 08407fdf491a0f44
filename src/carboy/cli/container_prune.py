"""carboy container prune.

Filters: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE].
"""

from __future__ import annotations

from carboy.cli import prunes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = prunes.FLAGS
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy container prune
carboy container prune -f --filter until=24h
"""


def main(session: Session, parsed: Parsed) -> int:
    """Remove the containers that do not run, after asking."""
    return prunes.command(
        session,
        parsed,
        "This will remove all stopped containers.",
        lambda filters: prunes.containers(session, filters),
    )
