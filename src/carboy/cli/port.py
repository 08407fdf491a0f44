"""carboy port."""

from __future__ import annotations

from carboy.cli import ports
from carboy.client import document
from carboy.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

USAGE = "CONTAINER [PORT[/PROTOCOL]]"
FLAGS = ()
ARGUMENTS = (1, 2)
EXAMPLES = """
carboy port web
carboy port web 80
carboy port web 53/udp
"""


def main(session: Session, parsed: Parsed) -> int:
    """Show where a container's ports are published."""
    name, *wanted = parsed.arguments
    inspected = document.as_object(session.client.get(f"/containers/{name}/json"))
    bindings = document.child(document.child(inspected, "NetworkSettings"), "Ports")
    for line in lines(bindings, wanted[0] if wanted else "", name):
        session.out(line)
    return 0


def lines(bindings: Json, wanted: str, name: str) -> list[str]:
    """`80/tcp -> 0.0.0.0:8080` each, or the places of one port."""
    found = ports.places(bindings)
    if not wanted:
        return [f"{port} -> {place}" for port, place in found]
    port = wanted if "/" in wanted else f"{wanted}/tcp"
    places = [place for key, place in found if key == port]
    if not places:
        raise NotFound(f"No public port '{wanted}' published for {name}")
    return places
