"""carboy context ls.

The star marks the current one.
"""

from __future__ import annotations

import os

from carboy.cli import table
from carboy.client import address, contexts, endpoint
from carboy.errors import CarboyError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = (
    ("format", "", "string", "How to print: json, a Go template, table TEMPLATE"),
    ("quiet", "q", "bool", "Print only names"),
)
ARGUMENTS = (0, 0)
OFFLINE = True
EXAMPLES = """
carboy context ls
"""
COLUMNS = (
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("DockerEndpoint", "DOCKER ENDPOINT"),
    ("Error", "ERROR"),
)
DESCRIPTION = "Current DOCKER_HOST based configuration"
_WIDTH = 45


def main(session: Session, parsed: Parsed) -> int:
    """List contexts, the default one among them."""
    current = endpoint.context_name(session.wish, os.environ, session.settings)
    rows = [_row("default", DESCRIPTION, default_host(session), "", current)]
    found = contexts.every(session.settings.directory)
    rows += [_row(one.name, one.description, one.host, "", current) for one in found]
    if current not in [row["Name"] for row in rows]:
        try:
            contexts.load(session.settings.directory, current)
        except CarboyError as error:
            rows.append(_row(current, "", "", str(error), current))
    rows.sort(key=lambda row: row["Name"])
    template = parsed.text("format")
    if template in ("", "table"):
        for row in rows:
            row["Name"] += " *" if row["Current"] == "true" and not parsed.flag("quiet") else ""
            row["Error"] = row["Error"] if len(row["Error"]) <= _WIDTH else row["Error"][: _WIDTH - 1] + "…"
    table.show(session, rows, COLUMNS, template=template, quiet="Name" if parsed.flag("quiet") else "")
    return 0


def default_host(session: Session) -> str:
    """Where the default context leads."""
    hosts = session.wish.hosts
    wish = endpoint.Wish(hosts=hosts, context="" if hosts else endpoint.DEFAULT)
    try:
        return endpoint.resolve(wish, os.environ, session.settings, session.home).address.url
    except InvalidArgument:  # the list shows what is written, and the error beside it
        return hosts[0] if hosts else endpoint.host_variable(os.environ)


def _row(name: str, description: str, host: str, error: str, current: str) -> dict[str, str]:
    try:
        if host and not error:
            address.parse(host)
    except CarboyError as failure:
        error = str(failure)
    return {
        "Name": name,
        "Description": description,
        "DockerEndpoint": host,
        "Current": str(name == current).lower(),
        "Error": error,
    }
