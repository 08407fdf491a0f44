"""carboy rmi.

An image with several names loses the given one; the last name takes the layers along.
"""

from __future__ import annotations

from carboy.cli.each import each
from carboy.client import document
from carboy.client.transport import ServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] IMAGE [IMAGE...]"
FLAGS = (
    ("force", "f", "bool", "Remove it although stopped containers use it"),
    ("no-prune", "", "bool", "Keep untagged parents"),
    ("platform", "", "no", ""),
)
ARGUMENTS = (1, None)
EXAMPLES = """
carboy rmi myimage:old
carboy rmi $(carboy images -q -f dangling=true)
"""


def main(session: Session, parsed: Parsed) -> int:
    """Remove each image and say what went."""
    query: tuple[tuple[str, str], ...] = ()
    if parsed.flag("force"):
        query += (("force", "1"),)
    if parsed.flag("no-prune"):
        query += (("noprune", "1"),)

    def remove_by_force(name: str) -> None:
        try:
            remove(name)
        except ServerError as error:
            if error.status != 404:
                raise
            session.fail(f"Error response from daemon: {error}")

    def remove(name: str) -> None:
        gone = document.decode(session.client.call("DELETE", f"/images/{name}", query))
        for item in document.objects(gone):
            for key in ("Untagged", "Deleted"):
                if document.text(item, key):
                    session.out(f"{key}: {document.text(item, key)}")

    # with -f a missing one is said and no failure, as in Docker
    return each(session, parsed.arguments, remove_by_force if parsed.flag("force") else remove, show=False)
