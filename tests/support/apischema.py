"""Requests made from Docker's own description of its API (tests/data/docker-api), by schemathesis.

    for request in requests(seed=1, each=6): …

Valid by the description, which still means: odd texts, huge numbers, empty lists, anything in
free-form fields.  `broken` makes what no description allows of them.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import hypothesis

_OURS = ("content-length", "content-type", "host")

SCHEMA = Path(__file__).parents[1] / "data" / "docker-api" / "v1.51.json"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent."""

    label: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None


def document() -> dict[str, Any]:
    """The description."""
    found: dict[str, Any] = json.loads(SCHEMA.read_text())
    return found


def requests(*, seed: int, each: int) -> Iterator[Request]:
    """`each` requests of every operation, a slice of each operation at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis  # half a second

        schema = schemathesis.openapi.from_dict({**document(), "schemes": ["http"], "host": "localhost"})
        operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]  # or raises
        random.Random(seed).shuffle(operations)
        for operation in operations:
            yield from _of(operation, seed, each)


def _of(operation: Any, seed: int, each: int) -> list[Request]:
    from schemathesis.core.errors import SerializationNotPossible

    made: list[Request] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=each,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy())
    def collect(case: Any) -> None:
        made.append(_request(operation.label, case))

    try:
        collect()
    except SerializationNotPossible:  # archives: other tests make better ones
        target = operation.path.replace("{name}", "x")
        made = [Request(operation.label, operation.method.upper(), target, {}, b"no archive")]
    return made


def _request(label: str, case: Any) -> Request:
    path = case.path
    for name, value in (case.path_parameters or {}).items():
        path = path.replace("{" + name + "}", quote(str(value), safe=""))
    pairs = [(name, _text(value)) for name, value in (case.query or {}).items()]
    query = urlencode(pairs, errors="surrogatepass") if pairs else ""
    headers = {
        name: text
        for name, value in (case.headers or {}).items()
        if (text := str(value)).isascii() and text.isprintable() and name.lower() not in _OURS
    }
    body = _body(case.body)
    if body is not None:
        headers["Content-Type"] = "application/json"
    return Request(label, case.method.upper(), path + ("?" + query if query else ""), headers, body)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _body(value: object) -> bytes | None:
    if value is None or type(value).__name__ == "NotSet":
        return None
    if isinstance(value, bytes):
        return value
    return json.dumps(value).encode("utf-8", "surrogatepass")


def broken(random_: random.Random, body: bytes) -> bytes:
    """The body, but cut off, too deep, too large, of another type, or with a few other bytes."""
    match random_.randrange(6):
        case 0:
            return body[: random_.randrange(len(body) + 1)]
        case 1:
            return body + random_.choice([b"}", b"{}", b"\0", b" trailing"])
        case 2:
            depth = random_.choice([20, 100, 5000])
            return b'{"Image":' + b"[" * depth + b"]" * depth + b"}"
        case 3:
            return b"[" + body + b"]"
        case 4:
            return body.replace(b'"', random_.choice([b"", b"'", b'\\"', b'"\xff']))
        case _:
            at = random_.randrange(len(body) + 1)
            return body[:at] + random_.randbytes(4) + body[at + 4 :]
