"""carboy system prune.

Stopped containers, unused networks, images without a name, build cache; with -a all unused
images, with --volumes anonymous volumes.  Filters: until=TIME, label=..., label!=...
"""

from __future__ import annotations

from carboy.cli import prunes
from carboy.cli.flags import UsageError
from carboy.formats import human

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = (
    ("all", "a", "bool", "All unused images, not only those without a name"),
    ("filter", "", "list", "Only what matches: until=..., label=..."),
    ("force", "f", "bool", "Don't ask"),
    ("volumes", "", "bool", "Anonymous volumes too"),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy system prune
carboy system prune -a --volumes -f
"""


def main(session: Session, parsed: Parsed) -> int:
    """Remove everything unused, after asking."""
    filters = parsed.list("filter")
    everything, with_volumes = parsed.flag("all"), parsed.flag("volumes")
    if with_volumes and any(one.partition("=")[0] == "until" for one in filters):
        raise UsageError('ERROR: The "until" filter is not supported with "--volumes"', 1)
    if not parsed.flag("force"):
        from carboy.cli.confirm import ask

        if not ask(_question(filters, everything=everything, with_volumes=with_volumes)):
            return 0
    total = 0
    for size, text in _steps(session, filters, everything=everything, with_volumes=with_volumes):
        total += size
        if text:
            session.out(text)
    session.out(f"Total reclaimed space: {human.size(total, 4)}")
    return 0


def _steps(
    session: Session, filters: list[str], *, everything: bool, with_volumes: bool
) -> Iterator[tuple[int, str]]:
    yield prunes.containers(session, filters)
    yield prunes.where_there_are(lambda: prunes.networks(session, filters))
    if with_volumes:
        yield prunes.volumes(session, filters)
    yield prunes.images(session, filters, everything=everything)
    yield prunes.where_there_are(lambda: prunes.build_cache(session, filters, everything=everything))


def _question(filters: list[str], *, everything: bool, with_volumes: bool) -> str:
    lines = ["all stopped containers", "all networks not used by at least one container"]
    if with_volumes:
        lines.append("all anonymous volumes not used by at least one container")
    images = "images without at least one container associated to them" if everything else "dangling images"
    lines.append(f"all {images}")
    lines.append("all build cache" if everything else "unused build cache")
    text = "This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    if filters:
        text += "\n  Items to be pruned will be filtered with:\n"
        text += "".join(f"  - {one}\n" for one in sorted(filters))
    return text
