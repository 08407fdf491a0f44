"""carboy volume create."""

from __future__ import annotations

from carboy.cli.values import pairs
from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

USAGE = "[OPTIONS] [NAME]"
_SWARM = (
    "availability",
    "group",
    "limit-bytes",
    "required-bytes",
    "scope",
    "secret",
    "sharing",
    "topology-preferred",
    "topology-required",
    "type",
)
FLAGS = (
    ("driver", "d", "string", "Volume driver (local)"),
    ("label", "", "list", "Set a label: NAME=VALUE"),
    ("name", "", "string", "The same as NAME"),
    ("opt", "o", "list", "Option of the driver"),
    *((name, "", "no", "") for name in _SWARM),
)
ARGUMENTS = (0, 1)
EXAMPLES = """
carboy volume create data
"""


def main(session: Session, parsed: Parsed) -> int:
    """Create the volume and print its name."""
    name = parsed.arguments[0] if parsed.arguments else parsed.text("name")
    body: Json = {
        "Name": name,
        "Driver": parsed.text("driver", "local"),
        "DriverOpts": pairs(parsed.list("opt"), "--opt"),
        "Labels": pairs(parsed.list("label"), "--label"),
    }
    session.out(document.text(session.client.post("/volumes/create", body=body), "Name"))
    return 0
