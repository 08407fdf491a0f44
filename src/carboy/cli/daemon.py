"""carboy daemon.

Other commands start it by themselves when its socket does not answer.  SIGTERM ends it;
containers run on, and the next daemon finds them.  SIGHUP reads the settings again.
"""

from __future__ import annotations

import os
import sys

from carboy.formats.settings.table import ALL_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = ALL_FLAGS
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy daemon
carboy daemon --data-root /srv/carboy --exec-root /run/carboy2
carboy daemon --config-file /etc/carboy/daemon.json --validate
carboy daemon -H fd:// -H tcp://0.0.0.0:2376 --tlsverify --tlscert cert.pem --tlskey key.pem
"""


def main(session: Session, parsed: Parsed) -> int:
    """Become the daemon: the same process goes on as another program."""
    arguments = ["--root", session.home.root, "--run", session.home.run]
    for name, _short, _kind, _help in FLAGS:
        if name in parsed.lists:
            arguments += [f"--{name}={value}" for value in parsed.list(name)]
        elif name in parsed.values:
            arguments.append(f"--{name}={parsed.text(name)}")
    os.execv(sys.executable, [sys.executable, "-m", "carboy.daemon", *arguments])
