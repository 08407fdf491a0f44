"""carboy daemon.

Other commands start it by themselves when its socket does not answer.  SIGTERM ends it;
containers run on, and the next daemon finds them.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = (
    ("root", "", "string", "Directory of what lasts (CARBOY_ROOT)"),
    ("run", "", "string", "Directory of sockets and mounts (CARBOY_RUN)"),
    ("host", "H", "list", "Listen here: unix:///path or tcp://127.0.0.1:PORT"),
    ("bridge", "", "string", "Name of the default network's bridge"),
    ("debug", "D", "bool", "Log more"),
    ("on-demand", "", "bool", "Started by another command"),
    ("ready-fd", "", "int", "Descriptor that is told when the daemon listens"),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy daemon
carboy daemon --root /srv/carboy --run /run/carboy2 --host unix:///run/carboy2/carboy.sock
"""


def main(session: Session, parsed: Parsed) -> int:
    """Become the daemon: the same process goes on as another program."""
    arguments = [
        "--root",
        parsed.text("root") or session.home.root,
        "--run",
        parsed.text("run") or session.home.run,
    ]
    for host in parsed.list("host"):
        arguments += ["--host", host]
    for flag in ("bridge", "ready-fd"):
        if parsed.given(flag):
            arguments += ["--" + flag, parsed.text(flag)]
    if parsed.flag("debug"):
        arguments.append("--debug")
    if parsed.flag("on-demand"):
        arguments.append("--on-demand")
    os.execv(sys.executable, [sys.executable, "-m", "carboy.daemon", *arguments])
