"""carboy import.

The tar may be compressed (gzip, bzip2, xz, zstd); - reads standard input.
"""

from __future__ import annotations

from carboy.cli.archive import upload
from carboy.cli.tag import split_tag
from carboy.client import document
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] FILE|- [NAME[:TAG]]"
FLAGS = (
    ("change", "c", "list", "Apply a Dockerfile instruction, as 'CMD [\"python\"]'"),
    ("message", "m", "string", "Commit message"),
    ("platform", "", "string", "Platform of the image"),
)
ARGUMENTS = (1, 2)
EXAMPLES = """
carboy import rootfs.tar debian:bookworm
mmdebstrap bookworm - | carboy import - debian:bookworm
"""


def main(session: Session, parsed: Parsed) -> int:
    """Make the image and print its ID."""
    if parsed.arguments[0].startswith(("http://", "https://")):
        raise InvalidArgument(
            "importing from a URL is not supported: download it, or pipe it into `import -`"
        )
    repository, tag = split_tag(parsed.arguments[1]) if len(parsed.arguments) > 1 else ("", "")
    query: tuple[tuple[str, str], ...] = (("fromSrc", "-"),)
    if repository:
        query += (("repo", repository), ("tag", tag or "latest"))
    for name in ("message", "platform"):
        if parsed.given(name):
            query += ((name, parsed.text(name)),)
    query += tuple(("changes", change) for change in parsed.list("change"))
    last = ""
    for message in upload(session, parsed.arguments[0], "/images/create", query, label="Importing"):
        last = document.text(message, "status") or last
    session.out(last)
    return 0
