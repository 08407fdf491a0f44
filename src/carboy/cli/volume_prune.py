"""carboy volume prune.

Anonymous volumes only; with -a named ones too.
"""

from __future__ import annotations

from carboy.cli import prunes

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
    """Remove unused volumes, after asking, and say how much was freed."""
    everything = parsed.flag("all")
    kind = "all" if everything else "anonymous"
    return prunes.command(
        session,
        parsed,
        f"This will remove {kind} local volumes not used by at least one container.",
        lambda filters: prunes.volumes(session, filters, everything=everything),
    )
