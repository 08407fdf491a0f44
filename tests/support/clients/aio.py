"""aiodocker, the client of asynchronous programs."""

from __future__ import annotations

import asyncio
import ssl
import tarfile
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiodocker

from support.clients.tars import pack, unpack
from support.clients.work import Endpoint, Happening


class AioDocker:
    """aiodocker at work, in a loop of its own thread."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._docker: Any = self._do(self._connect(endpoint))

    async def _connect(self, endpoint: Endpoint) -> Any:
        context = None
        host = endpoint.host
        if endpoint.certificates is not None:
            context = ssl.create_default_context(cafile=str(endpoint.certificates / "ca.pem"))
            folder = endpoint.certificates
            context.load_cert_chain(str(folder / "cert.pem"), str(folder / "key.pem"))
            host = host.replace("tcp://", "https://")
        return aiodocker.Docker(url=host, ssl_context=context)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(50)

    def run(self, image: str, command: Sequence[str], *, name: str) -> None:
        config = {"Image": image, "Cmd": list(command), "HostConfig": {"NetworkMode": "none"}}
        self._do(self._docker.containers.run(config=config, name=name))

    def remove(self, name: str) -> None:
        self._do(self._docker.containers.container(name).delete(force=True, v=True))

    def shell(self, name: str, script: str) -> tuple[int, str]:
        return self._do(self._shell(name, script))  # type: ignore[no-any-return]

    async def _shell(self, name: str, script: str) -> tuple[int, str]:
        execution = await self._docker.containers.container(name).exec(["sh"], stdin=True)
        output = b""
        async with execution.start(detach=False) as stream:
            await stream.write_in(f"{script}\nexit\n".encode())
            while (message := await stream.read_out()) is not None:
                output += message.data
        return (await execution.inspect())["ExitCode"], output.decode()

    def follow(self, name: str) -> bytes:
        return self._do(self._follow(name)).encode()  # type: ignore[no-any-return]

    async def _follow(self, name: str) -> str:
        container = self._docker.containers.container(name)
        return "".join([piece async for piece in container.log(stdout=True, stderr=True, follow=True)])

    def copy_in(self, tree: Path, name: str, path: str) -> None:
        assert self.shell(name, f"mkdir {path}") == (0, "")
        self._do(self._docker.containers.container(name).put_archive(path, pack(tree)))

    def copy_out(self, name: str, path: str, tree: Path) -> None:
        tar: tarfile.TarFile = self._do(self._docker.containers.container(name).get_archive(f"{path}/."))
        unpack(tar, tree)

    @contextmanager
    def watch(self) -> Iterator[list[Happening]]:
        seen: list[Happening] = []
        task = asyncio.run_coroutine_threadsafe(self._watch(seen), self._loop)
        self._do(asyncio.sleep(0.2))  # its listener connects when it first runs
        yield seen
        self._do(asyncio.sleep(0.2))
        task.cancel()

    async def _watch(self, seen: list[Happening]) -> None:
        subscriber = self._docker.events.subscribe()
        while (event := await subscriber.get()) is not None:
            seen.append(
                Happening(event["Type"], event["Action"], event["Actor"]["Attributes"].get("name", ""))
            )

    def statistics(self, name: str) -> list[int]:
        return self._do(self._statistics(name))  # type: ignore[no-any-return]

    async def _statistics(self, name: str) -> list[int]:
        samples: list[int] = []
        async for sample in self._docker.containers.container(name).stats(stream=True):
            samples.append(sample["memory_stats"]["usage"])
            if len(samples) == 2:
                break
        return samples

    def close(self) -> None:
        self._do(self._docker.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(40)
        self._loop.close()
