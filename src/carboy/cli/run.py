"""carboy run.

Without -d the command stays attached: it shows the output, passes signals on and ends
with the program's exit code.  125: Carboy failed; 126: the command cannot be executed;
127: it was not found; 128+N: ended by signal N.  ctrl-p ctrl-q leaves a container that
was started with -it running.
"""

from __future__ import annotations

from carboy.cli import attached, launch
from carboy.cli.containerflags import CONTAINER_FLAGS
from carboy.client.transport import ServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
FLAGS = (
    *CONTAINER_FLAGS,
    ("detach", "d", "bool", "Run in the background and print the container's ID"),
    ("detach-keys", "", "string", "Keys that leave the container running (ctrl-p,ctrl-q)"),
    ("sig-proxy", "", "bool", "Pass signals on to the program (default true)"),
)
ARGUMENTS = (1, None)
INTERSPERSED = False
EXAMPLES = """
carboy run --rm debian echo hello
carboy run -it --rm -v "$PWD":/work -w /work python:3.12 bash
carboy run -d --name web --memory 512m --cpus 1.5 myimage
"""


def main(session: Session, parsed: Parsed) -> int:
    """Create the container, start it, and stay until it ends (or not, with -d)."""
    from carboy.cli.signals import Interrupted, begun, raise_on_end

    streams = launch.chosen_streams(parsed)
    tty = parsed.flag("tty")
    attached.check_terminal(tty=tty, stdin=streams.stdin)
    raise_on_end()
    container = ""
    try:
        container = launch.create(session, parsed, streams)
        if not streams.any:
            session.client.call("POST", f"/containers/{container}/start")
            begun()
            session.out(container)
            return 0
        return launch.run_attached(
            session,
            container,
            streams=streams,
            tty=tty,
            removed=parsed.flag("rm"),
            proxy=parsed.flag("sig-proxy", default=True) and not tty,
            detach_keys=parsed.text("detach-keys"),
        )
    except Interrupted as signal:
        if container:
            launch.discard(session, container)
        return 128 + signal.number
    except ServerError as error:
        if not container:
            raise
        if parsed.flag("rm"):
            launch.discard(session, container)
        session.fail(f"Error response from daemon: {error}".replace("\n", " "))
        return attached.start_exit_code(error)
