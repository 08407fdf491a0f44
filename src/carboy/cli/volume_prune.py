"""carboy volume prune.

Anonymous volumes only; with -a named ones too.
"""

from __future__ import annotations

from carboy.cli import table
from carboy.cli.confirm import confirm
from carboy.client import document
from carboy.formats import human

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = (
    ("all", "a", "bool", "Named volumes too"),
    ("filter", "", "list", "Only what matches: label=..."),
    ("force", "f", "bool", "Don't ask"),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy volume prune -f
"""


def main(session: Session, parsed: Parsed) -> int:
    """Remove unused volumes and say how much was freed."""
    kind = "" if parsed.flag("all") else "anonymous "
    question = f"This removes all {kind}volumes that no container uses."
    if not parsed.flag("force") and not confirm(session, question):
        return 1
    wanted = parsed.list("filter") + (["all=true"] if parsed.flag("all") else [])
    reply = session.client.post("/volumes/prune", table.filters(wanted))
    gone = document.strings(reply, "VolumesDeleted")
    if gone:
        session.out("Deleted Volumes:\n" + "\n".join(gone) + "\n")
    session.out(f"Total reclaimed space: {human.size(document.number(reply, 'SpaceReclaimed'))}")
    return 0
