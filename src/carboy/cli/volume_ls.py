"""carboy volume ls.

Filters: name, label, dangling, driver.
"""

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
    ("cluster", "", "no:bool", ""),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy volume ls
carboy volume ls -q -f dangling=true
"""


COLUMNS = (("Driver", "DRIVER"), ("Name", "VOLUME NAME"))


def main(session: Session, parsed: Parsed) -> int:
    """List volumes."""
    reply = session.client.get_object("/volumes", table.filters(parsed.list("filter")))
    rows = [
        {
            "Availability": "N/A",
            "Driver": document.text(item, "Driver"),
            "Group": "N/A",
            "Labels": labels(item),
            "Links": "N/A",
            "Mountpoint": document.text(item, "Mountpoint"),
            "Name": document.text(item, "Name"),
            "Scope": document.text(item, "Scope"),
            "Size": "N/A",
            "Status": "N/A",
        }
        for item in document.children(reply, "Volumes")
    ]
    rows.sort(key=lambda row: row["Name"])
    table.show(
        session,
        rows,
        COLUMNS,
        template=parsed.text("format"),
        quiet="Name" if parsed.flag("quiet") else "",
        raw="name: {{.Name}}" if parsed.flag("quiet") else "name: {{.Name}}\ndriver: {{.Driver}}\n",
    )
    return 0
