"""What is stored of a container, and the object that stands for it while the daemon runs.

Lock order: `operation` (one start, stop, remove... at a time; may be held while waiting) →
the index's lock → the database → `mutex` (state; held for moments only).  The thread that
reads the monitors' events takes `mutex` only, so that it never waits for an operation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address

import msgspec

from carboy.digest import Digest
from carboy.engine.containers.states import ALIVE, State, check_transition
from carboy.engine.monitors import Channel
from carboy.engine.spec.mounts import PlannedMount
from carboy.formats.dockerapi.containers import ContainerConfig, Health, HostConfig, WaitResponse
from carboy.network.bridge import Endpoint

VERSION = 1


class EndpointDocument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A container's place on the bridge, as stored."""

    interface: str
    address: str
    prefix: int
    gateway: str
    mac: str
    mtu: int
    host_interface: str

    @classmethod
    def of(cls, endpoint: Endpoint) -> EndpointDocument:
        """The stored form of an endpoint."""
        return cls(
            interface=endpoint.interface,
            address=str(endpoint.address),
            prefix=endpoint.prefix,
            gateway=str(endpoint.gateway),
            mac=endpoint.mac,
            mtu=endpoint.mtu,
            host_interface=endpoint.host_interface,
        )

    def endpoint(self, container_id: str) -> Endpoint:
        """The network's own value."""
        return Endpoint(
            container_id=container_id,
            interface=self.interface,
            address=IPv4Address(self.address),
            prefix=self.prefix,
            gateway=IPv4Address(self.gateway),
            mac=self.mac,
            mtu=self.mtu,
            host_interface=self.host_interface,
        )


class PublishedPort(msgspec.Struct, kw_only=True):
    """A port of the machine that stands for one of the container, as stored while it runs."""

    protocol: str
    inside: int
    address: str
    outside: int


class ContainerDocument(msgspec.Struct, kw_only=True):
    """The row of table `containers`; moments are nanoseconds since the epoch, 0 for never."""

    version: int = VERSION
    id: str
    name: str
    created_at: int
    image_id: str
    image_reference: str
    diff_ids: list[str]
    config: ContainerConfig
    host: HostConfig
    mounts: list[PlannedMount] = []
    requested_address: str = ""
    state: State = State.CREATED
    pid: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started_at: int = 0
    finished_at: str = ""
    restart_count: int = 0
    restart_delay: float = 0.0
    """Seconds between the last end and the restart after it; 0 before the first one."""
    stopped_by_user: bool = False
    health: Health | None = None
    endpoint: EndpointDocument | None = None
    published: list[PublishedPort] = []


Waiter = Callable[[WaitResponse], None]


class PendingAttach(msgspec.Struct, kw_only=True):
    """A client that attached before the start; `client` is its socket."""

    client: int
    fields: dict[str, object]


class Container:
    """One container: its document, locks, monitor and those who wait for it."""

    __slots__ = (
        "channel",
        "condition",
        "document",
        "exec_ids",
        "files",
        "holders",
        "mutex",
        "needs_finish",
        "oom_told",
        "operation",
        "pending",
        "shown",
        "waiters",
    )

    def __init__(self, document: ContainerDocument) -> None:
        self.document = document
        self.operation = threading.RLock()
        self.files = threading.Lock()  # held while somebody copies into it and it does not run
        self.mutex = threading.RLock()
        self.condition = threading.Condition(self.mutex)
        self.channel: Channel | None = None
        self.pending: list[PendingAttach] = []
        self.waiters: dict[int, tuple[str, Waiter]] = {}
        self.exec_ids: list[str] = []
        self.needs_finish = False
        self.holders = 0  # who stops or restarts it: while there are any, its end does not remove it
        self.oom_told = False
        self.shown = document.state

    @property
    def id(self) -> str:
        """The 64 hexadecimal digits."""
        return self.document.id

    @property
    def name(self) -> str:
        """The name, without a slash."""
        return self.document.name

    @property
    def state(self) -> State:
        """Where it is in its life."""
        return self.document.state

    @property
    def alive(self) -> bool:
        """Whether it has a process."""
        return self.document.state in ALIVE

    @property
    def removes_itself(self) -> bool:
        """Whether its end removes it (`--rm`)."""
        return self.document.host.auto_remove and not self.holders

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        """Its image's layers, bottom first."""
        return tuple(Digest.parse(text) for text in self.document.diff_ids)

    def become(self, after: State) -> None:
        """Change the state, by the table; the mutex must be held.

        `shown` is what clients see: while it starts, the state before.
        """
        self.document.state = check_transition(self.document.state, after, name=self.name)
        if after is not State.STARTING:
            self.shown = after
        self.condition.notify_all()

    def wait_ended(self, timeout: float | None, *, run: int = 0) -> bool:
        """Wait until no process is left; False when `timeout` seconds were not enough.

        run: or until the run that began then (`started_at`) is over, whatever runs since.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.condition:
            while self.alive and run in (0, self.document.started_at):
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self.condition.wait(left)
        return True

    def take_waiters(self, *conditions: str) -> list[Waiter]:
        """Those who wait for one of `conditions`, and are now to be told; the mutex must be held."""
        found = [key for key, (condition, _) in self.waiters.items() if condition in conditions]
        return [self.waiters.pop(key)[1] for key in found]
