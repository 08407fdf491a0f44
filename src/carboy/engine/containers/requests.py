"""What is asked of a container's monitor, and what it means when the container ends meanwhile."""

from __future__ import annotations

from typing import Any

from carboy.engine.containers.document import Container
from carboy.engine.containers.states import State
from carboy.engine.monitors import Channel
from carboy.errors import CarboyError, Conflict, Unavailable


def channel_of(container: Container) -> Channel:
    """The monitor's channel; raises Conflict when there is none."""
    with container.mutex:
        channel = container.channel
    if channel is None:
        raise Conflict(f"container {container.id} is not running")
    return channel


def require_running(container: Container, prefix: str = "") -> Channel:
    """The channel of a container that runs; else a Conflict, in Docker's words after `prefix`."""
    if not container.alive:
        raise Conflict(f"{prefix}container {container.id} is not running")
    return channel_of(container)


def require_steady(container: Container) -> Channel:
    """As `require_running`; one that waits for its restart is told from one that ended."""
    if container.state is State.RESTARTING:
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
    return require_running(container)


def ask(container: Container, channel: Channel, operation: str, **fields: Any) -> None:
    """A request to the monitor; when the container ends meanwhile, it simply does not run."""
    try:
        channel.request(operation, **fields)
    except CarboyError as error:
        if container.alive and not container.wait_ended(1.0):
            raise
        raise Conflict(f"container {container.id} is not running") from error


def send_signal(container: Container, number: int) -> None:
    """A signal to the program; that it ends meanwhile is as good."""
    try:
        channel_of(container).request("signal", signal=number)
    except (Conflict, Unavailable):
        if container.alive:
            container.wait_ended(2.0)
    except CarboyError:
        if container.alive and container.wait_ended(0.5) is False:
            raise
