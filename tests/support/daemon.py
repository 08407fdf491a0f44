"""A private daemon for tests: own root, run directory, bridge and control group; gone at the end.

    from support.daemon import Daemon, daemon          # `daemon` is a fixture

The HTTP here is the standard library's, so that tests judge the API by an independent client.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carboy.store.paths import Paths
from support.leftovers import leftovers

REPOSITORY = Path(__file__).parents[2]
IMAGE = "busybox:test"
APPLETS = str.split(
    "sh ls cat true false sleep echo id env ps mkdir head tail ip ping hostname grep mount touch seq yes "
    "printf stat tty stty sync chmod chown kill dd rm cp mv test expr wc sort cut tr nc readlink uname df "
    "date dirname basename pwd nproc usleep ln find sed awk mknod chroot unshare ulimit httpd"
)


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("carboy", timeout=40)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class RequestError(AssertionError):
    """An answer that was an error."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body.decode(errors='replace')}")
        self.status = status
        try:
            self.message: str = json.loads(body)["message"]
        except (ValueError, KeyError, TypeError):
            self.message = body.decode(errors="replace")


class Daemon:
    """One daemon process and a client of it."""

    def __init__(self, home: str, *options: str) -> None:
        self.home = home
        self.options = options
        self.root = f"{home}/root"
        self.run = f"{home}/run"
        self.socket = f"{self.run}/carboy.sock"
        self.host = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def paths(self) -> Paths:
        """Where it keeps what."""
        return Paths(self.root, self.run)

    @property
    def bridge(self) -> str:
        """The name that the daemon derives from its root."""
        return f"cb{self.paths.suffix}"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        ready, tell = os.pipe()
        command = [sys.executable, "-m", "carboy.daemon", "--root", self.root, "--run", self.run]
        with open(f"{self.home}/log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, "--host", self.host, *self.options, "--ready-fd", str(tell)],
                env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
                pass_fds=[tell],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        os.close(tell)
        with open(ready, "rb") as pipe:
            assert pipe.read() == b"ready\n", self.log()

    def log(self) -> str:
        """What the daemon said."""
        return Path(f"{self.home}/log").read_text()

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """One request; raises RequestError for a status of 400 or more."""
        connection = Unix(self.socket)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            response = connection.getresponse()
            answer = response.read()
            if response.status >= 400:
                raise RequestError(response.status, answer)
            return answer
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return json.loads(self.request("GET", path))

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON that a POST answers, None when it is empty."""
        answer = self.request("POST", path, body)
        return json.loads(answer) if answer else None

    def make_image(self, reference: str = IMAGE, tar: bytes | None = None) -> str:
        """Import an image of busybox; gives its id."""
        repository, _, tag = reference.partition(":")
        query = f"fromSrc=-&repo={repository}&tag={tag or 'latest'}"
        answer = self.request("POST", f"/images/create?{query}", tar or busybox_tar())
        status: str = json.loads(answer.splitlines()[-1])["status"]
        return status

    def create(self, *command: str, name: str = "", host: dict[str, Any] | None = None, **config: Any) -> str:
        """Create a container of busybox; gives its id."""
        body = {"Image": IMAGE, "Cmd": list(command), "HostConfig": host or {}, **config}
        created = self.post(f"/containers/create{f'?name={name}' if name else ''}", body)
        container_id: str = created["Id"]
        return container_id

    def run_container(
        self, *command: str, host: dict[str, Any] | None = None, **config: Any
    ) -> tuple[int, bytes, bytes]:
        """Create, start, wait, read the log, remove: exit code, stdout, stderr."""
        container = self.create(*command, host={"NetworkMode": "none", **(host or {})}, **config)
        try:
            self.post(f"/containers/{container}/start")
            code = self.wait(container)
            return code, self.output(container, "stdout"), self.output(container, "stderr")
        finally:
            self.request("DELETE", f"/containers/{container}?force=1&v=1")

    def shell(self, script: str, **options: Any) -> str:
        """What a shell script prints in a container of its own; it has to succeed."""
        code, out, err = self.run_container("sh", "-c", script, **options)
        assert code == 0, err
        return out.decode()

    def wait(self, container: str, condition: str = "not-running") -> int:
        """The exit code."""
        code: int = self.post(f"/containers/{container}/wait?condition={condition}")["StatusCode"]
        return code

    def output(self, container: str, stream: str = "stdout", query: str = "") -> bytes:
        """What the log holds of one stream."""
        data = self.request("GET", f"/containers/{container}/logs?{stream}=1{query}")
        if data[:1] not in (b"\1", b"\2", b""):
            return data  # a terminal's
        return demultiplex(data)[1 if stream == "stdout" else 2]

    def remove_all(self) -> None:
        """Remove every container."""
        for one in self.get("/containers/json?all=1"):
            self.request("DELETE", f"/containers/{one['Id']}?force=1&v=1")

    def descriptors(self, *pids: int) -> list[str]:
        """What the daemon, or these processes, have open, without the database.

        Each of the daemon's threads opens that for itself, and when a thread begins depends on the load.
        """
        assert self.process is not None
        found = []
        for pid in pids or (self.process.pid,):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        return [target for target in found if not target.startswith(self.paths.db)]

    def close(self) -> None:
        """Reset, and check that nothing is left of it on the machine."""
        if self.process is None:
            return
        if self.process.poll() is not None:
            self.start()
        self.request("POST", "/carboy/system/reset")
        self.process.wait(40)
        left = leftovers(self.home, self.root)
        assert not left, f"left on the machine: {left}"


def demultiplex(data: bytes) -> dict[int, bytes]:
    """The streams in stdcopy frames."""
    streams = {1: b"", 2: b""}
    position = 0
    while position < len(data):
        stream, size = data[position], int.from_bytes(data[position + 4 : position + 8], "big")
        streams[stream] += data[position + 8 : position + 8 + size]
        position += 8 + size
    return streams


def busybox_tar(extra: dict[str, tuple[int, bytes]] | None = None) -> bytes:
    """A root filesystem of the machine's own busybox."""
    program = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    files = {
        "bin/busybox": (0o755, program),
        "etc/passwd": (0o644, b"root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n"),
        "etc/group": (0o644, b"root:x:0:\nme:x:1000:\nextra:x:2000:me\n"),
        **(extra or {}),
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "tmp", "etc", "root", "dev", "proc", "sys", "var", "home"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        for name, (mode, data) in files.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = mode, len(data)
            tar.addfile(info, io.BytesIO(data))
        for applet in APPLETS:
            info = tarfile.TarInfo(f"bin/{applet}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
    return out.getvalue()


def running_daemon(*options: str) -> Iterator[Daemon]:
    """A daemon with more options, for fixtures: `yield from running_daemon(…)`."""
    if os.getuid() != 0 or not shutil.which("busybox"):
        pytest.skip("needs root and busybox-static")
    home = tempfile.mkdtemp(prefix="carboy-test-")
    running = Daemon(home, *options)
    try:
        running.start()
        running.make_image()
        yield running
        running.close()
    except BaseException:
        with contextlib.suppress(OSError, AssertionError, subprocess.TimeoutExpired):
            running.close()
        raise
    finally:
        if running.process is not None and running.process.poll() is None:
            running.kill()
        shutil.rmtree(home, ignore_errors=True)


_running = running_daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with the image `busybox:test`, shared by the tests of one module."""
    yield from running_daemon()


@pytest.fixture
def own_daemon() -> Iterator[Daemon]:
    """A daemon for one test, that may be killed."""
    yield from running_daemon()
