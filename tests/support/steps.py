"""RUN steps on the real kernel, without a daemon: an engine in this process, and what a step needs.

def test_…(workbench: Workbench): workbench.run("echo hi > /file")
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest

from carboy.build.caching.mounts import CacheMounts
from carboy.build.executor import Executed, Job
from carboy.build.graph import Run, Vertex
from carboy.build.progress import Cancellation, Console
from carboy.digest import Digest
from carboy.engine.assembly import Engine
from carboy.engine.building.executor import StepExecutor
from carboy.engine.monitors import ChannelLoop, Spawner
from carboy.formats.tar import scan
from carboy.store.paths import Paths
from support.daemon import busybox_tar
from support.leftovers import control_groups, leftovers

EPOCH = 315_619_200


def tar_of(files: dict[str, bytes], *, links: dict[str, str] | None = None, mode: int = 0o644) -> bytes:
    """A layer's tar."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, BytesIO(data))
    return out.getvalue()


class Notes:
    """A reporter that remembers what was printed."""

    def __init__(self) -> None:
        self.printed = {1: bytearray(), 2: bytearray()}
        self.heard = threading.Event()

    def started(self, vertex: Vertex) -> None: ...

    def cached(self, vertex: Vertex) -> None: ...

    def explained(self, vertex: Vertex, reasons: tuple[str, ...]) -> None: ...

    def output(self, vertex: Vertex, stream: int, data: bytes) -> None:
        self.printed[stream] += data
        self.heard.set()

    def progress(self, vertex: Vertex, what: str, current: int, total: int) -> None: ...

    def finished(self, vertex: Vertex, error: str) -> None: ...

    def warning(self, vertex: Vertex | None, text: str) -> None: ...

    @property
    def out(self) -> str:
        return self.printed[1].decode(errors="replace")

    @property
    def err(self) -> str:
        return self.printed[2].decode(errors="replace")


class Workbench:
    """An engine, a busybox layer, an executor."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.paths = Paths(f"{home}/root", f"{home}/run")
        self.paths.create()
        self._loop = ChannelLoop()
        self.spawner = Spawner(self._loop, cgroup=f"{self.paths.cgroup_parent}/monitors")
        self.spawner.start()
        self.engine = Engine(self.paths, self._loop, self.spawner)
        self._loop.start()
        self.engine.recover()
        self.caches = CacheMounts(self.paths, self.engine.database)
        self.executor = StepExecutor(self.engine.containers.lifecycle._parts, self.caches)
        self.base = self.add(busybox_tar())

    def add(self, tar: bytes) -> Digest:
        """A layer."""
        return self.engine.layers.ingest(BytesIO(tar)).diff_id

    def job(self, script: str, /, **fields: Any) -> Job:
        """A RUN of a shell script above busybox."""
        job = Job(
            layers=(self.base,),
            args=("/bin/sh", "-c", script),
            env=("PATH=/bin",),
            cwd="/",
            user="",
            network="none",
            epoch=EPOCH,
        )
        return replace(job, **fields)

    def run(
        self,
        script: str,
        /,
        *,
        notes: Notes | None = None,
        cancellation: Cancellation | None = None,
        **fields: Any,
    ) -> Executed:
        """Run it; raises StepFailed."""
        return self.execute(self.job(script, **fields), notes=notes, cancellation=cancellation)

    def execute(
        self, job: Job, *, notes: Notes | None = None, cancellation: Cancellation | None = None
    ) -> Executed:
        """Run a job."""
        vertex = Vertex(index=0, operation=Run(args=job.args), name="RUN")
        return self.executor.execute(job, Console(notes or Notes(), vertex, cancellation or Cancellation()))

    def printed(self, script: str, /, **fields: Any) -> str:
        """What a script prints."""
        notes = Notes()
        self.run(script, notes=notes, **fields)
        return notes.out

    def members(self, layer: Digest | None) -> dict[str, int]:
        """Path and time of every member of a layer."""
        if layer is None:
            return {}
        fd = self.engine.layers.open_tar(layer)
        try:
            found = scan(lambda offset, size: os.pread(fd, size, offset))
            return {os.fsdecode(one.unsafe_path).rstrip("/"): one.mtime for one in found}
        finally:
            os.close(fd)

    def content(self, layer: Digest | None, path: str) -> bytes:
        """A file of a layer."""
        assert layer is not None
        fd = self.engine.layers.mount(layer)
        try:
            inner = os.open(path, os.O_RDONLY, dir_fd=fd)
            with os.fdopen(inner, "rb") as file:
                return file.read()
        finally:
            os.close(fd)

    def close(self) -> None:
        """Everything ends; what is left is a failure."""
        self.executor.close()
        left = [name for name in os.listdir(self.paths.containers) if name.startswith("build")]
        left += os.listdir(self.paths.containers_run)
        self.engine.network.remove()
        self.engine.close()
        self.spawner.close()
        self._loop.stop()
        for group in control_groups(self.paths.cgroup_parent)[::-1]:
            with contextlib.suppress(OSError):
                os.rmdir(group.removeprefix("control group "))
        assert not left, left
        assert not leftovers(self.home, self.paths.root)


@pytest.fixture(scope="module")
def workbench() -> Iterator[Workbench]:
    """One for the tests of a module."""
    if os.getuid() != 0 or not shutil.which("busybox"):
        pytest.skip("needs root and busybox-static")
    home = tempfile.mkdtemp(prefix="carboy-test-")
    try:
        made = Workbench(home)
        yield made
        made.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)
