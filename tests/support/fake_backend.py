"""An engine in memory: the API's backend for tests, with Docker's texts and none of the kernel.

A container runs nothing: it "runs" until it is stopped, killed, or `finish` is called.
An attached client gets back in upper case what it sends.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from carboy.api.backend import Backends, Cancel, Handover, LogReader, Sink, Source
from carboy.errors import Conflict, InvalidArgument, NotFound, NotModified
from carboy.formats.dockerapi.containers import (
    ContainerConfig,
    ContainerInspect,
    ContainerState,
    ContainerSummary,
    CreateRequest,
    CreateResponse,
    GraphDriver,
    NetworkSettings,
    WaitResponse,
)
from carboy.formats.dockerapi.execs import ExecConfig, ExecInspect, ExecProcess
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.images import DeletedImage, HistoryItem, ImageInspect, ImageSummary
from carboy.formats.dockerapi.networks import Network, NetworksPruned
from carboy.formats.dockerapi.progress import ProgressMessage
from carboy.formats.dockerapi.streams import AttachOptions, LogOptions
from carboy.formats.dockerapi.system import DiskUsage, Event, Info, PingFacts, Version, event
from carboy.formats.dockerapi.times import ZERO_TIME, rfc3339
from carboy.formats.dockerapi.volumes import Volume, VolumeCreateRequest, VolumeList, VolumesPruned
from support.fake_builds import FakeBuilds
from support.fake_files import FakeFiles
from support.fake_upkeep import FakeUpkeep

KNOWN_FILTERS = str.split(
    "ancestor before dangling driver exited expose health id is-task isolation label name network publish "
    "reference scope since status type until volume"
)
NOW = 1_700_000_000_000_000_000


class FakeContainer:
    def __init__(self, container_id: str, name: str, request: CreateRequest) -> None:
        self.id = container_id
        self.name = name
        self.request = request
        self.status = "created"
        self.exit_code = 0
        self.log: list[tuple[int, bytes]] = []
        self.waiters: list[tuple[str, Callable[[WaitResponse], None]]] = []
        self.readers: list[FakeLogReader] = []


class FakeHandover:
    """Echoes in upper case until the client ends."""

    def __init__(self, backend: FakeBackend, *, tty: bool) -> None:
        self._backend = backend
        self.tty = tty

    def hand_over(self, client: int, initial: bytes) -> None:
        threading.Thread(target=self._echo, args=(client, initial), daemon=True).start()

    def abandon(self) -> None:
        self._backend.abandoned += 1

    def _echo(self, client: int, initial: bytes) -> None:
        with socket.socket(fileno=client) as connection:
            connection.setblocking(True)
            data = initial
            while True:
                if data:
                    connection.sendall(data.upper() if self.tty else frame(1, data.upper()))
                data = connection.recv(65536)
                if not data:
                    break


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


class FakeLogReader:
    def __init__(self, backend: FakeBackend, container: FakeContainer, options: LogOptions) -> None:
        self._backend = backend
        self._container = container
        self._options = options
        self._position = 0 if options.tail is None else max(0, len(container.log) - options.tail)
        self._ready, self._wake = os.pipe()
        self.tty = container.request.tty
        container.readers.append(self)
        backend.open_readers += 1

    def read(self) -> bytes | None:
        if self._position < len(self._container.log):
            stream, line = self._container.log[self._position]
            self._position += 1
            return line if self.tty else frame(stream, line)
        if self._options.follow and self._container.status == "running":
            return b""
        return None

    def wake(self) -> None:
        os.write(self._wake, b"x")

    def fileno(self) -> int:
        return self._ready

    def close(self) -> None:
        self._container.readers.remove(self)
        os.close(self._ready)
        os.close(self._wake)
        self._backend.open_readers -= 1


class FakeContainers:
    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self.items: dict[str, FakeContainer] = {}

    def find(self, unsafe_ref: str) -> FakeContainer:
        for container in self.items.values():
            if container.name == unsafe_ref.lstrip("/") or (
                unsafe_ref and container.id.startswith(unsafe_ref)
            ):
                return container
        raise NotFound(f"No such container: {unsafe_ref}")

    def all(self) -> list[FakeContainer]:
        return [*self.items.values()]

    def create(self, request: CreateRequest, *, name: str | None, platform: str | None) -> CreateResponse:
        if request.image not in ("busybox", "busybox:latest"):
            raise NotFound(f"No such image: {request.image}")
        with self._backend.lock:
            container_id = hashlib.sha256(f"{len(self.items)}{name}{time.time_ns()}".encode()).hexdigest()
            name = name or f"fake_{container_id[:8]}"
            if any(other.name == name for other in self.items.values()):
                raise Conflict(
                    f'Conflict. The container name "/{name}" is already in use by container "{container_id}".'
                )
            self.items[container_id] = FakeContainer(container_id, name, request)
        self._backend.emit("container", "create", container_id, {"name": name})
        return CreateResponse(id=container_id, warnings=[f"{one}: ignored" for one in request.unknown_fields])

    def start(self, unsafe_ref: str) -> None:
        container = self.find(unsafe_ref)
        if container.status == "running":
            raise NotModified("")
        container.status = "running"
        self._backend.emit("container", "start", container.id, {"name": container.name})

    def finish(self, container: FakeContainer, exit_code: int) -> None:
        container.status, container.exit_code = "exited", exit_code
        waiters, container.waiters = (
            container.waiters,
            [one for one in container.waiters if one[0] == "removed"],
        )
        for condition, done in waiters:
            if condition != "removed":
                done(WaitResponse(status_code=exit_code))
        for reader in list(container.readers):
            reader.wake()
        self._backend.emit("container", "die", container.id, {"exitCode": str(exit_code)})

    def print(self, container: FakeContainer, line: bytes, stream: int = 1) -> None:
        container.log.append((stream, line))
        for reader in list(container.readers):
            reader.wake()

    def stop(self, unsafe_ref: str, *, timeout: int | None, signal: str | None) -> None:
        container = self.find(unsafe_ref)
        if container.status != "running":
            raise NotModified("")
        self.finish(container, 143)

    def restart(self, unsafe_ref: str, *, timeout: int | None, signal: str | None) -> None:
        container = self.find(unsafe_ref)
        if container.status == "running":
            self.finish(container, 143)
        container.status = "running"

    def kill(self, unsafe_ref: str, *, signal: str | None) -> None:
        container = self.running(unsafe_ref)
        self.finish(container, 137)

    def pause(self, unsafe_ref: str) -> None:
        self.running(unsafe_ref).status = "paused"

    def unpause(self, unsafe_ref: str) -> None:
        container = self.find(unsafe_ref)
        if container.status != "paused":
            raise InvalidArgument(f"Container {container.id} is not paused")
        container.status = "running"

    def running(self, unsafe_ref: str) -> FakeContainer:
        container = self.find(unsafe_ref)
        if container.status != "running":
            raise Conflict(f"container {container.id} is not running")
        return container

    def rename(self, unsafe_ref: str, name: str) -> None:
        container = self.find(unsafe_ref)
        if not name:
            raise InvalidArgument("Neither old nor new names may be empty")
        container.name = name

    def remove(self, unsafe_ref: str, *, force: bool, volumes: bool) -> None:
        container = self.find(unsafe_ref)
        if container.status == "running":
            if not force:
                raise Conflict(f"cannot remove container {container.name!r}: container is running")
            self.finish(container, 137)
        del self.items[container.id]
        for _, done in container.waiters:
            done(WaitResponse(status_code=container.exit_code))
        container.waiters.clear()
        self._backend.emit("container", "destroy", container.id, {"name": container.name})

    def list(
        self,
        *,
        all: bool,  # noqa: A002
        limit: int | None,
        size: bool,
        filters: Filters,
    ) -> list[ContainerSummary]:
        filters.require_known(KNOWN_FILTERS)
        return [
            ContainerSummary(
                id=one.id,
                names=["/" + one.name],
                image=one.request.image,
                image_id="sha256:" + "1" * 64,
                command=" ".join(one.request.cmd or []),
                created=NOW // 10**9,
                labels=one.request.labels,
                state=one.status,
                status=one.status,
            )
            for one in self.items.values()
            if (all or limit or one.status == "running")
            and filters.pattern("name", one.name)
            and filters.labels(one.request.labels)
        ][:limit]

    def inspect(self, unsafe_ref: str, *, size: bool) -> ContainerInspect:
        one = self.find(unsafe_ref)
        return ContainerInspect(
            id=one.id,
            created=rfc3339(NOW),
            path="sh",
            args=[],
            state=ContainerState(
                status=one.status,
                running=one.status in ("running", "paused"),
                paused=one.status == "paused",
                restarting=False,
                exit_code=one.exit_code,
                started_at=ZERO_TIME,
                finished_at=ZERO_TIME,
            ),
            image="sha256:" + "1" * 64,
            name="/" + one.name,
            host_config=one.request.host_config,
            graph_driver=GraphDriver(name="fake"),
            config=one.request.container_config(),
            network_settings=NetworkSettings(),
        )

    def wait(self, unsafe_ref: str, condition: str, done: Callable[[WaitResponse], None]) -> Cancel:
        container = self.find(unsafe_ref)
        if condition == "not-running" and container.status != "running":
            done(WaitResponse(status_code=container.exit_code))
            return lambda: None
        entry = (condition, done)
        container.waiters.append(entry)

        def cancel() -> None:
            if entry in container.waiters:
                container.waiters.remove(entry)
                self._backend.cancelled.set()

        return cancel

    def logs(self, unsafe_ref: str, options: LogOptions) -> LogReader:
        return FakeLogReader(self._backend, self.find(unsafe_ref), options)

    def attach(self, unsafe_ref: str, options: AttachOptions) -> Handover:
        return FakeHandover(self._backend, tty=self.find(unsafe_ref).request.tty)

    def resize(self, unsafe_ref: str, *, rows: int, cols: int) -> None:
        self.running(unsafe_ref)


class FakeExecs:
    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self._items: dict[str, tuple[str, ExecConfig]] = {}

    def create(self, unsafe_container: str, config: ExecConfig) -> str:
        container = self._backend.fake_containers.running(unsafe_container)
        exec_id = f"{len(self._items):064x}"
        self._items[exec_id] = (container.id, config)
        return exec_id

    def _find(self, exec_id: str) -> tuple[str, ExecConfig]:
        if exec_id not in self._items:
            raise NotFound(f"No such exec instance: {exec_id}")
        return self._items[exec_id]

    def start(
        self, exec_id: str, *, tty: bool, detach: bool, console_size: tuple[int, int] | None
    ) -> Handover | None:
        _, config = self._find(exec_id)
        return None if detach else FakeHandover(self._backend, tty=config.tty)

    def inspect(self, exec_id: str) -> ExecInspect:
        container_id, config = self._find(exec_id)
        process = ExecProcess(entrypoint=config.cmd[0], arguments=config.cmd[1:])
        return ExecInspect(
            id=exec_id, running=False, exit_code=0, process_config=process, container_id=container_id
        )

    def resize(self, exec_id: str, *, rows: int, cols: int) -> None:
        self._find(exec_id)


class FakeImages:
    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self.tags: dict[str, str] = {"busybox:latest": "sha256:" + "1" * 64}
        self.loaded = b""

    def _find(self, unsafe_ref: str) -> str:
        for tag, image_id in self.tags.items():
            if unsafe_ref in (tag, tag.removesuffix(":latest"), image_id):
                return image_id
        raise NotFound(f"No such image: {unsafe_ref}")

    def list(
        self,
        *,
        all: bool,  # noqa: A002
        digests: bool,
        filters: Filters,
    ) -> list[ImageSummary]:
        filters.require_known(KNOWN_FILTERS)
        return [
            ImageSummary(id=one, repo_tags=[tag], created=1, size=1, virtual_size=1)
            for tag, one in self.tags.items()
            if filters.labels({})
        ]

    def inspect(self, unsafe_ref: str) -> ImageInspect:
        image_id = self._find(unsafe_ref)
        tags = [tag for tag, one in self.tags.items() if one == image_id]
        driver = GraphDriver(name="fake")
        return ImageInspect(
            id=image_id,
            repo_tags=tags,
            created=rfc3339(NOW),
            architecture="amd64",
            os="linux",
            size=1,
            virtual_size=1,
            graph_driver=driver,
        )

    def history(self, unsafe_ref: str) -> list[HistoryItem]:  # type: ignore[valid-type]  # shadowed by the method
        return [HistoryItem(id=self._find(unsafe_ref), created=1, created_by="import", size=1)]

    def tag(self, unsafe_ref: str, *, repository: str, tag: str) -> None:
        image_id = self._find(unsafe_ref)
        if not repository or repository != repository.lower():
            raise InvalidArgument("invalid reference format")
        self.tags[f"{repository}:{tag or 'latest'}"] = image_id

    def remove(self, unsafe_ref: str, *, force: bool, prune_parents: bool) -> Iterable[DeletedImage]:
        self._find(unsafe_ref)
        self.tags.pop(unsafe_ref, None)
        return [DeletedImage(untagged=unsafe_ref)]

    def import_(self, source: Source, **rest: object) -> str:
        self.loaded = read_all(source)
        return "sha256:" + hashlib.sha256(self.loaded).hexdigest()

    def load(self, source: Source) -> Iterator[ProgressMessage]:
        first = source.read(6)
        if first == b"broken":
            raise InvalidArgument("not an image archive")
        yield ProgressMessage(status="Loading layer", id="abc")
        self.loaded = first + read_all(source)
        if self.loaded.endswith(b"late"):
            raise InvalidArgument("the archive breaks off")
        yield ProgressMessage(stream=f"Loaded image: {len(self.loaded)}\n")

    def save(self, unsafe_refs: Iterable[str], sink: Sink) -> None:
        for ref in unsafe_refs:
            self._find(ref)
        for number in range(64):
            sink.write(bytes([number]) * 65536)

    def commit(self, unsafe_container: str, *, config: ContainerConfig | None, **rest: object) -> str:
        self._backend.fake_containers.find(unsafe_container)
        return "sha256:" + "2" * 64


def read_all(source: Source) -> bytes:
    parts = []
    while data := source.read(100_000):
        parts.append(data)
    return b"".join(parts)


class FakeVolumes:
    def __init__(self) -> None:
        self._items: dict[str, Volume] = {}

    def create(self, request: VolumeCreateRequest) -> Volume:
        name = request.name or "anonymous"
        return self._items.setdefault(
            name, Volume(name=name, mountpoint=f"/{name}", created_at=rfc3339(NOW), labels=request.labels)
        )

    def inspect(self, unsafe_name: str) -> Volume:
        if unsafe_name not in self._items:
            raise NotFound(f"get {unsafe_name}: no such volume")
        return self._items[unsafe_name]

    def remove(self, unsafe_name: str, *, force: bool) -> None:
        if not force:
            self.inspect(unsafe_name)
        self._items.pop(unsafe_name, None)

    def prune(self, filters: Filters) -> VolumesPruned:
        gone = list(self._items)
        self._items.clear()
        return VolumesPruned(volumes_deleted=gone)

    def list(self, filters: Filters) -> VolumeList:
        filters.require_known(KNOWN_FILTERS)
        return VolumeList(volumes=[one for one in self._items.values() if filters.labels(one.labels or {})])


class FakeNetworks:
    def inspect(self, unsafe_ref: str) -> Network:
        if unsafe_ref != "bridge":
            raise NotFound(f"network {unsafe_ref} not found")
        return Network(name="bridge", id="b" * 64, created=rfc3339(NOW), driver="bridge")

    def list(self, filters: Filters) -> list[Network]:
        filters.require_known(KNOWN_FILTERS)
        return [self.inspect("bridge")] if filters.labels({}) else []

    def prune(self, filters: Filters) -> NetworksPruned:
        return NetworksPruned()


class FakeSystem:
    was_reset = False

    def ping(self) -> PingFacts:
        return PingFacts(server="Carboy/test (linux)")

    def version(self) -> Version:
        return Version(version="test", arch="amd64", kernel_version="6")

    def info(self) -> Info:
        return Info(
            id="x",
            driver="fake",
            system_time=rfc3339(NOW),
            kernel_version="6",
            operating_system="Linux",
            architecture="x86_64",
            ncpu=2,
            mem_total=1,
            docker_root_dir="/",
            name="here",
            server_version="test",
        )

    def disk_usage(self, unsafe_kinds: list[str]) -> DiskUsage:
        return DiskUsage()

    def reset(self) -> None:
        self.was_reset = True


class FakeEvents:
    def __init__(self) -> None:
        self._past: list[Event] = []
        self.listeners: list[Callable[[Event], None]] = []
        self.changed = threading.Condition()

    def emit(self, one: Event) -> None:
        with self.changed:
            self._past.append(one)
            for deliver in list(self.listeners):
                deliver(one)

    def subscribe(
        self, since: int | None, until: int | None, filters: Filters, deliver: Callable[[Event], None]
    ) -> Cancel:
        def wanted(one: Event) -> None:
            if filters.exact("type", one.type) and filters.prefix("event", one.action):
                deliver(one)

        with self.changed:
            for one in self._past:
                if since is not None and since <= one.time_nano and (until is None or one.time_nano <= until):
                    wanted(one)
            self.listeners.append(wanted)
            self.changed.notify_all()

        def cancel() -> None:
            with self.changed:
                if wanted in self.listeners:
                    self.listeners.remove(wanted)
                self.changed.notify_all()

        return cancel


class FakeBackend:
    """Everything together; `backends` is what the API takes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.abandoned = 0
        self.open_readers = 0
        self.cancelled = threading.Event()
        self.fake_containers = FakeContainers(self)
        self.fake_images = FakeImages(self)
        self.fake_events = FakeEvents()
        self.fake_system = FakeSystem()
        self.fake_upkeep = FakeUpkeep(self.fake_containers)
        self.fake_builds = FakeBuilds()
        self.backends = Backends(
            containers=self.fake_containers,
            files=FakeFiles(self.fake_containers.find),
            execs=FakeExecs(self),
            images=self.fake_images,  # type: ignore[arg-type]  # looser signatures than the Protocol's
            volumes=FakeVolumes(),
            networks=FakeNetworks(),
            system=self.fake_system,
            events=self.fake_events,
            upkeep=self.fake_upkeep,
            builds=self.fake_builds,
        )

    def emit(self, kind: str, action: str, object_id: str, attributes: dict[str, str]) -> None:
        self.fake_events.emit(event(kind, action, object_id, attributes, time.time_ns()))
