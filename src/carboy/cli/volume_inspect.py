"""carboy volume inspect."""

from __future__ import annotations

from carboy.cli.inspect import find, show
from carboy.client.transport import ServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] VOLUME [VOLUME...]"
FLAGS = (
    ("format", "f", "string", "Print by a Go template, or json"),
    ("verbose", "v", "bool", "Accepted for Docker's sake"),
)
ARGUMENTS = (1, None)
EXAMPLES = """
carboy volume inspect data
"""


def main(session: Session, parsed: Parsed) -> int:
    """Print the document of each volume."""
    found, code = [], 0
    for name in parsed.arguments:
        try:
            found.append(find(session, name, ("volume",)))
        except ServerError as error:
            session.fail(f"Error response from daemon: {error}")
            code = 1
    show(session, found, parsed.text("format"))
    return code
