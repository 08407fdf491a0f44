"""What every command is given: the client, the output, and where it runs."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.address import Address, Home
    from carboy.client.transport import Client


class Session:
    """One run of the command line."""

    def __init__(self, client: Client, address: Address, home: Home, *, command: str, own: bool) -> None:
        self.client = client
        self.address = address
        self.home = home
        self.command = command
        self.own = own

    def out(self, text: str) -> None:
        """Write a line to standard output at once."""
        write_all(1, (text + "\n").encode("utf-8", "surrogateescape"))

    def warn(self, text: str) -> None:
        """Write a line to standard error."""
        write_all(2, (text + "\n").encode("utf-8", "surrogateescape"))

    def fail(self, message: str) -> None:
        """Report an error that does not end the command (one of several objects)."""
        self.warn("carboy: " + message)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write everything, whatever the descriptor takes at a time."""
    written = os.write(descriptor, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(descriptor, data)
