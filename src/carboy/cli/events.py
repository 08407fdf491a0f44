"""carboy events.

Filters: container, event, image, label, type, volume, network.
"""

from __future__ import annotations

import time

from carboy.cli import paint, table, units
from carboy.cli.printable import harmless
from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

USAGE = "[OPTIONS]"
FLAGS = (
    ("filter", "f", "list", "Show only what matches: NAME=VALUE"),
    ("format", "", "string", "How to print: json, or a Go template"),
    ("since", "", "string", "Events since then, too"),
    ("until", "", "string", "Stop then"),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy events
carboy events --since 1h --until 0s --filter type=container
carboy events --format '{{.Action}} {{.Actor.ID}}'
"""


def main(session: Session, parsed: Parsed) -> int:
    """Print events until the server stops sending them."""
    query: tuple[tuple[str, str], ...] = table.filters(parsed.list("filter"))
    now = time.time()
    for name in ("since", "until"):
        if parsed.given(name):
            query += ((name, units.parse_time(parsed.text(name), now, f"--{name}")),)
    template = parsed.text("format")
    template = "{{json .}}" if template == "json" else template
    styled = paint.wanted(1) and not template
    render: Callable[[Json], str] = coloured if styled else line
    if template:
        from carboy.cli.gotemplate import Template

        render = Template(template).render
    for event in session.client.request("GET", "/events", query).documents():
        attributes = document.child(document.child(event, "Actor"), "Attributes")
        if attributes:
            event["Actor"]["Attributes"] = dict(sorted(attributes.items()))
        session.out(render(event), styled=styled or "\033" in template)
    return 0


_COLOURS = {
    **dict.fromkeys(("die", "kill", "oom", "destroy", "delete", "remove"), paint.RED),
    **dict.fromkeys(("start", "unpause", "create", "mount", "connect"), paint.GREEN),
    **dict.fromkeys(("stop", "pause", "restart", "unmount", "disconnect"), paint.YELLOW),
}
_TYPES = {"container": paint.CYAN, "image": paint.MAGENTA, "volume": paint.BLUE, "network": paint.YELLOW}


def coloured(event: Json) -> str:
    """The same line for a terminal; control characters of labels don't reach it."""
    stamp, kind, rest = _visible(line(event)).split(" ", 2)
    action = _visible(document.text(event, "Action"))  # of an exec it holds the command
    word = action.partition(":")[0]
    return " ".join(
        (
            paint.paint(stamp, paint.DIM),
            paint.paint(kind, _TYPES.get(kind, paint.CYAN)),
            paint.paint(action, _COLOURS.get(word, "1")) + rest.removeprefix(action),
        )
    )


def _visible(text: str) -> str:
    mark = "\N{REPLACEMENT CHARACTER}"
    return harmless(text).replace("\n", mark).replace("\t", mark)


def line(event: Json) -> str:
    """`2024-01-31T12:00:00.000000000+00:00 container start ID (image=..., name=...)`."""
    nanoseconds = document.number(event, "timeNano")
    moment = time.localtime(nanoseconds // 10**9)
    zone = time.strftime("%z", moment)
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", moment) + f".{nanoseconds % 10**9:09}{zone}"
    actor = document.child(event, "Actor")
    attributes = ", ".join(
        f"{key}={value}" for key, value in sorted(document.child(actor, "Attributes").items())
    )
    words = [stamp, document.text(event, "Type"), document.text(event, "Action"), document.text(actor, "ID")]
    return " ".join(words) + (f" ({attributes})" if attributes else "")
