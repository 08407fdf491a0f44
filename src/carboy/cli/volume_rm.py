"""carboy volume rm."""

from __future__ import annotations

from carboy.cli.each import each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] VOLUME [VOLUME...]"
FLAGS = (("force", "f", "bool", "Don't fail for a volume that isn't there"),)
ARGUMENTS = (1, None)
EXAMPLES = """
carboy volume rm data
"""


def main(session: Session, parsed: Parsed) -> int:
    """Remove each volume."""
    query = (("force", "1"),) if parsed.flag("force") else ()
    return each(
        session,
        parsed.arguments,
        lambda name: session.client.call("DELETE", f"/volumes/{name}", query) and None,
    )
