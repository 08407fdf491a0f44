"""docker-py, the client that most Python programs are written with."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import docker.tls
import pytest

from support.clients.tars import pack, unpack
from support.clients.work import Endpoint, Happening
from support.daemon import busybox_tar

UNTIDY = (
    # docker-py leaves the sockets of streams to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
)
"""Marks of tests that use docker-py's streams."""


def connect(host: str, image: str, *, changes: Sequence[str] = ()) -> Any:
    """A client, and busybox as `image`."""
    client = docker.DockerClient(base_url=host, timeout=40, version="auto")
    repository, tag = image.split(":")
    client.api.import_image_from_data(
        busybox_tar(), repository=repository, tag=tag, changes=list(changes) or None
    )
    return client


class DockerPy:
    """docker-py at work."""

    def __init__(self, endpoint: Endpoint) -> None:
        certificates = endpoint.certificates
        tls: Any = None
        if certificates is not None:
            tls = docker.tls.TLSConfig(
                client_cert=(str(certificates / "cert.pem"), str(certificates / "key.pem")),
                ca_cert=str(certificates / "ca.pem"),
                verify=True,
            )
        self._client: Any = docker.DockerClient(base_url=endpoint.host, tls=tls or False, timeout=50)
        self._endpoint = endpoint

    def run(self, image: str, command: Sequence[str], *, name: str) -> None:
        self._client.containers.run(image, list(command), detach=True, name=name, network_mode="none")

    def remove(self, name: str) -> None:
        self._client.containers.get(name).remove(force=True, v=True)

    def shell(self, name: str, script: str) -> tuple[int, str]:
        api = self._client.api
        made = api.exec_create(name, ["sh"], stdin=True)
        wrapper = api.exec_start(made["Id"], socket=True)
        sock = getattr(wrapper, "_sock", wrapper)
        sock.sendall(f"{script}\nexit\n".encode())
        data = b""
        while piece := sock.recv(65536):
            data += piece
        wrapper.close()
        sock.close()
        output = b""
        while data:
            size = int.from_bytes(data[4:8], "big")
            output, data = output + data[8 : 8 + size], data[8 + size :]
        return api.exec_inspect(made["Id"])["ExitCode"], output.decode()

    def follow(self, name: str) -> bytes:
        return b"".join(self._client.containers.get(name).logs(stream=True, follow=True))

    def copy_in(self, tree: Path, name: str, path: str) -> None:
        container = self._client.containers.get(name)
        assert container.exec_run(["mkdir", path]).exit_code == 0
        assert container.put_archive(path, pack(tree))

    def copy_out(self, name: str, path: str, tree: Path) -> None:
        chunks, stat = self._client.containers.get(name).get_archive(f"{path}/.")
        assert stat["name"]
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            unpack(tar, tree)

    @contextmanager
    def watch(self) -> Iterator[list[Happening]]:
        seen: list[Happening] = []
        stream = self._client.events(decode=True)

        def collect() -> None:
            for event in stream:
                name = event["Actor"]["Attributes"].get("name", "")
                seen.append(Happening(event["Type"], event["Action"], name))

        thread = threading.Thread(target=collect)
        thread.start()
        yield seen
        stream.close()
        thread.join(40)
        assert not thread.is_alive()

    def statistics(self, name: str) -> list[int]:
        samples = []
        stream = self._client.containers.get(name).stats(stream=True, decode=True)
        for sample in stream:
            samples.append(sample["memory_stats"]["usage"])
            if len(samples) == 2:
                break
        stream.close()
        return samples

    def close(self) -> None:
        self._client.close()
