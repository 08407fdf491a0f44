"""carboy container inspect, image inspect, volume inspect, network inspect."""

from __future__ import annotations

from carboy.cli.inspect import show_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] NAME [NAME...]"
_FORMAT = ("format", "f", "string", "Print by a Go template, or json")
FLAGS = (_FORMAT,)
FLAGS_OF = {
    "container inspect": (_FORMAT, ("size", "s", "bool", "Show sizes, too")),
    "image inspect": (_FORMAT, ("platform", "", "string", "Show the image of this platform")),
    "network inspect": (_FORMAT, ("verbose", "v", "bool", "Show more (networks of a swarm)")),
}
ARGUMENTS = (1, None)
EXAMPLES = """
carboy container inspect -s web
carboy image inspect -f '{{.Config.Cmd}}' debian
carboy volume inspect data
carboy network inspect bridge
"""


def main(session: Session, parsed: Parsed) -> int:
    """Print the document of each object of one kind: the command's first word."""
    return show_all(session, parsed, (session.command.partition(" ")[0],))
