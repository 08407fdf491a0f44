"""carboy load."""

from __future__ import annotations

from carboy.cli.archive import upload
from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = (
    ("input", "i", "string", "Read from this file, not from standard input"),
    ("quiet", "q", "bool", "Print nothing but what was loaded"),
    ("platform", "", "no", ""),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy load -i images.tar
zstd -dc images.tar.zst | carboy load
"""


def main(session: Session, parsed: Parsed) -> int:
    """Load the archive and say what it held."""
    query = (("quiet", "1" if parsed.flag("quiet") else "0"),)
    quiet = parsed.flag("quiet")
    for message in upload(
        session, parsed.text("input", "-"), "/images/load", query, label="Loading", quiet=quiet
    ):
        text = document.text(message, "stream").rstrip("\n")
        if text:
            session.out(text)
    return 0
