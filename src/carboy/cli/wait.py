"""carboy wait."""

from __future__ import annotations

from carboy.cli.attached import exit_status
from carboy.cli.each import each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "CONTAINER [CONTAINER...]"
FLAGS = ()
ARGUMENTS = (1, None)
EXAMPLES = """
carboy wait job
"""


def main(session: Session, parsed: Parsed) -> int:
    """Print the exit code of each container once it has ended."""

    def wait(name: str) -> str:
        return str(exit_status(session.client.request("POST", f"/containers/{name}/wait")))

    return each(session, parsed.arguments, wait)
