"""carboy exec.

The exit code is the command's own; 126: it cannot be executed; 127: it was not found.
"""

from __future__ import annotations

import os

from carboy.cli import attached
from carboy.client import document
from carboy.client.transport import finish_hijack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

USAGE = "[OPTIONS] CONTAINER COMMAND [ARG...]"
FLAGS = (
    ("detach", "d", "bool", "Run in the background"),
    ("detach-keys", "", "string", "Keys that leave the command running (ctrl-p,ctrl-q)"),
    ("env", "e", "list", "Set a variable: NAME=VALUE, or NAME to pass yours on"),
    ("env-file", "", "list", "Read variables from a file"),
    ("interactive", "i", "bool", "Keep stdin open"),
    ("privileged", "", "bool", "Give the command all rights"),
    ("tty", "t", "bool", "Give it a terminal"),
    ("user", "u", "string", "User: NAME|UID[:GROUP|GID]"),
    ("workdir", "w", "string", "Working directory inside"),
)
ARGUMENTS = (2, None)
INTERSPERSED = False
EXAMPLES = """
carboy exec web cat /etc/hostname
carboy exec -it web sh
carboy exec -u nobody -e DEBUG=1 -w /tmp web id
"""


def main(session: Session, parsed: Parsed) -> int:
    """Create the exec, start it, copy its streams, ask for its exit code."""
    client = session.client
    detach, tty = parsed.flag("detach"), parsed.flag("tty")
    stdin = parsed.flag("interactive") and not detach
    attached.check_terminal(tty=tty, stdin=stdin)
    config = _config(parsed, stdin=stdin, detach=detach)
    if tty:
        _console_size(config)
    reply = client.post(f"/containers/{parsed.arguments[0]}/exec", body=config)
    path = "/exec/" + document.text(reply, "Id")
    start: Json = {"Detach": detach, "Tty": tty}
    if detach:
        client.call("POST", path + "/start", body=start)
        return 0
    if "ConsoleSize" in config:
        start["ConsoleSize"] = config["ConsoleSize"]
    stream = client.start_hijack(path + "/start", body=start)
    finish_hijack(stream)
    terminal = attached.Terminal(session, path + "/resize", tty=tty, stdin=stdin)
    try:
        watcher = attached.make_watcher(proxy=False, tty=tty)
        on_signal = attached.signal_handler(session, "", terminal, proxy=False)
        terminal.resize()
        ended = attached.run_streams(
            stream,
            tty=tty,
            stdin=stdin,
            detach_keys=parsed.text("detach-keys"),
            watcher=watcher,
            on_signal=on_signal,
        )
    finally:
        terminal.restore()
        stream.close()
    return document.number(client.get_object(path + "/json"), "ExitCode") & 0xFF if ended else 0


def _config(parsed: Parsed, *, stdin: bool, detach: bool) -> Json:
    config: Json = {
        "Cmd": parsed.arguments[1:],
        "AttachStdin": stdin,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "Tty": parsed.flag("tty"),
        "Detach": detach,
        "Privileged": parsed.flag("privileged"),
        "User": parsed.text("user"),
        "WorkingDir": parsed.text("workdir"),
    }
    if parsed.given("detach-keys"):
        config["DetachKeys"] = parsed.text("detach-keys")
    if parsed.given("env") or parsed.given("env-file"):
        from carboy.cli.values import environment

        config["Env"] = environment(parsed.list("env"), parsed.list("env-file"), os.environ)
    return config


def _console_size(config: Json) -> None:
    from carboy.cli.terminal import size

    current = size(1) or size(0)
    if current:
        config["ConsoleSize"] = list(current)
