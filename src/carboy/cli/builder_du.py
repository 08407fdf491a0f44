"""carboy builder du.

Reclaimable is what `builder prune -a` would free.
"""

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

USAGE = "[OPTIONS]"
FLAGS = (
    ("builder", "", "string", "Not used: there is one builder"),
    ("filter", "", "list", "Only what matches: id=, type=, inuse, shared, description="),
    ("format", "", "string", "How to print: json, a Go template, table TEMPLATE"),
    ("verbose", "", "bool", "Everything that is known of each record"),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy builder du
carboy builder du --verbose --filter type=exec.cachemount
"""
COLUMNS = (
    ("ID", "ID"),
    ("Reclaimable", "RECLAIMABLE"),
    ("Size", "SIZE"),
    ("LastUsedSince", "LAST ACCESSED"),
    ("Description", "DESCRIPTION"),
)
_WIDEST = 60
"""Columns of a description: steps are long; `--verbose`, `--filter` and `--format` know the whole."""


def main(session: Session, parsed: Parsed) -> int:
    """Print the records and their sum."""
    usage = session.client.get_object("/system/df", (("type", "build-cache"),))
    chosen = [one for one in document.children(usage, "BuildCache") if _matches(one, parsed.list("filter"))]
    chosen.sort(key=lambda one: document.text(one, "LastUsedAt"), reverse=True)
    now = time.time()
    template = parsed.text("format")
    if parsed.flag("verbose") and not template:
        for one in chosen:
            session.out(_whole(one, now))
    else:
        rows = [_row(one, now) for one in chosen]
        if not template:
            for row in rows:
                row["Description"] = table.cut(row["Description"], _WIDEST, "\N{HORIZONTAL ELLIPSIS}")
        table.show(session, rows, COLUMNS, template=template)
    if not template:
        total = sum(document.number(one, "Size") for one in chosen)
        free = sum(document.number(one, "Size") for one in chosen if _reclaimable(one))
        session.out(f"Reclaimable:\t{human.size(free, 4)}\nTotal:\t\t{human.size(total, 4)}")
    return 0


def _reclaimable(one: Json) -> bool:
    return not document.flag(one, "InUse")


def _row(one: Json, now: float) -> dict[str, str]:
    last = document.text(one, "LastUsedAt")
    return {
        "ID": document.text(one, "ID"),
        "CacheType": document.text(one, "Type"),
        "CreatedSince": human.ago(human.unix_time(document.text(one, "CreatedAt")), now),
        "Description": document.text(one, "Description"),
        "InUse": str(document.flag(one, "InUse")).lower(),
        "LastUsedSince": human.ago(human.unix_time(last), now) if last else "",
        "Reclaimable": str(_reclaimable(one)).lower(),
        "Shared": str(document.flag(one, "Shared")).lower(),
        "Size": human.size(document.number(one, "Size"), 4),
        "UsageCount": str(document.number(one, "UsageCount")),
    }


def _whole(one: Json, now: float) -> str:
    row = _row(one, now)
    lines = [
        ("ID", row["ID"]),
        ("Parents", ", ".join(document.strings(one, "Parents"))),
        ("Created", row["CreatedSince"]),
        ("Description", row["Description"]),
        ("Type", row["CacheType"]),
        ("Size", row["Size"]),
        ("In use", row["InUse"]),
        ("Shared", row["Shared"]),
        ("Reclaimable", row["Reclaimable"]),
        ("Last used", row["LastUsedSince"]),
        ("Usage count", row["UsageCount"]),
    ]
    return "".join(f"{name + ':':<14}{value}\n" for name, value in lines if value)


def _matches(one: Json, filters: list[str]) -> bool:
    return all(_matches_one(one, *text.partition("=")[::2]) for text in filters)


def _matches_one(one: Json, key: str, value: str) -> bool:
    match key.rstrip("~"):
        case "id":
            return document.text(one, "ID").startswith(value)
        case "type":
            return document.text(one, "Type") == value
        case "description":
            return value in document.text(one, "Description")
        case "inuse":
            return document.flag(one, "InUse") != (value in ("false", "0"))
        case "shared":
            return document.flag(one, "Shared") != (value in ("false", "0"))
        case _:
            from carboy.cli.flags import UsageError

            raise UsageError(f'invalid filter "{key}": id, type, inuse, shared and description are known', 1)
