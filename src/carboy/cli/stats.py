"""carboy stats.

A table that is redrawn every second: of the named containers, or of all that run, as they come
and go (-a: of those that don't run as well).  Into a pipe, a table or its rows each second.
"""

from __future__ import annotations

import os
import select
import time

from carboy.cli import statsrows, table
from carboy.cli.signals import Ended
from carboy.client import document
from carboy.client.transport import ServerError, checked
from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json
    from carboy.client.transport import Connection

USAGE = "[OPTIONS] [CONTAINER...]"
FLAGS = (
    ("all", "a", "bool", "All containers, not only the running ones"),
    ("format", "", "string", "How to print: json, a Go template, table TEMPLATE"),
    ("no-stream", "", "bool", "Print once and end"),
    ("no-trunc", "", "bool", "Print IDs whole"),
)
ARGUMENTS = (0, None)
EXAMPLES = """
carboy stats
carboy stats --no-stream web
carboy stats --format 'table {{.Name}}\\t{{.CPUPerc}}\\t{{.MemUsage}}'
"""
_PERIOD = 1.0
_SETTLE = 0.15
"""Seconds after the first figures of a round, in which those of the other containers arrive."""


class Watched:
    """One container's stream of figures."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self.connection = connection
        self.frame: Json | None = None
        self.failure: ServerError | None = None
        self.ended = False
        self._response: Stream | None = None

    def read_all(self) -> None:
        """Wait for the whole reply: one document."""
        try:
            reply = checked(self.connection.read_head("GET"))
            self.frame = document.as_object(reply.json())
        except ServerError as error:
            self.failure = error

    def read(self) -> None:
        """Take what has arrived; it must be readable."""
        if self._response is None:
            try:
                response = checked(self.connection.read_head("GET"))
            except ServerError as error:
                self.failure, self.ended = error, True
                return
            self._response = Stream(response.chunks())
            if not response.started:
                return
        newest = self._response.next()
        if newest is None:
            self.ended = True
        self.frame = newest or self.frame


class Stream:
    """Lines of JSON out of the pieces of a body."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._pending = b""
        self._newest: Json = {}

    def next(self) -> Json | None:
        """The newest whole document in the next piece, or the one before it; None at the end."""
        piece = next(self._chunks, None)
        if piece is None:
            return None
        *lines, self._pending = (self._pending + piece).split(b"\n")
        for line in reversed(lines):
            if line.strip():
                self._newest = document.as_object(document.decode(line))
                break
        return self._newest


class Board:
    """All containers that are shown, and the events that change which."""

    def __init__(self, session: Session, parsed: Parsed) -> None:
        self._session = session
        self._names = parsed.arguments
        self._all = parsed.flag("all")
        self._whole = parsed.flag("no-trunc")
        self._stream = not parsed.flag("no-stream")
        self._poll = select.poll()
        self._watched: dict[str, Watched] = {}
        self._events: Connection | None = None
        self._by_descriptor: dict[int, Watched] = {}

    def begin(self) -> None:
        """Ask for everything."""
        if not self._names and self._stream:
            self._events = self._session.client.connect()
            query = table.filters(["type=container", *(f"event={one}" for one in _CHANGES)])
            self._session.client.send(self._events, "GET", "/events", query)
            checked(self._events.read_head("GET"))
            self._poll.register(self._events.fileno(), select.POLLIN)
        self._refresh()

    def _refresh(self) -> None:
        wanted = self._names or self._listed()
        for name in wanted:
            if name not in self._watched:
                self._watch(name)
        for name in [one for one in self._watched if one not in wanted]:
            self._forget(self._watched.pop(name))

    def _listed(self) -> list[str]:
        query = (("all", "1"),) if self._all else ()
        found = document.objects(self._session.client.get("/containers/json", query))
        return [document.text(one, "Id") for one in found]

    def _watch(self, name: str) -> None:
        connection = self._session.client.connect()
        query = (("stream", "1" if self._stream else "0"),)
        self._session.client.send(connection, "GET", f"/containers/{name.removeprefix('/')}/stats", query)
        watched = Watched(name, connection)
        self._watched[name] = watched
        self._by_descriptor[connection.fileno()] = watched
        self._poll.register(connection.fileno(), select.POLLIN)

    def _forget(self, watched: Watched) -> None:
        descriptor = watched.connection.fileno()
        if self._by_descriptor.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)
            watched.connection.close()

    def wait_for_all(self) -> None:
        """Take one document of each; they were all asked for before."""
        for watched in self._watched.values():
            watched.read_all()

    def wait(self, seconds: float) -> bool:
        """Take what arrives within this time; whether any figures did."""
        some = False
        for descriptor, _ in self._poll.poll(max(0.0, seconds) * 1000):
            watched = self._by_descriptor.get(descriptor)
            if watched is None:
                if self._events is not None and descriptor == self._events.fileno():
                    self._changed(self._events)
                continue
            some = True
            watched.read()
            if watched.ended:
                self._forget(watched)
        return some

    def _changed(self, events: Connection) -> None:
        if not events.receive():
            raise CarboyError("the daemon ended the stream of events")
        self._refresh()

    @property
    def waiting(self) -> bool:
        """Whether somebody's first figures are still to come."""
        return any(one.frame is None and not one.ended for one in self._watched.values())

    @property
    def open(self) -> bool:
        """Whether anything can still come."""
        return bool(self._by_descriptor) or self._events is not None

    def failures(self) -> list[ServerError]:
        """What went wrong with names that were given."""
        return [one.failure for one in self._watched.values() if one.failure is not None]

    def rows(self) -> list[dict[str, str]]:
        """A row a container, the ended ones left out."""
        return [
            statsrows.row(
                one.name if self._names or self._whole else one.name[:12], one.frame, whole=self._whole
            )
            for one in self._watched.values()
            if one.failure is None and (not one.ended or not self._stream)
        ]


_CHANGES = ("create", "start", "die", "destroy", "rename")


def main(session: Session, parsed: Parsed) -> int:
    """Show the figures until the user has enough, or once."""
    board = Board(session, parsed)
    board.begin()
    template, once = parsed.text("format"), parsed.flag("no-stream")
    if once:
        board.wait_for_all()
    while not once and board.waiting:
        board.wait(_PERIOD)
    failures = board.failures()
    if failures and parsed.arguments:
        raise failures[0]
    if once:
        table.show(session, board.rows(), statsrows.COLUMNS, template=template)
        return 0
    screen = _screen(session, template)
    try:
        while board.open:
            screen.draw(board.rows())
            _take_round(board)
    except Ended:
        raise
    except KeyboardInterrupt:
        return 0
    finally:
        screen.close()
    return 0


def _take_round(board: Board) -> None:
    """Until a second has gone by, or (soon after the first one) the figures of a new round are here."""
    deadline = time.monotonic() + _PERIOD
    settled = False
    while (left := deadline - time.monotonic()) > 0:
        if board.wait(left) and not settled:
            settled = True
            deadline = min(deadline, time.monotonic() + _SETTLE)


def _screen(session: Session, template: str) -> Paper:
    from carboy.cli import terminal

    if terminal.size(1) is None or template == "json":
        return Paper(session, template)
    from carboy.cli.redraw import Screen

    return Screen(session, template)


class Paper:
    """Output that cannot be redrawn: what is new, below the old."""

    def __init__(self, session: Session, template: str) -> None:
        self._session = session
        self.template = template

    def lines(self, rows: list[dict[str, str]]) -> list[str]:
        """The rows as text."""
        return table.rendered(rows, statsrows.COLUMNS, template=self.template)

    def draw(self, rows: list[dict[str, str]]) -> None:
        """Print everything once more."""
        lines = self.lines(rows)
        if lines:
            os.write(1, ("\n".join(lines) + "\n").encode())

    def close(self) -> None:
        """Nothing is to be put back."""
