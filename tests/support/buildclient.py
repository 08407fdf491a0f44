"""A client of `POST /build` for tests: the standard library's HTTP, and nothing of ours."""

from __future__ import annotations

import base64
import http.client
import json
import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from support.archives import Members, make_tar
from support.daemon import Daemon, RequestError, Unix


@dataclass
class Built:
    """The messages of a build."""

    messages: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """What a client shows."""
        return "".join(one.get("stream", "") for one in self.messages)

    @property
    def error(self) -> str:
        """Why it failed; empty when it did not."""
        return next((one["error"] for one in self.messages if "error" in one), "")

    @property
    def code(self) -> int:
        """The exit code of the program that failed."""
        code: int = next((one["errorDetail"].get("code", 0) for one in self.messages if "error" in one), 0)
        return code

    @property
    def id(self) -> str:
        """The image's ID."""
        assert not self.error, self.error
        found: str = [one["aux"]["ID"] for one in self.messages if "aux" in one and "ID" in one["aux"]][-1]
        return found

    @property
    def traces(self) -> list[dict[str, Any]]:
        """What a client of ours is told beside it."""
        return [one["aux"] for one in self.messages if one.get("id") == "carboy.trace"]

    def trace(self, kind: str) -> dict[str, Any]:
        """The last of a kind."""
        return [one for one in self.traces if one["Kind"] == kind][-1]


def query(**fields: Any) -> str:
    """A query: dictionaries as JSON, lists as several values."""
    pairs: list[tuple[str, str]] = []
    for name, value in fields.items():
        if isinstance(value, dict) or name in ("cachefrom", "ulimits", "outputs"):
            pairs.append((name, json.dumps(value)))
        elif isinstance(value, list):
            pairs += [(name, one) for one in value]
        else:
            pairs.append((name, str(value)))
    return urlencode(pairs)


def build(daemon: Daemon, members: Members | str | bytes = b"", **fields: Any) -> Built:
    """Build a context (members of a tar), or a lone Dockerfile's text; RequestError before the stream."""
    if isinstance(members, str):
        members = {"Dockerfile": members.encode()}
    body = members if isinstance(members, bytes) else make_tar(members)
    answer = daemon.request("POST", f"/v1.41/build?{query(**fields)}", body)
    return Built([json.loads(line) for line in answer.splitlines() if line.strip()])


def start(daemon: Daemon, members: Members, **fields: Any) -> tuple[Unix, http.client.HTTPResponse]:
    """A build that is under way: the answer's head is here."""
    connection = Unix(daemon.socket)
    body = make_tar(members)
    connection.request("POST", f"/v1.41/build?{query(**fields)}", body, {"Content-Type": "application/x-tar"})
    response = connection.getresponse()
    if response.status >= 400:
        raise RequestError(response.status, response.read())
    return connection, response


def begin(daemon: Daemon, **options: Any) -> str:
    """Announce a build; bytes become base64."""
    answer = daemon.post("/build/begin", plain(options))
    build_id: str = answer["Id"]
    return build_id


def plain(value: Any) -> Any:
    """Bytes as base64, in whatever holds them."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def directory(path: str | os.PathLike[str]) -> tuple[int, dict[str, Any]]:
    """A descriptor to hand over, and the context that names it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return descriptor, {"Kind": "directory", "Descriptor": descriptor, "Path": str(path)}
