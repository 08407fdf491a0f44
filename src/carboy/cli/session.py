"""What every command is given: the client, the output, and where it runs."""

from __future__ import annotations

import os

from carboy.client import address, config, endpoint
from carboy.client.transport import Client
from carboy.errors import CarboyError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.client.address import Home
    from carboy.client.config import UserConfig
    from carboy.client.endpoint import Endpoint, Wish


class Session:
    """One run of the command line; nothing is connected before the first request."""

    def __init__(
        self,
        client: Client,
        endpoint: Endpoint,
        home: Home,
        *,
        command: str,
        wish: Wish,
        settings: UserConfig,
    ) -> None:
        self.client = client
        self.command = command
        self.address = endpoint.address
        self.context = endpoint.context
        self.own = endpoint.own
        self.home = home
        self.wish = wish
        self.settings = settings

    def out(self, text: str, *, styled: bool = False) -> None:
        """Write a line to standard output at once.

        styled: control characters are ours, or the user's own; else none reaches a terminal.
        """
        text = text if styled else for_people(1, text)
        write_all(1, (text + "\n").encode("utf-8", "surrogateescape"))

    def warn(self, text: str) -> None:
        """Write a line to standard error."""
        write_all(2, (for_people(2, text) + "\n").encode("utf-8", "surrogateescape"))

    def fail(self, message: str) -> None:
        """Report an error that does not end the command (one of several objects)."""
        self.warn("carboy: " + message)


def open_session(options: Parsed, *, command: str, offline: bool) -> Session:
    """The session of these global flags; an `offline` command also runs when its daemon cannot be named."""
    environment = os.environ
    wish = _wish(options)
    settings = config.load(config.directory(environment, wish.config))
    if settings.warning:
        write_all(2, f"WARNING: {settings.warning}\n".encode("utf-8", "surrogateescape"))
    where = address.home(environment, os.getuid())
    try:
        chosen = endpoint.resolve(wish, environment, settings, where)
    except CarboyError:
        if not offline:
            raise
        own = address.parse("unix://" + where.socket)
        chosen = endpoint.Endpoint(own, context=endpoint.DEFAULT, own=False)

    def wake() -> None:
        from carboy.client.wake import wake

        wake(where, chosen.address)

    client = Client(
        chosen.address,
        wake if chosen.own else None,
        headers=settings.headers if settings.data else (),
        version=_version(environment.get("DOCKER_API_VERSION", "")),
    )
    return Session(client, chosen, where, command=command, wish=wish, settings=settings)


def _wish(options: Parsed) -> endpoint.Wish:
    if not options.values and not options.lists:
        return endpoint.Wish(hosts=[])
    values = options.values
    return endpoint.Wish(
        hosts=options.list("host"),
        context=options.text("context"),
        config=options.text("config"),
        tls=options.flag("tls"),
        verify=options.flag("tlsverify") if options.given("tlsverify") else None,
        ca=values.get("tlscacert"),
        cert=values.get("tlscert"),
        key=values.get("tlskey"),
    )


def _version(unsafe_text: str) -> str:
    """The API version that DOCKER_API_VERSION asks for."""
    if unsafe_text and not unsafe_text.replace(".", "", 1).isdigit():
        raise InvalidArgument(f"invalid DOCKER_API_VERSION {unsafe_text!r}: write a version as 1.51")
    return unsafe_text


def for_people(descriptor: int, text: str) -> str:
    """The text as it may be written there: harmless where it is a terminal."""
    if text.isprintable() or not os.isatty(descriptor):
        return text
    from carboy.cli.printable import harmless

    return harmless(text)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write everything, whatever the descriptor takes at a time."""
    written = os.write(descriptor, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(descriptor, data)
