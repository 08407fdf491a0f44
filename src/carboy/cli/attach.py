"""carboy attach.

ctrl-p ctrl-q leaves a container with a terminal running.
"""

from __future__ import annotations

from carboy.cli import attached, launch
from carboy.client import document
from carboy.client.transport import checked, finish_hijack
from carboy.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTAINER"
FLAGS = (
    ("detach-keys", "", "string", "Keys that leave the container running (ctrl-p,ctrl-q)"),
    ("no-stdin", "", "bool", "Don't pass our input on"),
    ("sig-proxy", "", "bool", "Pass signals on to the program (default true)"),
)
ARGUMENTS = (1, 1)
EXAMPLES = """
carboy attach shell
carboy attach --no-stdin web
"""


def main(session: Session, parsed: Parsed) -> int:
    """Attach to a running container until it ends."""
    client = session.client
    details = client.get_object(f"/containers/{parsed.arguments[0]}/json")
    container, state = document.text(details, "Id"), document.child(details, "State")
    if not document.flag(state, "Running"):
        raise Conflict("You cannot attach to a stopped container, start it first")
    if document.flag(state, "Paused"):
        raise Conflict("You cannot attach to a paused container, unpause it first")
    config = document.child(details, "Config")
    tty = document.flag(config, "Tty")
    stdin = document.flag(config, "OpenStdin") and not parsed.flag("no-stdin")
    attached.check_terminal(tty=tty, stdin=stdin)
    keys, proxy = parsed.text("detach-keys"), parsed.flag("sig-proxy", default=True) and not tty
    streams = launch.Streams(stdin=stdin, stdout=True, stderr=True)
    waiting = client.connect()
    client.send(waiting, "POST", f"/containers/{container}/wait", (("condition", "not-running"),))
    stream = client.start_hijack(f"/containers/{container}/attach", streams.query(keys))
    finish_hijack(stream)
    status = checked(waiting.read_head("POST"))
    terminal = attached.Terminal(session, f"/containers/{container}/resize", tty=tty, stdin=stdin)
    try:
        watcher = attached.make_watcher(proxy=proxy, tty=tty)
        on_signal = attached.signal_handler(session, container, terminal, proxy=proxy)
        terminal.resize()
        if not attached.run_streams(
            stream, tty=tty, stdin=stdin, detach_keys=keys, watcher=watcher, on_signal=on_signal
        ):
            return 0
        return attached.final_status(session, f"/containers/{container}", status)
    finally:
        terminal.restore()
