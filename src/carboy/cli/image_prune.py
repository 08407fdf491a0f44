"""carboy image prune.

Images without a name; with -a all that no container uses.  Filters: until=TIME,
label=NAME[=VALUE], label!=NAME[=VALUE].
"""

from __future__ import annotations

from carboy.cli import prunes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = (
    ("all", "a", "bool", "All images that no container uses, not only those without a name"),
    *prunes.FLAGS,
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy image prune
carboy image prune -a -f
"""


def main(session: Session, parsed: Parsed) -> int:
    """Remove unused images, after asking."""
    everything = parsed.flag("all")
    what = "images without at least one container associated to them" if everything else "dangling images"
    return prunes.command(
        session,
        parsed,
        f"This will remove all {what}.",
        lambda filters: prunes.images(session, filters, everything=everything),
    )
