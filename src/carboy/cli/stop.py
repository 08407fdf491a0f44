"""carboy stop, restart.

A container is asked by SIGTERM (or its own stop signal) and killed after 10 seconds.
"""

from __future__ import annotations

from carboy.cli.each import each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
FLAGS = (
    ("signal", "s", "string", "Signal that asks it to stop"),
    ("timeout", "t", "int", "Seconds to wait before it is killed"),
    ("time", "", "int", "The same as --timeout"),
)
ARGUMENTS = (1, None)
EXAMPLES = """
carboy stop web
carboy stop -t 2 web worker
carboy restart web
"""


def main(session: Session, parsed: Parsed) -> int:
    """One request per container: the command's own word is the path's."""
    if parsed.given("timeout") and parsed.given("time"):
        from carboy.cli.flags import UsageError

        raise UsageError("conflicting options: cannot specify both --timeout and --time", 1)
    query: tuple[tuple[str, str], ...] = ()
    if parsed.given("signal"):
        query += (("signal", parsed.text("signal")),)
    if parsed.given("timeout") or parsed.given("time"):
        query += (("t", parsed.text("timeout") or parsed.text("time")),)
    return each(
        session,
        parsed.arguments,
        lambda name: session.client.call("POST", f"/containers/{name}/{session.command}", query) and None,
    )
