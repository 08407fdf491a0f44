"""carboy images.

Filters: dangling, label, reference, before, since.
"""

from __future__ import annotations

import time

from carboy.cli import table
from carboy.cli.tag import split_tag
from carboy.client import document
from carboy.formats import human

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

USAGE = "[OPTIONS] [NAME[:TAG]]"
FLAGS = (
    ("all", "a", "bool", "Show intermediate images too"),
    ("digests", "", "bool", "Show digests"),
    ("filter", "f", "list", "Show only what matches: NAME=VALUE"),
    ("format", "", "string", "How to print: json, a Go template, table TEMPLATE"),
    ("no-trunc", "", "bool", "Print IDs whole"),
    ("quiet", "q", "bool", "Print only IDs"),
    ("tree", "", "no:bool", ""),
)
ARGUMENTS = (0, 1)
EXAMPLES = """
carboy images
carboy images -q -f dangling=true
carboy images --format '{{.Repository}}:{{.Tag}} {{.Size}}'
"""


COLUMNS = (
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
)

RAW = """repository: {{.Repository}}
tag: {{.Tag}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
"""


def main(session: Session, parsed: Parsed) -> int:
    """List images, one row per name."""
    wanted = parsed.list("filter") + [f"reference={name}" for name in parsed.arguments]
    query: tuple[tuple[str, str], ...] = table.filters(wanted)
    digests = parsed.flag("digests") or ".Digest" in parsed.text("format")
    query += (("all", "1"),) if parsed.flag("all") else ()
    query += (("digests", "1"),) if digests else ()
    now, whole = time.time(), parsed.flag("no-trunc")
    found = document.objects(session.client.get("/images/json", query))
    rows = [row for item in found for row in rows_of(item, now, whole=whole, digests=digests)]
    columns = COLUMNS if digests else tuple(column for column in COLUMNS if column[0] != "Digest")
    table.show(
        session,
        rows,
        columns,
        template=parsed.text("format"),
        quiet="ID" if parsed.flag("quiet") else "",
        raw="image_id: {{.ID}}" if parsed.flag("quiet") else RAW,
    )
    return 0


def rows_of(item: Json, now: float, *, whole: bool, digests: bool) -> list[dict[str, str]]:
    """An image's rows: one per tag, or one without a name."""
    created, image = document.number(item, "Created"), document.text(item, "Id")
    size = human.size(document.number(item, "Size"))
    common = {
        "Containers": "N/A"
        if document.number(item, "Containers") < 0
        else str(document.number(item, "Containers")),
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(created)),
        "CreatedSince": human.ago(created, now),
        "ID": image if whole else image.removeprefix("sha256:")[:12],
        "SharedSize": "N/A",
        "Size": size,
        "UniqueSize": "N/A",
        "VirtualSize": human.size(document.number(item, "Size"), 4),
    }
    known = {
        name: digest
        for name, _at, digest in (text.partition("@") for text in document.strings(item, "RepoDigests"))
    }
    names = [split_tag(tag) for tag in document.strings(item, "RepoTags") if tag != "<none>:<none>"]
    names = names or [(name, "<none>") for name in known if digests] or [("<none>", "<none>")]
    return [
        {**common, "Repository": name, "Tag": tag, "Digest": known.get(name, "<none>")} for name, tag in names
    ]
