"""What a handler answers."""

from __future__ import annotations

from dataclasses import dataclass

from carboy.api.backend import Handover
from carboy.formats.dockerapi.wire import encode


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply."""

    status: int = 200
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Hijack:
    """The connection goes to `handover`; `multiplexed` chooses the content type."""

    handover: Handover
    multiplexed: bool


class Streamed:
    """The reply has been written already, through `Call.open_stream`."""


Answer = Reply | Hijack | Streamed

NO_CONTENT = Reply(status=204)
EMPTY = Reply(status=200)
CREATED = Reply(status=201)


def json_reply(document: object, *, status: int = 200) -> Reply:
    """A reply with a JSON document."""
    return Reply(status=status, body=encode(document) + b"\n", content_type="application/json")
