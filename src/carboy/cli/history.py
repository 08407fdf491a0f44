"""carboy history."""

from __future__ import annotations

import time

from carboy.cli import table
from carboy.client import document
from carboy.formats import human

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

USAGE = "[OPTIONS] IMAGE"
FLAGS = (
    ("format", "", "string", "How to print: json, a Go template, table TEMPLATE"),
    ("human", "H", "bool", "Sizes and times for people (default true)"),
    ("no-trunc", "", "bool", "Print commands whole"),
    ("quiet", "q", "bool", "Print only IDs"),
    ("platform", "", "no", ""),
)
ARGUMENTS = (1, 1)
EXAMPLES = """
carboy history myimage
carboy history --no-trunc myimage
"""


COLUMNS = (
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
)


def main(session: Session, parsed: Parsed) -> int:
    """List the steps that made an image, the newest first."""
    now, whole, people = time.time(), parsed.flag("no-trunc"), parsed.flag("human", default=True)
    found = document.objects(session.client.get(f"/images/{parsed.arguments[0]}/history"))
    rows = [row(item, now, whole=whole, people=people) for item in found]
    columns: tuple[tuple[str, str], ...] = COLUMNS
    if not people:
        columns = tuple(
            ("CreatedAt", "CREATED AT") if field == "CreatedSince" else (field, name)
            for field, name in COLUMNS
        )
    table.show(
        session, rows, columns, template=parsed.text("format"), quiet="ID" if parsed.flag("quiet") else ""
    )
    return 0


def row(item: Json, now: float, *, whole: bool, people: bool) -> dict[str, str]:
    """One step."""
    created, size = document.number(item, "Created"), document.number(item, "Size")
    image = document.text(item, "Id")
    command = document.text(item, "CreatedBy").replace("\t", " ")
    if not whole:
        command = " ".join(command.split())  # one row, whatever the script looked like
    return {
        "ID": image if whole or image == "<missing>" else image.removeprefix("sha256:")[:12],
        "CreatedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created)),
        "CreatedSince": human.ago(created, now),
        "CreatedBy": command if whole or len(command) <= 45 else command[:44] + "…",
        "Size": human.size(size) if people else str(size),
        "Comment": document.text(item, "Comment"),
    }
