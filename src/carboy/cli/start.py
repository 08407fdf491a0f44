"""carboy start.

With -a or -i the command stays attached, and ends with the program's exit code.
"""

from __future__ import annotations

from carboy.cli import attached, launch
from carboy.cli.each import each
from carboy.client import document
from carboy.client.transport import ServerError
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
FLAGS = (
    ("attach", "a", "bool", "Attach to its output"),
    ("interactive", "i", "bool", "Attach to its input"),
    ("detach-keys", "", "string", "Keys that leave the container running (ctrl-p,ctrl-q)"),
    ("sig-proxy", "", "bool", "Pass signals on to the program (default true)"),
    ("checkpoint", "", "no", ""),
    ("checkpoint-dir", "", "no", ""),
)
ARGUMENTS = (1, None)
EXAMPLES = """
carboy start web
carboy start -ai shell
"""


def main(session: Session, parsed: Parsed) -> int:
    """Start containers, or one of them attached."""
    attach, interactive = parsed.flag("attach"), parsed.flag("interactive")
    if not attach and not interactive:
        return each(
            session,
            parsed.arguments,
            lambda name: session.client.call("POST", f"/containers/{name}/start") and None,
        )
    if len(parsed.arguments) > 1:
        raise InvalidArgument("only one container can be started with -a or -i")
    name = parsed.arguments[0]
    details = session.client.get_object(f"/containers/{name}/json")
    config = document.child(details, "Config")
    tty = document.flag(config, "Tty")
    stdin = interactive and document.flag(config, "OpenStdin")
    attached.check_terminal(tty=tty, stdin=stdin)
    try:
        return launch.run_attached(
            session,
            document.text(details, "Id"),
            streams=launch.Streams(stdin=stdin, stdout=True, stderr=True),
            tty=tty,
            removed=document.flag(document.child(details, "HostConfig"), "AutoRemove"),
            proxy=parsed.flag("sig-proxy", default=True) and not tty,
            detach_keys=parsed.text("detach-keys"),
        )
    except ServerError as error:
        session.fail(f"Error response from daemon: {error}".replace("\n", " "))
        return 1
