"""carboy rename."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "CONTAINER NEW-NAME"
FLAGS = ()
ARGUMENTS = (2, 2)
EXAMPLES = """
carboy rename web web-old
"""


def main(session: Session, parsed: Parsed) -> int:
    """Rename the container."""
    old, new = parsed.arguments
    session.client.call("POST", f"/containers/{old}/rename", (("name", new),))
    return 0
