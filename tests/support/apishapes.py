"""The shape of an answer of the Docker API: what stays the same from one engine, machine or day to another.

    python -m support.apishapes /run/docker.sock > data/docker-api/docker-20.10.json

records those of `apicases.CASES`; the engine must be empty, and is left so.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

from support.apicases import CASES, IMAGE, VERSION, Case
from support.daemon import Unix, busybox_tar

Shape = Any
"""JSON: the name of a type, a list of shapes, or shapes by key."""

HEADERS = ("Content-Type", "Upgrade", "Connection", "Docker-Experimental", "Ostype")
PRESENT = (
    "X-Docker-Container-Path-Stat",
    "Api-Version",
    "Server",
    "Swarm",
    "Builder-Version",
    "Pragma",
    "Cache-Control",
)

_ANY = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z?"), "TIME"),
    (re.compile(r"/\S+/overlay2/\S+"), "PATH"),
    (re.compile(r"dial tcp.*"), "dial tcp"),
)


class Recorder:
    """Sends cases one after the other and keeps what they answer by name."""

    def __init__(self, socket_path: str, version: str = VERSION) -> None:
        self._version = version
        self._socket = socket_path
        self._kept: dict[str, str] = {}

    def prepare(self) -> None:
        """The image."""
        repository, _, tag = IMAGE.partition(":")
        connection = Unix(self._socket)
        connection.request("POST", f"/images/create?fromSrc=-&repo={repository}&tag={tag}", busybox_tar())
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()

    def ask(self, case: Case) -> tuple[dict[str, Any], Any]:
        """The recorded form of an answer, and its documents."""
        self._kept["now"] = str(int(time.time()) + 1)
        connection = Unix(self._socket)
        connection.timeout = 20
        headers = {"Content-Type": case.content_type} if case.body is not None else {}
        if case.upgrade:
            headers |= {"Connection": "Upgrade", "Upgrade": "tcp"}
        connection.request(case.method, case.target(self._kept, self._version), case.body, headers)
        response = connection.getresponse()
        data = response.read()
        documents = list(_documents(response, data))
        if case.keep and documents and isinstance(documents[0], dict):
            self._kept[case.keep] = documents[0].get("Id", "none")
        if case.undo and response.status == 201:
            connection.request("DELETE", f"/containers/{documents[0]['Id']}?v=1")
            connection.getresponse().read()
        connection.close()
        return _record(response, data, documents), documents


def _documents(response: HTTPResponse, data: bytes) -> Iterator[Any]:
    if not response.headers.get("Content-Type", "").startswith("application/json"):
        return
    decoder = json.JSONDecoder()
    text = data.decode().strip()
    while text:
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:].strip()


def _record(response: HTTPResponse, data: bytes, documents: list[Any]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "status": response.status,
        "headers": {name: value for name in HEADERS if (value := response.headers.get(name))},
        "present": [name for name in PRESENT if name in response.headers],
    }
    first = documents[0] if documents else None
    if isinstance(first, dict) and set(first) == {"message"}:
        record["message"] = plain(first["message"])
    elif documents:
        record["shape"] = shape(documents[0]) if len(documents) == 1 else shape(documents)
    elif data:
        record["body"] = "bytes"
    return record


def plain(text: str) -> str:
    """A message without what differs each time."""
    for pattern, word in _ANY:
        text = pattern.sub(word, text)
    return text


def shape(value: Any) -> Shape:
    """Types for values; an empty value is told apart from others."""
    match value:
        case dict():
            return {_key(key): shape(one) for key, one in sorted(value.items())}
        case list():
            return [functools.reduce(_merged, map(shape, value))] if value else []
        case bool() | None:
            return value
        case int() | float():
            return "number" if value else 0
        case _:
            return "text" if value else ""


def _merged(one: Shape, other: Shape) -> Shape:
    """What holds of both elements of a list."""
    if one == other:
        return one
    if isinstance(one, dict) and isinstance(other, dict):
        both = {key: _merged(one[key], other[key]) for key in one.keys() & other.keys()}
        return {key: both.get(key, (one | other)[key]) for key in sorted(one | other)}
    if isinstance(one, list) and isinstance(other, list):
        return [_merged(one[0], other[0])] if one and other else one or other
    return "|".join(sorted({*_words(one), *_words(other)}))


def _words(one: Shape) -> list[str]:
    if isinstance(one, str):
        return one.split("|")
    return [
        json.dumps(one) if not isinstance(one, dict | list) else "object" if isinstance(one, dict) else "list"
    ]


def _key(key: str) -> str:
    return "ID" if re.fullmatch("[0-9a-f]{64}", key) else key


def main() -> None:
    """Record all cases."""
    recorder = Recorder(sys.argv[1])
    recorder.prepare()
    records = {}
    for case in CASES:
        assert case.label not in records, case.label
        records[case.label] = recorder.ask(case)[0]
    lines = (
        f" {json.dumps(label)}: {json.dumps(record, sort_keys=True)}"
        for label, record in sorted(records.items())
    )
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
