"""carboy system df."""

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
    ("verbose", "v", "no:bool", ""),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy system df
"""


COLUMNS = (
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
)


def main(session: Session, parsed: Parsed) -> int:
    """Print how much images, containers and volumes take, and how much is unused."""
    usage = session.client.get_object("/system/df")
    images = document.children(usage, "Images")
    containers = document.children(usage, "Containers")
    volumes = document.children(usage, "Volumes")
    used = [item for item in images if document.number(item, "Containers") > 0]
    layers = document.number(usage, "LayersSize")
    # What used images share is kept as well; by how many of them is not told: the largest share counts.
    shares = [max(document.number(item, "SharedSize"), 0) for item in used]
    kept = sum(document.number(item, "Size") for item in used) - sum(shares) + max(shares, default=0)
    running = [
        item for item in containers if document.text(item, "State") in ("running", "paused", "restarting")
    ]
    facts = [document.child(item, "UsageData") for item in volumes]
    active = [fact for fact in facts if document.number(fact, "RefCount") > 0]
    rows = [
        _row("Images", len(images), len(used), layers, max(layers - kept, 0) if layers else 0),
        _row("Containers", len(containers), len(running), _sum(containers, "SizeRw"),
             _sum(containers, "SizeRw") - _sum(running, "SizeRw")),
        _row("Local Volumes", len(volumes), len(active), _sum(facts, "Size"),
             _sum(facts, "Size") - _sum(active, "Size")),
    ]  # fmt: skip
    table.show(session, rows, COLUMNS, template=parsed.text("format"))
    return 0


def _sum(items: list[Json], key: str) -> int:
    return sum(max(document.number(item, key), 0) for item in items)


def _row(kind: str, total: int, active: int, size: int, reclaimable: int) -> dict[str, str]:
    share = f" ({reclaimable * 100 // size}%)" if size else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": human.size(size),
        "Reclaimable": human.size(reclaimable) + share,
    }
