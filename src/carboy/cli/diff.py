"""carboy diff.

A line for each path that differs from the image: A added, C changed, D deleted.
"""

from __future__ import annotations

from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "CONTAINER"
FLAGS = ()
ARGUMENTS = (1, 1)
EXAMPLES = """
carboy diff web
"""

_LETTERS = "CAD"


def main(session: Session, parsed: Parsed) -> int:
    """Print the changes, sorted by path."""
    if not parsed.arguments[0]:
        from carboy.cli.flags import UsageError

        raise UsageError("Container name cannot be empty", 1)
    found = session.client.get(f"/containers/{parsed.arguments[0]}/changes")
    lines = []
    for item in found if isinstance(found, list) else []:
        change = document.as_object(item)
        lines.append(f"{_LETTERS[document.number(change, 'Kind')]} {document.text(change, 'Path')}")
    if lines:
        session.out("\n".join(lines))
    return 0
