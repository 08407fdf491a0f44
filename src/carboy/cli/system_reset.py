"""carboy system reset.

Containers, images, volumes, networks and the daemon's own files: all of it, and nothing else.
"""

from __future__ import annotations

import os

from carboy.cli.confirm import confirm
from carboy.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = (("force", "f", "bool", "Don't ask"),)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy system reset
carboy system reset --force
"""


def main(session: Session, parsed: Parsed) -> int:
    """Ask the daemon to remove everything; it ends afterwards."""
    if not session.client.is_carboy():
        raise Unsupported(f"the daemon at {session.address.url} is not Carboy: nothing was removed")
    question = "This removes every container, image, volume and network of Carboy."
    if not parsed.flag("force") and not confirm(session, question):
        return 1
    lock = _daemon_lock(session) if session.own else -1
    session.client.call("POST", "/carboy/system/reset")
    if lock >= 0:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_SH)  # held by the daemon until it has removed its files and ends
        os.close(lock)
    session.out("Everything that Carboy made is gone.")
    return 0


def _daemon_lock(session: Session) -> int:
    try:
        return os.open(session.home.root + "/daemon.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return -1  # a daemon that keeps it elsewhere: there is nothing to wait for
