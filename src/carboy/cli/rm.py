"""carboy rm.

A running container is refused without -f.
"""

from __future__ import annotations

from carboy.cli.each import each
from carboy.client.transport import ServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
FLAGS = (
    ("force", "f", "bool", "Kill it first when it runs"),
    ("volumes", "v", "bool", "Remove its anonymous volumes too"),
    ("link", "l", "no:bool", ""),
)
ARGUMENTS = (1, None)
EXAMPLES = """
carboy rm job
carboy rm -f $(carboy ps -aq)
"""


def main(session: Session, parsed: Parsed) -> int:
    """Remove each container; with -f a missing one is said and no failure, as in Docker."""
    force = parsed.flag("force")
    query: tuple[tuple[str, str], ...] = (("force", "1"),) if force else ()
    if parsed.flag("volumes"):
        query += (("v", "1"),)

    def remove(name: str) -> None:
        session.client.call("DELETE", f"/containers/{name.removeprefix('/')}", query)

    def remove_by_force(name: str) -> None:
        try:
            remove(name)
        except ServerError as error:
            if error.status != 404:
                raise
            missing.append(name)
            session.fail(f"Error response from daemon: {error}")

    missing: list[str] = []
    if not force:
        return each(session, parsed.arguments, remove)
    code = 0
    for name in parsed.arguments:
        failed = each(session, [name], remove_by_force, show=False)
        if not failed and name not in missing:
            session.out(name)
        code |= failed
    return code
