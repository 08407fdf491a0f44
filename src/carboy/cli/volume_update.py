"""carboy volume update.

Only volumes of a swarm have anything that can be changed; Carboy runs on one machine.
"""

from __future__ import annotations

from carboy.cli.flags import UsageError
from carboy.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] VOLUME"
FLAGS = (("availability", "", "string", "active, pause or drain"),)
ARGUMENTS = (1, 1)
EXAMPLES = """
carboy volume update --availability drain data
"""


def main(session: Session, parsed: Parsed) -> int:
    """Refuse as Docker does for a volume of one machine; a missing one is said first."""
    if parsed.text("availability", "active") not in ("active", "pause", "drain"):
        raise UsageError("invalid --availability: write active, pause or drain", 1)
    session.client.get_object(f"/volumes/{parsed.arguments[0]}")
    raise Unsupported("can only update cluster volumes")
