"""carboy logs.

--since and --until take a time, Unix seconds, or how long ago (42m).
"""

from __future__ import annotations

import time

from carboy.cli import units
from carboy.cli.session import write_all
from carboy.cli.streams import Demultiplexer
from carboy.client import document
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTAINER"
FLAGS = (
    ("follow", "f", "bool", "Go on as more is printed"),
    ("since", "", "string", "Only what was printed since then"),
    ("until", "", "string", "Only what was printed before then"),
    ("tail", "n", "string", "Only the last N lines"),
    ("timestamps", "t", "bool", "Show when each line was printed"),
    ("details", "", "bool", "Show extra attributes"),
)
ARGUMENTS = (1, 1)
EXAMPLES = """
carboy logs web
carboy logs -f --tail 20 web
carboy logs --since 10m -t web
"""


def main(session: Session, parsed: Parsed) -> int:
    """Copy the log to standard output and standard error."""
    now = time.time()
    query: tuple[tuple[str, str], ...] = (("stdout", "1"), ("stderr", "1"), ("joined", "1"))
    for name in ("follow", "timestamps", "details"):
        if parsed.flag(name):
            query += ((name, "1"),)
    for name in ("since", "until"):
        if parsed.given(name):
            query += ((name, units.parse_time(parsed.text(name), now, f"--{name}")),)
    if parsed.given("tail"):
        query += (("tail", _lines(parsed.text("tail"))),)
    path = f"/containers/{parsed.arguments[0]}"
    response = session.client.request("GET", path + "/logs", query)
    kind = response.headers.get("content-type", "")
    if "multiplexed" in kind:
        tty = False
    else:  # before API 1.42 both kinds have one name: only the container tells
        tty = document.flag(document.child(session.client.get_object(path + "/json"), "Config"), "Tty")
    demultiplexer = Demultiplexer(1, 2)
    for piece in response.chunks():
        if tty:
            write_all(1, piece)
        else:
            demultiplexer.write(memoryview(piece))
    return 0


def _lines(text: str) -> str:
    """A count; Docker takes a negative one, too, to mean all."""
    digits = text.removeprefix("-")
    if text == "all" or (digits.isascii() and digits.isdigit()):
        return text
    raise InvalidArgument(f"invalid --tail {text!r}: write a number of lines, or all")
