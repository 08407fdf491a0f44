"""The `docker` program, of whatever version; and the same through python-on-whales."""

from __future__ import annotations

import datetime
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.clients.work import Endpoint, Happening


class DockerCommand:
    """`docker`, run as a person would."""

    def __init__(self, endpoint: Endpoint, program: str) -> None:
        self._program = program
        self._environment = endpoint.environment()

    def call(self, *arguments: str, given: bytes = b"") -> bytes:
        """Its standard output; fails when it fails."""
        done = subprocess.run(
            [self._program, *arguments], input=given, capture_output=True, env=self._environment, timeout=50
        )
        assert done.returncode == 0, (arguments, done.stderr.decode(errors="replace"))
        return done.stdout

    def run(self, image: str, command: Sequence[str], *, name: str) -> None:
        self.call("run", "--detach", "--network=none", "--name", name, image, *command)

    def remove(self, name: str) -> None:
        self.call("rm", "--force", "--volumes", name)

    def shell(self, name: str, script: str) -> tuple[int, str]:
        done = subprocess.run(
            [self._program, "exec", "--interactive", name, "sh"],
            input=script.encode(),
            capture_output=True,
            env=self._environment,
            timeout=50,
        )
        return done.returncode, done.stdout.decode()

    def follow(self, name: str) -> bytes:
        return self.call("logs", "--follow", name)

    def copy_in(self, tree: Path, name: str, path: str) -> None:
        self.call("cp", "--archive", f"{tree}/.", f"{name}:{path}")

    def copy_out(self, name: str, path: str, tree: Path) -> None:
        self.call("cp", "--archive", f"{name}:{path}", str(tree))

    @contextmanager
    def watch(self) -> Iterator[list[Happening]]:
        seen: list[Happening] = []
        since = time.time()
        yield seen
        lines = self.call(
            "events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "--format", "{{json .}}"
        )
        for line in lines.splitlines():
            event = json.loads(line)
            seen.append(
                Happening(event["Type"], event["Action"], event["Actor"]["Attributes"].get("name", ""))
            )

    def statistics(self, name: str) -> list[int]:
        samples = []
        with subprocess.Popen(
            [self._program, "stats", "--format", "{{.MemUsage}}", name],
            stdout=subprocess.PIPE,
            env=self._environment,
        ) as process:
            assert process.stdout is not None
            for raw in process.stdout:
                text = raw.decode().replace("\x1b[2J\x1b[H", "").replace("\x1b[H", "").replace("\x1b[K", "")
                text = text.replace("\x1b[J", "").strip()
                if text and not text.startswith("--"):
                    samples.append(_bytes(text.split(" / ")[0]))
                if len([sample for sample in samples if sample]) == 2:
                    break
            process.terminate()
        return [sample for sample in samples if sample]

    def close(self) -> None:
        pass


def _bytes(text: str) -> int:
    for suffix, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("kB", 1000), ("B", 1)):
        if text.endswith(suffix):
            return int(float(text.removesuffix(suffix)) * factor)
    raise AssertionError(f"not a size: {text!r}")


class Whales:
    """python-on-whales, which drives the same program and reads what it prints."""

    def __init__(self, endpoint: Endpoint, program: str) -> None:
        import python_on_whales

        certificates = endpoint.certificates
        tls: dict[str, Any] = {}
        if certificates is not None:
            tls = {
                "tls": True,
                "tlsverify": True,
                "tlscacert": str(certificates / "ca.pem"),
                "tlscert": str(certificates / "cert.pem"),
                "tlskey": str(certificates / "key.pem"),
            }
        self._docker: Any = python_on_whales.DockerClient(host=endpoint.host, client_call=[program], **tls)

    def run(self, image: str, command: Sequence[str], *, name: str) -> None:
        container = self._docker.run(image, list(command), detach=True, name=name, networks=["none"])
        assert container.name == name

    def remove(self, name: str) -> None:
        self._docker.remove(name, force=True, volumes=True)

    def shell(self, name: str, script: str) -> tuple[int, str]:
        import python_on_whales

        try:
            output = self._docker.execute(name, ["sh", "-c", script])
        except python_on_whales.DockerException as error:
            return error.return_code, str(error.stdout)
        return 0, f"{output}\n"

    def follow(self, name: str) -> bytes:
        stream = self._docker.logs(name, follow=True, stream=True)
        return b"".join(data for _, data in stream)

    def copy_in(self, tree: Path, name: str, path: str) -> None:
        self._docker.copy(f"{tree}/.", (name, path))

    def copy_out(self, name: str, path: str, tree: Path) -> None:
        self._docker.copy((name, path), str(tree))

    @contextmanager
    def watch(self) -> Iterator[list[Happening]]:
        seen: list[Happening] = []
        since = datetime.datetime.now(datetime.UTC)

        def collect(until: datetime.datetime) -> None:
            for event in self._docker.system.events(since=since, until=until):
                name = event.actor.attributes.get("name", "")
                seen.append(Happening(event.type, event.action, str(name)))

        yield seen
        thread = threading.Thread(target=collect, args=(datetime.datetime.now(datetime.UTC),))
        thread.start()
        thread.join()

    def statistics(self, name: str) -> list[int]:
        return [int(self._docker.stats(name)[0].memory_used) for _ in range(2)]

    def close(self) -> None:
        pass
