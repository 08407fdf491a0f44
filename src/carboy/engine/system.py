"""The daemon as a whole: version, info, disk usage, reset; fulfils `api.backend.System`."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
import time

import msgspec

import carboy
from carboy.engine import usage
from carboy.engine.building.joining import Building
from carboy.engine.containers.service import Containers
from carboy.engine.containers.states import State
from carboy.engine.events import Events
from carboy.engine.images.configs import host_architecture
from carboy.engine.images.service import ImageService
from carboy.engine.volumes import Volumes
from carboy.errors import CarboyError, Unavailable
from carboy.formats.dockerapi.system import (
    AddressPool,
    Component,
    DiskUsage,
    FirewallInfo,
    IndexInfo,
    Info,
    PingFacts,
    PlatformName,
    RegistryConfig,
    Runtime,
    Version,
)
from carboy.formats.dockerapi.times import rfc3339
from carboy.formats.settings.reading import Settings
from carboy.linux import tree
from carboy.network.bridge import BridgeNetwork
from carboy.store.metadata import Database
from carboy.store.paths import Paths

_log = logging.getLogger(__name__)


class System:
    """Facts about the daemon and its machine."""

    def __init__(
        self,
        paths: Paths,
        database: Database,
        containers: Containers,
        images: ImageService,
        volumes: Volumes,
        building: Building,
        network: BridgeNetwork,
        events: Events,
        *,
        driver: str,
        settings: Settings,
    ) -> None:
        self._paths = paths
        self._database = database
        self._containers = containers
        self._images = images
        self._volumes = volumes
        self._building = building
        self._network = network
        self._events = events
        self._driver = driver
        self._settings = settings
        self.was_reset = False

    def ping(self) -> PingFacts:
        """What `_ping` tells."""
        return PingFacts(server=f"Carboy/{carboy.__version__} (linux)")

    def version(self) -> Version:
        """The versions of the engine and its parts."""
        machine = os.uname()
        return Version(
            platform=PlatformName(name="Carboy"),
            components=[
                Component(
                    name="Engine",
                    version=carboy.__version__,
                    details={
                        "Os": "linux",
                        "Arch": host_architecture(),
                        "KernelVersion": machine.release,
                        "Experimental": "false",
                        "GitCommit": "",
                        "GoVersion": "",
                        "BuildTime": "",
                    },
                ),
                Component(name="carboy-runtime", version=carboy.__version__),
                Component(name="Python", version=platform.python_version()),
            ],
            version=carboy.__version__,
            arch=host_architecture(),
            kernel_version=machine.release,
        )

    def info(self) -> Info:
        """The state of the daemon and the machine."""
        machine = os.uname()
        settings = self._settings
        states = [container.state for container in self._containers.index]
        running = states.count(State.RUNNING) + states.count(State.RESTARTING)
        paused = states.count(State.PAUSED)
        controllers = _controllers()
        return Info(
            id=self._identity(),
            containers=len(states),
            containers_running=running,
            containers_paused=paused,
            containers_stopped=len(states) - running - paused,
            images=len(self._images.records.all()),
            driver=self._driver,
            driver_status=[
                ["Backing Filesystem", _filesystem(self._paths.root)],
                ["Bridge", self._network.name],
            ],
            memory_limit="memory" in controllers,
            swap_limit=_has_swap_limit(controllers),
            cpu_cfs_period="cpu" in controllers,
            cpu_cfs_quota="cpu" in controllers,
            cpu_shares="cpu" in controllers,
            cpu_set="cpuset" in controllers,
            pids_limit="pids" in controllers,
            oom_kill_disable=_is_v1() and "memory" in controllers,
            ipv4_forwarding=_read("/proc/sys/net/ipv4/ip_forward") == "1",
            debug=settings.flag("debug"),
            n_fd=len(os.listdir("/proc/self/fd")),
            n_goroutines=threading.active_count(),
            logging_driver=settings.text("log-driver"),
            n_events_listener=self._events.listeners,
            system_time=rfc3339(time.time_ns()),
            cgroup_version="1" if _is_v1() else "2",
            kernel_version=machine.release,
            operating_system=_operating_system(),
            architecture=machine.machine,
            ncpu=os.cpu_count() or 1,
            mem_total=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            docker_root_dir=self._paths.root,
            name=machine.nodename,
            labels=settings.words("labels"),
            http_proxy=_without_password(settings.text("http-proxy")),
            https_proxy=_without_password(settings.text("https-proxy")),
            no_proxy=settings.text("no-proxy"),
            registry_config=_registries(settings),
            server_version=carboy.__version__,
            runtimes={"carboy": Runtime(path="carboy-runtime", status={})},
            default_runtime="carboy",
            init_binary="carboy",
            security_options=self._security_options(),
            product_license="Apache-2.0",
            firewall_backend=FirewallInfo(driver="nftables"),
            cdi_spec_dirs=settings.words("cdi-spec-dirs"),
            default_address_pools=[
                AddressPool(base=str(self._network.subnet), size=self._network.subnet.prefixlen)
            ],
            warnings=self._warnings(),
        )

    def reloaded(self, changed: list[str]) -> None:
        """The settings were read again: tell whoever listens."""
        attributes = {"name": os.uname().nodename}
        for name in changed:
            attributes[name] = msgspec.json.encode(self._settings.value(name)).decode()
        self._events.publish("daemon", "reload", self._identity(), attributes)

    def _security_options(self) -> list[str]:
        profile = self._settings.text("seccomp-profile")
        options = [f"name=seccomp,profile={profile}", "name=cgroupns"]
        if self._settings.flag("no-new-privileges"):
            options.append("name=no-new-privileges")
        return options

    def disk_usage(self, unsafe_kinds: list[str]) -> DiskUsage:
        """What takes how much space: of the kinds that are named, of all when none is."""
        return usage.disk_usage(
            usage.parse_kinds(unsafe_kinds), self._containers, self._images, self._volumes, self._building
        )

    def reset(self) -> None:
        """Remove every container, the network and all files; the daemon ends afterwards."""
        for container in self._containers.index.all():
            try:
                self._containers.remove(container.id, force=True, volumes=True)
            except CarboyError:
                _log.exception("reset: container %s", container.id[:12])
        self._network.remove()
        self.was_reset = True

    def remove_files(self) -> None:
        """After everything has ended: what is ours below root and run, and nothing else."""
        for path, names in (
            (
                self._paths.root,
                ("containers", "layers", "blobs", "volumes", "ingest", "cache", "db.sqlite", "db.sqlite-wal",
                 "db.sqlite-shm", "daemon.lock", "daemon.log", "daemon.log.1"),
            ),
            (self._paths.run, ("containers", "carboy.sock", "ports.sock", "daemon.pid", "start.lock")),
        ):  # fmt: skip
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for name in names:
                    with contextlib.suppress(FileNotFoundError):
                        tree.remove(directory, name)
            finally:
                os.close(directory)
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def _identity(self) -> str:
        with self._database.read() as connection:
            row = connection.execute("SELECT value FROM settings WHERE key = 'id'").fetchone()
        if row is not None:
            return str(row[0])
        import uuid  # deferred: once in the life of a root

        identity = str(uuid.uuid4())
        try:
            with self._database.write() as connection:
                connection.execute("INSERT OR IGNORE INTO settings(key, value) VALUES ('id', ?)", (identity,))
                row = connection.execute("SELECT value FROM settings WHERE key = 'id'").fetchone()
        except Unavailable:
            return identity  # a full disk: not a reason to refuse `info`
        return str(row[0])

    def _warnings(self) -> list[str] | None:
        findings = [
            finding for finding in self._network.check() if finding.severity in ("problem", "warning")
        ]
        return [f"WARNING: {finding.text}" for finding in findings] or None


def _has_swap_limit(controllers: frozenset[str]) -> bool:
    if "memory" not in controllers:
        return False
    return not _is_v1() or os.path.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    if not (separator and at and credentials):
        return url
    return f"{scheme}://xxxxx:xxxxx@{host}"


def _registries(settings: Settings) -> RegistryConfig:
    insecure = settings.words("insecure-registries")
    mirrors = settings.words("registry-mirrors")
    indexes = {"docker.io": IndexInfo(name="docker.io", mirrors=mirrors, official=True)}
    for name in insecure:
        if "/" not in name:
            indexes[name] = IndexInfo(name=name, secure=False)
    return RegistryConfig(
        insecure_registry_cidrs=[name for name in insecure if "/" in name],
        index_configs=indexes,
        mirrors=mirrors,
    )


def _is_v1() -> bool:
    return not os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def _controllers() -> frozenset[str]:
    if not _is_v1():
        return frozenset(_read("/sys/fs/cgroup/cgroup.controllers").split())
    found = set()
    for line in _read("/proc/self/cgroup").splitlines():
        found.update(line.split(":")[1].split(","))
    return frozenset(found)


def _filesystem(path: str) -> str:
    best, kind = "", "unknown"
    for line in _read("/proc/self/mounts").splitlines():
        fields = line.split()
        if (
            len(fields) > 2
            and (path + "/").startswith(fields[1].rstrip("/") + "/")
            and len(fields[1]) >= len(best)
        ):
            best, kind = fields[1], fields[2]
    return kind


def _operating_system() -> str:
    for line in _read("/etc/os-release").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip('"')
    return "Linux"


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
