"""carboy system df.

With -v every image, container and volume: what images share is counted once in the summary.
A container's size is its writable layer and its log.
"""

from __future__ import annotations

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
    ("format", "", "string", "How to print: json, a Go template, table TEMPLATE"),
    ("verbose", "v", "bool", "Every image, container and volume"),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy system df
carboy system df -v
"""


COLUMNS = (
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
)
RAW = """type: {{.Type}}
total: {{.TotalCount}}
active: {{.Active}}
size: {{.Size}}
reclaimable: {{.Reclaimable}}
"""


def main(session: Session, parsed: Parsed) -> int:
    """Print how much images, containers, volumes and the build cache take, and how much is unused."""
    usage = session.client.get_object("/system/df")
    template = parsed.text("format")
    if parsed.flag("verbose"):
        from carboy.cli import df_verbose

        df_verbose.show(session, usage, template)
        return 0
    rows = [_images(usage), _containers(usage), _volumes(usage), _build_cache(usage)]
    table.show(session, rows, COLUMNS, template=template, raw=RAW)
    return 0


def _images(usage: Json) -> dict[str, str]:
    images = document.children(usage, "Images")
    used = [item for item in images if document.number(item, "Containers") > 0]
    layers = document.number(usage, "LayersSize")
    # What used images share is kept as well; by how many of them is not told: the largest share counts.
    shares = [max(document.number(item, "SharedSize"), 0) for item in used]
    kept = sum(document.number(item, "Size") for item in used) - sum(shares) + max(shares, default=0)
    return _row("Images", len(images), len(used), layers, max(layers - kept, 0) if layers else 0)


def _containers(usage: Json) -> dict[str, str]:
    containers = document.children(usage, "Containers")
    running = [
        item for item in containers if document.text(item, "State") in ("running", "paused", "restarting")
    ]
    size = _sum(containers, "SizeRw")
    return _row("Containers", len(containers), len(running), size, size - _sum(running, "SizeRw"))


def _volumes(usage: Json) -> dict[str, str]:
    facts = [document.child(item, "UsageData") for item in document.children(usage, "Volumes")]
    active = [fact for fact in facts if document.number(fact, "RefCount") > 0]
    size = _sum(facts, "Size")
    return _row("Local Volumes", len(facts), len(active), size, size - _sum(active, "Size"))


def _build_cache(usage: Json) -> dict[str, str]:
    records = document.children(usage, "BuildCache")
    used = [one for one in records if document.flag(one, "InUse")]
    kept = [one for one in records if document.flag(one, "InUse") or document.flag(one, "Shared")]
    counted = [one for one in records if not document.flag(one, "Shared")]
    size = _sum(counted, "Size")
    reclaimable = size - _sum([one for one in kept if one in counted], "Size")
    row = _row("Build Cache", len(records), len(used), size, reclaimable)
    row["Reclaimable"] = human.size(reclaimable, 4)
    return row


def _sum(items: list[Json], key: str) -> int:
    return sum(max(document.number(item, key), 0) for item in items)


def _row(kind: str, total: int, active: int, size: int, reclaimable: int) -> dict[str, str]:
    share = f" ({reclaimable * 100 // size}%)" if size else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": human.size(size, 4),
        "Reclaimable": human.size(reclaimable, 4) + share,
    }
