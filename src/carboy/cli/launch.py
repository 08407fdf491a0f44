"""Creating a container and running it attached: the sequence behind run, create and start -a.

    create ─▶ attach (hijacked) ─▶ wait (head only) ─▶ start ─▶ streams ─▶ exit code

Attach and wait are asked for together, before the start: no output and no exit is missed.
"""

from __future__ import annotations

import os

from carboy.cli import attached
from carboy.client.config import add_proxies
from carboy.client.transport import ServerError, checked, finish_hijack
from carboy.errors import CarboyError, Conflict, InvalidArgument, NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

    Query = tuple[tuple[str, str], ...]


class Streams:
    """Which streams a run attaches to."""

    def __init__(self, *, stdin: bool, stdout: bool, stderr: bool) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    @property
    def any(self) -> bool:
        return self.stdin or self.stdout or self.stderr

    def query(self, detach_keys: str) -> Query:
        """As parameters of /attach."""
        chosen = (("stdin", self.stdin), ("stdout", self.stdout), ("stderr", self.stderr))
        keys = (("detachKeys", detach_keys),) if detach_keys else ()
        return (("stream", "1"), *((name, "1") for name, wanted in chosen if wanted), *keys)


def chosen_streams(parsed: Parsed) -> Streams:
    """The streams of `run`: those of -a, else output and, with -i, input; none with -d."""
    if parsed.flag("detach"):
        if parsed.list("attach"):
            raise InvalidArgument("conflicting options: cannot specify both --attach and --detach")
        return Streams(stdin=False, stdout=False, stderr=False)
    names = [name.lower() for name in parsed.list("attach")]
    for name in names:
        if name not in ("stdin", "stdout", "stderr"):
            raise InvalidArgument(
                f'invalid argument "{name}" for "-a, --attach" flag:'
                " valid streams are STDIN, STDOUT and STDERR"
            )
    if names:
        return Streams(stdin="stdin" in names, stdout="stdout" in names, stderr="stderr" in names)
    return Streams(stdin=parsed.flag("interactive"), stdout=True, stderr=True)


def create(session: Session, parsed: Parsed, streams: Streams) -> str:
    """Create the container of these flags; its ID. Warnings are shown, the cidfile is written."""
    from carboy.cli import containerconfig
    from carboy.client import document

    if parsed.text("pull", "missing") not in ("missing", "always", "never"):
        raise InvalidArgument(
            f'invalid pull option: \'{parsed.text("pull")}\': must be one of "always", "missing" or "never"'
        )
    if parsed.text("pull") == "always":
        raise Unsupported(
            "--pull=always: pulling comes in a later version: leave it out to use the image here"
        )
    body = containerconfig.build(parsed, attached=(streams.stdin, streams.stdout, streams.stderr))
    if body["Tty"]:
        _console_size(body)
    proxies = session.settings.proxies(session.address.url)
    if proxies:
        body["Env"] = add_proxies(body["Env"] or [], proxies)
    if parsed.flag("use-api-socket"):
        _share_socket(session, body)
    cidfile = parsed.text("cidfile")
    descriptor = _open_cidfile(cidfile) if cidfile else -1
    query = tuple((name, parsed.text(name)) for name in ("name", "platform") if parsed.text(name))
    try:
        reply = _create(session, query, body)
        container = document.text(reply, "Id")
        if descriptor >= 0:
            os.write(descriptor, container.encode())
    except BaseException:
        if descriptor >= 0:
            os.unlink(cidfile)  # it says nothing, and would stand in the way of the next run
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    for warning in document.strings(reply, "Warnings"):
        session.warn("WARNING: " + warning)
    return container


def _create(session: Session, query: Query, body: Json) -> Json:
    try:
        return session.client.post("/containers/create", query, body)
    except ServerError as error:
        if error.status == 404 and "no such image" in str(error).lower():
            raise NotFound(
                f"no image {body['Image']!r} here, and pulling comes in a later version: "
                "see `carboy images`; `carboy load` and `carboy import` bring images in"
            ) from error
        raise


def _open_cidfile(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise Conflict(
            f"container ID file found, make sure the other container isn't running or delete {path}"
        ) from error


def _share_socket(session: Session, body: Json) -> None:
    """The socket that this command itself speaks to, where programs look for it."""
    path = session.client.address.path
    if not path:
        raise Unsupported("--use-api-socket needs an engine on a unix socket of its machine")
    mounts = body["HostConfig"].setdefault("Mounts", [])
    mounts.append({"Type": "bind", "Source": path, "Target": "/var/run/docker.sock"})


def _console_size(body: Json) -> None:
    from carboy.cli.terminal import size

    current = size(1) or size(0)
    if current:
        body["HostConfig"]["ConsoleSize"] = list(current)


def discard(session: Session, container: str) -> None:
    """Remove a container that never ran, ignoring what is gone already."""
    try:
        session.client.call("DELETE", f"/containers/{container}", (("force", "1"), ("v", "1")))
    except CarboyError:
        pass


def run_attached(
    session: Session,
    container: str,
    *,
    streams: Streams,
    tty: bool,
    removed: bool,
    proxy: bool,
    detach_keys: str = "",
) -> int:
    """Attach, start, copy, wait; the program's exit code, 0 after detaching."""
    from carboy.cli.signals import begun

    client = session.client
    path = f"/containers/{container}"
    # both requests are in flight before either answer is waited for: a round trip less
    stream = client.start_hijack(path + "/attach", streams.query(detach_keys))
    waiting = client.connect()
    client.send(waiting, "POST", path + "/wait", (("condition", "removed" if removed else "next-exit"),))
    finish_hijack(stream)
    status = checked(waiting.read_head("POST"))
    terminal = attached.Terminal(session, path + "/resize", tty=tty, stdin=streams.stdin)
    try:
        watcher = attached.make_watcher(proxy=proxy, tty=tty)
        on_signal = attached.signal_handler(session, container, terminal, proxy=proxy)
        client.call("POST", path + "/start")
        begun()
        terminal.resize()
        ended = attached.run_streams(
            stream,
            tty=tty,
            stdin=streams.stdin,
            detach_keys=detach_keys,
            watcher=watcher,
            on_signal=on_signal,
        )
        if not ended:
            return 0
        if not status.started:
            from carboy.cli.streams import wait_readable

            wait_readable(waiting, watcher, on_signal)
        return attached.final_status(session, path, status)
    finally:
        terminal.restore()
        stream.close()
        waiting.close()
