"""carboy network ls."""

from __future__ import annotations

from carboy.cli import table
from carboy.cli.ps import labels
from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = (
    ("filter", "f", "list", "Show only what matches: NAME=VALUE"),
    ("format", "", "string", "How to print: json, a Go template, table TEMPLATE"),
    ("quiet", "q", "bool", "Print only names"),
    ("no-trunc", "", "bool", "Print IDs whole"),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy network ls
"""


RAW = """network_id: {{.ID}}
name: {{.Name}}
driver: {{.Driver}}
scope: {{.Scope}}
"""
COLUMNS = (("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("Scope", "SCOPE"))


def main(session: Session, parsed: Parsed) -> int:
    """List networks."""
    found = document.objects(session.client.get("/networks", table.filters(parsed.list("filter"))))
    whole = parsed.flag("no-trunc")
    rows = [
        {
            "CreatedAt": created(document.text(item, "Created")),
            "Driver": document.text(item, "Driver"),
            "ID": document.text(item, "Id") if whole else document.text(item, "Id")[:12],
            "IPv4": str(document.flag(item, "EnableIPv4")).lower(),
            "IPv6": str(document.flag(item, "EnableIPv6")).lower(),
            "Internal": str(document.flag(item, "Internal")).lower(),
            "Labels": labels(item),
            "Name": document.text(item, "Name"),
            "Scope": document.text(item, "Scope"),
        }
        for item in found
    ]
    rows.sort(key=lambda row: row["Name"])
    table.show(
        session,
        rows,
        COLUMNS,
        template=parsed.text("format"),
        quiet="ID" if parsed.flag("quiet") else "",
        raw="network_id: {{.ID}}" if parsed.flag("quiet") else RAW,
    )
    return 0


def created(stamp: str) -> str:
    """RFC 3339 in UTC as Go prints a time."""
    day, letter, clock = stamp.partition("T")
    if not letter or not clock.endswith("Z"):
        return stamp
    clock, point, fraction = clock[:-1].partition(".")
    fraction = fraction.rstrip("0")
    return f"{day} {clock}{point if fraction else ''}{fraction} +0000 UTC"
