"""carboy network prune.

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
carboy network prune -f
"""


def main(session: Session, parsed: Parsed) -> int:
    """Remove user-made networks that no container uses, after asking."""
    return prunes.command(
        session,
        parsed,
        "This will remove all custom networks not used by at least one container.",
        lambda filters: prunes.networks(session, filters),
        space=False,
    )
