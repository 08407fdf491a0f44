"""carboy commit."""

from __future__ import annotations

from carboy.cli.tag import split_tag
from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTAINER [NAME[:TAG]]"
FLAGS = (
    ("author", "a", "string", "Author, as Name <mail@example.org>"),
    ("change", "c", "list", "Apply a Dockerfile instruction, as 'CMD [\"python\"]'"),
    ("message", "m", "string", "Commit message"),
    ("pause", "p", "bool", "Pause the container meanwhile (default true)"),
    ("no-pause", "", "bool", "Don't pause the container meanwhile"),
)
ARGUMENTS = (1, 2)
EXAMPLES = """
carboy commit work myimage:1.0
carboy commit -c 'CMD ["python3"]' -m 'with scikit-learn' work ml:1
"""


def main(session: Session, parsed: Parsed) -> int:
    """Make the image and print its ID."""
    repository, tag = split_tag(parsed.arguments[1]) if len(parsed.arguments) > 1 else ("", "")
    pause = parsed.flag("pause", default=True) and not parsed.flag("no-pause")
    query: tuple[tuple[str, str], ...] = (
        ("container", parsed.arguments[0]),
        ("pause", "1" if pause else "0"),
    )
    if repository:
        query += (("repo", repository), ("tag", tag or "latest"))
    for flag, name in (("author", "author"), ("message", "comment")):
        if parsed.given(flag):
            query += ((name, parsed.text(flag)),)
    query += tuple(("changes", change) for change in parsed.list("change"))
    session.out(document.text(session.client.post("/commit", query, {}), "Id"))
    return 0
