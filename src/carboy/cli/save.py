"""carboy save.

The archive can be read by `carboy load`, by Docker and by tools for OCI layouts.
"""

from __future__ import annotations

import os

from carboy.cli.archive import download
from carboy.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] IMAGE [IMAGE...]"
FLAGS = (
    ("output", "o", "string", "Write to this file, not to standard output"),
    ("platform", "", "no", ""),
)
ARGUMENTS = (1, None)
EXAMPLES = """
carboy save -o myimage.tar myimage:1.0
carboy save a:1 b:2 | zstd > both.tar.zst
"""


def main(session: Session, parsed: Parsed) -> int:
    """Write the archive; a file appears whole or not at all."""
    query = tuple(("names", name) for name in parsed.arguments)
    output = parsed.text("output")
    if not output:
        if os.isatty(1):
            raise UsageError(
                "this would write a binary archive to your terminal: use -o FILE, or redirect it", 1
            )
        download(session, "/images/get", query, 1)
        return 0
    if os.path.exists(output) and not os.path.isfile(output):
        raise UsageError(f"{output} is not a regular file: redirect standard output instead", 1)
    folder = os.path.dirname(output) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"cannot write {output}: there is no directory {folder}", 1)
    partial = f"{output}.{os.getpid()}.partial"
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        download(session, "/images/get", query, descriptor)
        os.rename(partial, output)
    except BaseException:
        os.unlink(partial)
        raise
    finally:
        os.close(descriptor)
    return 0
