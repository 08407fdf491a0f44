"""Archives of a container's files through the API, for tests."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from typing import Any
from urllib.parse import quote

from support.daemon import Daemon, RequestError, Unix

STAT = "X-Docker-Container-Path-Stat"


def archive_path(container: str, path: str, query: str = "") -> str:
    return f"/containers/{container}/archive?path={quote(path)}{query}"


def stat(daemon: Daemon, container: str, path: str) -> dict[str, Any]:
    """What HEAD says; raises RequestError."""
    connection = Unix(daemon.socket)
    try:
        connection.request("HEAD", archive_path(container, path))
        response = connection.getresponse()
        response.read()
        if response.status >= 400:
            raise RequestError(response.status, b"")
        found: dict[str, Any] = json.loads(base64.b64decode(response.headers[STAT]))
        return found
    finally:
        connection.close()


def get(daemon: Daemon, container: str, path: str) -> bytes:
    """The tar of a path."""
    return daemon.request("GET", archive_path(container, path))


def put(daemon: Daemon, container: str, path: str, tar: bytes, query: str = "") -> None:
    """Unpack a tar in a directory."""
    daemon.request("PUT", archive_path(container, path, query), tar)


def members(tar: bytes) -> dict[str, tarfile.TarInfo]:
    """The members of a tar, by name."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {member.name: member for member in archive}


def contents(tar: bytes, name: str) -> bytes:
    """The data of one member."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()
