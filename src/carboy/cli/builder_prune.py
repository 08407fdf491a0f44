"""carboy builder prune.

Without --all only what no image and no newer step uses goes; cache mounts, too, are part of the cache.
"""

from __future__ import annotations

from carboy.cli import table, units
from carboy.cli.confirm import ask
from carboy.client import document
from carboy.formats import human

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = (
    ("all", "a", "bool", "Everything, not only what nothing uses"),
    ("builder", "", "string", "Not used: there is one builder"),
    ("filter", "", "list", "Only what matches: until=24h, type=exec.cachemount, ..."),
    ("force", "f", "bool", "Don't ask"),
    ("keep-storage", "", "string", "Keep this much, the newest: 10GB"),
    ("max-used-space", "", "string", "Bound of what may stay"),
    ("min-free-space", "", "string", "Remove until so much of the disk is free"),
    ("reserved-space", "", "string", "Keep this much in any case"),
    ("verbose", "", "bool", "Say what was removed"),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy builder prune
carboy builder prune -af --filter until=168h
carboy builder prune -f --keep-storage 10GB
"""

_SIZES = ("keep-storage", "reserved-space", "max-used-space", "min-free-space")


def main(session: Session, parsed: Parsed) -> int:
    """Ask, remove, and say how much was freed."""
    everything = parsed.flag("all")
    what = "all build cache" if everything else "all dangling build cache"
    query: tuple[tuple[str, str], ...] = (("all", "1"),) if everything else ()
    for name in _SIZES:
        if parsed.given(name):
            query += ((name, str(_bytes(parsed.text(name), f"--{name}"))),)
    filters = table.filters(parsed.list("filter"))
    if not parsed.flag("force") and not ask(f"This will remove {what}."):
        return 0
    reply = session.client.post("/build/prune", query + filters)
    lines = document.strings(reply, "CachesDeleted")
    if lines:
        session.out("\n".join(["Deleted build cache objects:", *lines, ""]))
    session.out(f"Total reclaimed space: {human.size(document.number(reply, 'SpaceReclaimed'), 4)}")
    return 0


def _bytes(text: str, flag: str) -> int:
    return units.parse_size(text, flag)
