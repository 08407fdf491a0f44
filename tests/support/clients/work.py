"""What every client has to manage, in words that fit all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
"""Set on machines with an authority of their own: requests prefers the first two to what docker-py says."""


@dataclass(frozen=True)
class Endpoint:
    """Where the daemon is."""

    host: str
    certificates: Path | None = None
    """The folder with ca.pem, cert.pem and key.pem, for mutual TLS."""

    def environment(self) -> dict[str, str]:
        """The variables with which Docker's clients find it."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DOCKER_") and k not in BUNDLES}
        if self.certificates is None:
            return {**kept, "DOCKER_HOST": self.host}
        tls = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(self.certificates)}
        return {**kept, "DOCKER_HOST": self.host, **tls}


@dataclass(frozen=True, order=True)
class Happening:
    """An event: `container`, `start`, the container's name."""

    kind: str
    action: str
    name: str


class Work(Protocol):
    """A client at work."""

    def run(self, image: str, command: Sequence[str], *, name: str) -> None:
        """Start a container in the background."""

    def remove(self, name: str) -> None:
        """Remove it, running or not."""

    def shell(self, name: str, script: str) -> tuple[int, str]:
        """An interactive shell in the container that is given `script` to read: exit code, output."""

    def follow(self, name: str) -> bytes:
        """Everything that the container prints, followed until it ends."""

    def copy_in(self, tree: Path, name: str, path: str) -> None:
        """Put the content of a folder into a folder of the container that is not there yet."""

    def copy_out(self, name: str, path: str, tree: Path) -> None:
        """Put the content of a folder of the container into a folder here that is not there yet."""

    def watch(self) -> AbstractContextManager[list[Happening]]:
        """Collect events meanwhile; the list is whole at the end of the block."""

    def statistics(self, name: str) -> list[int]:
        """Bytes of memory in use, as often as a stream of two samples says."""

    def close(self) -> None:
        """Let go of its connections."""
