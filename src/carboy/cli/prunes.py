"""Removing what is unused: one function a kind, each gives the space and the text that was freed.

`container prune`, `image prune`, ... call one of them, `system prune` all.
"""

from __future__ import annotations

from carboy.cli import table
from carboy.client import document
from carboy.client.transport import ServerError
from carboy.formats import human

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

    Pruned = tuple[int, str]


FLAGS = (
    ("filter", "", "list", "Only what matches: until=..., label=..."),
    ("force", "f", "bool", "Don't ask"),
)


def containers(session: Session, filters: list[str]) -> Pruned:
    """Containers that do not run."""
    reply = session.client.post("/containers/prune", table.filters(filters))
    return _told("Deleted Containers:", document.strings(reply, "ContainersDeleted"), reply)


def networks(session: Session, filters: list[str]) -> Pruned:
    """User-made networks that no container uses."""
    reply = session.client.post("/networks/prune", table.filters(filters))
    return _told("Deleted Networks:", document.strings(reply, "NetworksDeleted"), reply)


def volumes(session: Session, filters: list[str], *, everything: bool = False) -> Pruned:
    """Volumes that no container uses: anonymous ones, or all."""
    wanted = [*filters, "all=true"] if everything else filters
    reply = session.client.post("/volumes/prune", table.filters(wanted))
    return _told("Deleted Volumes:", document.strings(reply, "VolumesDeleted"), reply)


def images(session: Session, filters: list[str], *, everything: bool = False) -> Pruned:
    """Images without a name, or all that no container uses."""
    wanted = [*filters, f"dangling={'false' if everything else 'true'}"]
    reply = session.client.post("/images/prune", table.filters(wanted))
    lines = []
    for one in document.children(reply, "ImagesDeleted"):
        for key in ("Untagged", "Deleted"):
            if document.text(one, key):
                lines.append(f"{key.lower()}: {document.text(one, key)}")
    return _told("Deleted Images:", lines, reply)


def build_cache(session: Session, filters: list[str], *, everything: bool = False) -> Pruned:
    """What no build needs."""
    query: tuple[tuple[str, str], ...] = (("all", "1"),) if everything else ()
    reply = session.client.post("/build/prune", query + table.filters(filters))
    return _told("Deleted build cache objects:", document.strings(reply, "CachesDeleted"), reply)


def _told(title: str, lines: list[str], reply: Json) -> Pruned:
    text = "\n".join([title, *lines, ""]) if lines else ""
    return document.number(reply, "SpaceReclaimed"), text


def where_there_are(prune: Callable[[], Pruned]) -> Pruned:
    """Nothing, from a daemon that has no such objects."""
    try:
        return prune()
    except ServerError as error:
        if error.status in (404, 501):
            return 0, ""
        raise


def command(
    session: Session,
    parsed: Parsed,
    question: str,
    prune: Callable[[list[str]], Pruned],
    *,
    space: bool = True,
) -> int:
    """A prune of one kind: ask, do, and say what was freed."""
    from carboy.cli.confirm import ask

    if not parsed.flag("force") and not ask(question):
        return 0
    size, text = prune(parsed.list("filter"))
    if text:
        session.out(text)
    if space:
        session.out(f"Total reclaimed space: {human.size(size, 4)}")
    return 0
