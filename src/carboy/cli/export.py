"""carboy export.

The whole filesystem of a container as a tar archive, without what is mounted in it.
"""

from __future__ import annotations

import os

from carboy.cli.archive import download
from carboy.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTAINER"
FLAGS = (("output", "o", "string", "Write to this file, not to standard output"),)
ARGUMENTS = (1, 1)
EXAMPLES = """
carboy export -o web.tar web
carboy export web | carboy import - web:flat
"""


def main(session: Session, parsed: Parsed) -> int:
    """Write the archive; a file appears whole or not at all."""
    target = f"/containers/{parsed.arguments[0]}/export"
    output = parsed.text("output")
    if output:
        write_file(session, target, output)
        return 0
    if os.isatty(1):
        raise UsageError("cowardly refusing to save to a terminal. Use the -o flag or redirect", 1)
    download(session, target, (), 1)
    return 0


def write_file(session: Session, target: str, output: str) -> None:
    """Download into a file that takes its name at the end."""
    if os.path.exists(output) and not os.path.isfile(output):
        raise UsageError(f"{output} is not a regular file: redirect standard output instead", 1)
    folder = os.path.dirname(output) or "."
    if not os.path.isdir(folder):
        raise UsageError(
            f'failed to export container: invalid output path: directory "{folder}" does not exist', 1
        )
    partial = f"{output}.{os.getpid()}.partial"
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        download(session, target, (), descriptor)
        os.rename(partial, output)
    except BaseException:
        os.unlink(partial)
        raise
    finally:
        os.close(descriptor)
