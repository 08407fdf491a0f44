"""carboy pause, unpause."""

from __future__ import annotations

from carboy.cli.each import each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "CONTAINER [CONTAINER...]"
FLAGS = ()
ARGUMENTS = (1, None)
EXAMPLES = """
carboy pause web
carboy unpause web
"""


def main(session: Session, parsed: Parsed) -> int:
    """One request per container: the command's own word is the path's."""
    return each(
        session,
        parsed.arguments,
        lambda name: session.client.call("POST", f"/containers/{name}/{session.command}") and None,
    )
