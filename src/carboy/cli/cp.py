"""carboy cp.

- as source reads a tar archive from standard input and unpacks it in a directory of the
container; - as destination writes a tar archive to standard output.
SRC_PATH/. copies what is in a directory, not the directory itself.
"""

from __future__ import annotations

import os

from carboy.cli import copypaths
from carboy.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH"
FLAGS = (
    ("archive", "a", "bool", "Archive mode (copy all uid/gid information)"),
    ("follow-link", "L", "bool", "Always follow symbol link in SRC_PATH"),
    ("quiet", "q", "bool", "Suppress progress output during copy"),
)
ARGUMENTS = (2, 2)
EXAMPLES = """
carboy cp data.csv web:/srv/
carboy cp web:/var/log/. logs
carboy cp web:/etc - | tar t
"""


def main(session: Session, parsed: Parsed) -> int:
    """Copy one way or the other."""
    source, destination = parsed.arguments
    if not source:
        raise UsageError("source can not be empty", 1)
    if not destination:
        raise UsageError("destination can not be empty", 1)
    from_container, from_path = copypaths.split_argument(source)
    to_container, to_path = copypaths.split_argument(destination)
    if from_container and to_container:
        raise UsageError("copying between containers is not supported", 1)
    quiet = parsed.flag("quiet", default=not os.isatty(1))
    if from_container:
        from carboy.cli.copyout import copy_out

        copy_out(session, from_container, from_path, to_path, follow=parsed.flag("follow-link"), quiet=quiet)
        return 0
    if not to_container:
        raise UsageError("must specify at least one container source", 1)
    from carboy.cli.copyin import copy_in

    copy_in(
        session,
        from_path,
        to_container,
        to_path,
        follow=parsed.flag("follow-link"),
        owner=parsed.flag("archive"),
        quiet=quiet,
    )
    return 0
