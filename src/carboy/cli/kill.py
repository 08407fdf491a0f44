"""carboy kill."""

from __future__ import annotations

from carboy.cli.each import each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
FLAGS = (("signal", "s", "string", "Signal to send (SIGKILL)"),)
ARGUMENTS = (1, None)
EXAMPLES = """
carboy kill web
carboy kill -s HUP web
"""


def main(session: Session, parsed: Parsed) -> int:
    """One request per container."""
    query: tuple[tuple[str, str], ...] = ()
    if parsed.given("signal"):
        query += (("signal", parsed.text("signal")),)
    return each(
        session,
        parsed.arguments,
        lambda name: session.client.call("POST", f"/containers/{name}/kill", query) and None,
    )
