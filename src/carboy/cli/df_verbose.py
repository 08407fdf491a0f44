"""`system df -v`: a table for each kind, or all of them as one object for a template."""

from __future__ import annotations

import time

from carboy.cli import images, ps, table
from carboy.client import document
from carboy.formats import human

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.session import Session
    from carboy.client.document import Json

    Rows = list[dict[str, str]]

IMAGES = (
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
)
CONTAINERS = (
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
)
VOLUMES = (("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE"))
BUILD_CACHE = (
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
)


def show(session: Session, usage: Json, template: str) -> None:
    """Print everything in `usage`, the reply of the daemon."""
    now = time.time()
    whole = template not in ("", "table")
    kinds: dict[str, Rows] = {
        "Images": image_rows(usage, now, whole=whole),
        "Containers": container_rows(usage, now, whole=whole),
        "Volumes": volume_rows(usage),
        "BuildCache": cache_rows(usage, now),
    }
    if whole:
        _show_template(session, kinds, template)
        return
    cache = human.size(sum(document.number(one, "Size") for one in document.children(usage, "BuildCache")), 4)
    sections = (
        ("Images space usage:\n", kinds["Images"], IMAGES),
        ("\nContainers space usage:\n", kinds["Containers"], CONTAINERS),
        ("\nLocal Volumes space usage:\n", kinds["Volumes"], VOLUMES),
        (f"\nBuild cache usage: {cache}\n", kinds["BuildCache"], BUILD_CACHE),
    )
    for title, rows, columns in sections:
        session.out(title)
        table.show(session, rows, columns)


def _show_template(session: Session, kinds: dict[str, Rows], template: str) -> None:
    from carboy.cli.gofunctions import to_json
    from carboy.cli.gotemplate import Template

    if template == "json":
        session.out(to_json(kinds))
        return
    session.out(Template(template.replace("\\t", "\t").replace("\\n", "\n")).render(kinds))


def image_rows(usage: Json, now: float, *, whole: bool) -> Rows:
    """One row an image: its first name only."""
    rows = []
    for item in document.children(usage, "Images"):
        row = images.rows_of(item, now, whole=whole, digests=False)[0]
        size, shared = document.number(item, "Size"), max(document.number(item, "SharedSize"), 0)
        row["SharedSize"], row["UniqueSize"] = human.size(shared, 4), human.size(size - shared, 4)
        rows.append(row)
    return rows


def container_rows(usage: Json, now: float, *, whole: bool) -> Rows:
    """One row a container, without the size of its image."""
    rows = []
    for item in document.children(usage, "Containers"):
        row = ps.row(item, now, whole=whole)
        row["Size"] = human.size(document.number(item, "SizeRw"))
        rows.append(row)
    return rows


def volume_rows(usage: Json) -> Rows:
    """One row a volume."""
    rows = []
    for item in document.children(usage, "Volumes"):
        facts = document.child(item, "UsageData")
        size = document.number(facts, "Size")
        rows.append(
            {
                "Driver": document.text(item, "Driver"),
                "Labels": ps.labels(item),
                "Links": str(document.number(facts, "RefCount")),
                "Mountpoint": document.text(item, "Mountpoint"),
                "Name": document.text(item, "Name"),
                "Scope": document.text(item, "Scope"),
                "Size": "N/A" if size < 0 else human.size(size, 4),
            }
        )
    return rows


def cache_rows(usage: Json, now: float) -> Rows:
    """One row a record of the build cache."""
    return [
        {
            "CacheType": document.text(item, "Type"),
            "CreatedSince": human.ago(human.unix_time(document.text(item, "CreatedAt")), now),
            "Description": document.text(item, "Description"),
            "ID": document.text(item, "ID")[:12],
            "InUse": str(document.flag(item, "InUse")).lower(),
            "LastUsedSince": human.ago(human.unix_time(document.text(item, "LastUsedAt")), now),
            "Shared": str(document.flag(item, "Shared")).lower(),
            "Size": human.size(document.number(item, "Size"), 4),
            "UsageCount": str(document.number(item, "UsageCount")),
        }
        for item in document.children(usage, "BuildCache")
    ]
