"""carboy ps.

Running containers; with -a all of them.  Filters: id, name, label, status, exited,
ancestor, before, since, volume, network.  --format takes `json`, a Go template, or
`table` and a template.
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
    ("all", "a", "bool", "Show all containers, not only the running ones"),
    ("filter", "f", "list", "Show only what matches: NAME=VALUE"),
    ("format", "", "string", "How to print: json, a Go template, table TEMPLATE"),
    ("last", "n", "int", "Show the N containers created last"),
    ("latest", "l", "bool", "Show the container created last"),
    ("no-trunc", "", "bool", "Print IDs and commands whole"),
    ("quiet", "q", "bool", "Print only IDs"),
    ("size", "s", "bool", "Show sizes"),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy ps -a
carboy ps -q --filter status=exited
carboy ps --format 'table {{.Names}}\\t{{.Status}}'
"""
COLUMNS = (
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
)
SIZE_COLUMN = (("Size", "SIZE"),)
RAW = """container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{.State}}
status: {{.Status}}
names: {{.Names}}
labels:{{with .Labels}} {{.}}{{end}}
ports:{{with .Ports}} {{.}}{{end}}
"""


def main(session: Session, parsed: Parsed) -> int:
    """List containers."""
    template = parsed.text("format")
    last = 1 if parsed.flag("latest") else parsed.number("last", -1)
    size = parsed.flag("size") or ".Size" in template or "{{json .}}" in template
    query: tuple[tuple[str, str], ...] = table.filters(parsed.list("filter"))
    if parsed.flag("all"):
        query += (("all", "1"),)
    if last > 0:
        query += (("limit", str(last)),)
    if size:
        query += (("size", "1"),)
    found = document.objects(session.client.get("/containers/json", query))
    now, whole = time.time(), parsed.flag("no-trunc")
    if parsed.flag("quiet") and template not in ("", "table", "raw"):
        session.warn("WARNING: Ignoring custom format, because both --format and --quiet are set.")
        template = ""
    if parsed.flag("quiet") and not template:
        rows = [{"ID": _id(item, whole=whole)} for item in found]
    else:
        rows = [row(item, now, whole=whole) for item in found]
    columns = COLUMNS + SIZE_COLUMN if size else COLUMNS
    raw = "container_id: {{.ID}}" if parsed.flag("quiet") else RAW + ("size: {{.Size}}\n" if size else "")
    table.show(session, rows, columns, template=template, quiet="ID" if parsed.flag("quiet") else "", raw=raw)
    return 0


def _id(item: Json, *, whole: bool) -> str:
    container = document.text(item, "Id")
    return container if whole else container[:12]


def row(item: Json, now: float, *, whole: bool) -> dict[str, str]:
    """One container's fields as Docker names them."""
    text = document.text
    created = document.number(item, "Created")
    command = text(item, "Command")
    # a container that other ones name by links has further names with a second slash
    names = [name.removeprefix("/") for name in document.strings(item, "Names")]
    mounts = [text(mount, "Name") or text(mount, "Source") for mount in document.children(item, "Mounts")]
    image = text(item, "Image")
    if not whole and image.startswith("sha256:"):
        image = image[7:19]
    return {
        "Command": _quoted(command if whole or len(command) <= 20 else command[:19] + "…"),
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(created)),
        "ID": _id(item, whole=whole),
        "Image": image,
        "Labels": labels(item),
        "LocalVolumes": str(
            sum(text(mount, "Driver") == "local" for mount in document.children(item, "Mounts"))
        ),
        "Mounts": ",".join(mount if whole or len(mount) <= 15 else mount[:14] + "…" for mount in mounts),
        "Names": ",".join(names if whole else [name for name in names if "/" not in name]),
        "Networks": ",".join(document.child(document.child(item, "NetworkSettings"), "Networks")),
        "Ports": _ports(document.children(item, "Ports")),
        "RunningFor": human.ago(created, now),
        "Size": _size(item),
        "State": text(item, "State"),
        "Status": text(item, "Status"),
    }


def _quoted(text: str) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    from carboy.cli.printable import quoted  # few commands need it

    return quoted(text)


def _ports(found: list[Json]) -> str:
    if not found:
        return ""
    from carboy.cli import ports  # only containers that have some need it

    return ports.column(found)


def labels(item: Json) -> str:
    """`a=b,c=d`."""
    return ",".join(f"{name}={value}" for name, value in sorted(document.child(item, "Labels").items()))


def _size(item: Json) -> str:
    size = human.size(document.number(item, "SizeRw"))
    total = document.number(item, "SizeRootFs")
    return f"{size} (virtual {human.size(total)})" if total else size
