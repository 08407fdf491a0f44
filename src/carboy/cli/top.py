"""carboy top.

The processes of a container as the host sees them.  Options after the name are for `ps`,
which is the host's; without any: -ef.
"""

from __future__ import annotations

from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "CONTAINER [ps OPTIONS]"
FLAGS: tuple[tuple[str, str, str, str], ...] = ()
ARGUMENTS = (1, None)
INTERSPERSED = False
EXAMPLES = """
carboy top web
carboy top web -o pid,user,args
"""


def main(session: Session, parsed: Parsed) -> int:
    """Print titles and rows in columns of twenty and more."""
    name, *arguments = parsed.arguments
    query: tuple[tuple[str, str], ...] = (("ps_args", " ".join(arguments)),) if arguments else ()
    reply = session.client.get_object(f"/containers/{name}/top", query)
    rows = [document.strings(reply, "Titles")]
    rows += [[str(cell) for cell in row] for row in reply.get("Processes") or () if isinstance(row, list)]
    widths = [
        max(20, *(len(row[index]) + 3 for row in rows if index < len(row))) for index in range(len(rows[0]))
    ]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        session.out("".join([*cells, *row[-1:]]))
    return 0
