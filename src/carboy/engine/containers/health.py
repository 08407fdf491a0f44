"""The daemon's view of health checks: the monitors run them, see runtime/monitor/health.py.

The mutex of the container must be held wherever its document is changed here.
"""

from __future__ import annotations

from carboy.engine.containers.document import Container
from carboy.engine.monitors import Message
from carboy.engine.spec.health import probe_arguments
from carboy.formats.dockerapi.containers import Health, HealthcheckResult

STARTING = "starting"
UNHEALTHY = "unhealthy"
NONE = "none"
STATUSES = (NONE, STARTING, "healthy", UNHEALTHY)

MAX_LOG = 5


def begin(container: Container) -> None:
    """The container has been started: nothing is known yet; the log of earlier runs stays."""
    document = container.document
    if not probe_arguments(document.config):
        document.health = None
        return
    log = document.health.log if document.health is not None else []
    document.health = Health(status=STARTING, log=log)


def pause(container: Container) -> None:
    """As Docker has it: without probes there is no health."""
    if container.document.health is not None:
        container.document.health.status = UNHEALTHY


def note(container: Container, message: Message) -> str:
    """Take the result of a probe; gives the new status when it has changed, else an empty text."""
    health = container.document.health
    if health is None:
        health = container.document.health = Health(status=STARTING)
    health.status = str(message["status"])
    health.failing_streak = int(message["failing_streak"])
    result = _result(message["result"])
    # Told on the way to a new daemon, it is in what that has taken over already.
    if all(one.start != result.start for one in health.log):
        health.log = [*health.log[1 - MAX_LOG :], result]
    return health.status if message.get("changed") else ""


def take(container: Container, message: Message | None) -> None:
    """What the monitor has of the whole run: after a restart of the daemon, and at the end."""
    if message is None:
        return
    log = [_result(one) for one in message.get("log") or ()]
    health = container.document.health
    if len(log) < MAX_LOG and health is not None:
        known = {one.start for one in log}
        log = [*(one for one in health.log if one.start not in known), *log][-MAX_LOG:]
    container.document.health = Health(
        status=str(message["status"]), failing_streak=int(message["failing_streak"]), log=log
    )


def end(container: Container) -> None:
    """No process, no health."""
    pause(container)


def status_of(container: Container) -> str:
    """For the filter `health`."""
    health = container.document.health
    return health.status if health is not None else NONE


def shown(container: Container) -> str:
    """What a listing adds to `Up 5 minutes`."""
    status = status_of(container)
    if status == NONE:
        return ""
    return " (health: starting)" if status == STARTING else f" ({status})"


def probe_text(container: Container) -> str:
    """The words of a probe, for its events."""
    return " ".join(probe_arguments(container.document.config))


def _result(message: Message) -> HealthcheckResult:
    return HealthcheckResult(
        start=str(message["start"]),
        end=str(message["end"]),
        exit_code=int(message["exit_code"]),
        output=str(message["output"]),
    )
