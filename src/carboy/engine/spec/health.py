"""Health checks: what a container's configuration says, and what its monitor is told."""

from __future__ import annotations

import msgspec

from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import ContainerConfig, HealthConfig

SECOND = 10**9
INTERVAL = 30 * SECOND
TIMEOUT = 30 * SECOND
START_INTERVAL = 5 * SECOND
RETRIES = 3

_SHORTEST = 10**6
_MAX_TEST = 64 << 10
"""Bytes of a test as JSON: it travels to the monitor in one packet."""

_DEFAULT_SHELL = ["/bin/sh", "-c"]

Plan = dict[str, object]


def merge_health(wanted: HealthConfig | None, image: HealthConfig | None) -> HealthConfig | None:
    """The image's health check with what the client says over it, field by field."""
    if wanted is None or image is None:
        return wanted or image
    merged = msgspec.structs.replace(image)
    for name in HealthConfig.__struct_fields__:
        value = getattr(wanted, name)
        if value:
            setattr(merged, name, value)
    return merged


def check_health(config: ContainerConfig) -> None:
    """Refuse what cannot be, in Docker's words; raises InvalidArgument."""
    health = config.healthcheck
    if health is None:
        return
    for value, name in (
        (health.interval, "Interval"),
        (health.timeout, "Timeout"),
        (health.start_period, "StartPeriod"),
        (health.start_interval, "StartInterval"),
    ):
        if value and value < _SHORTEST:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if health.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
    if any("\0" in word for word in health.test):
        raise InvalidArgument("invalid health check: an argument holds a NUL byte")
    if len(msgspec.json.encode(health.test)) > _MAX_TEST:
        raise InvalidArgument(f"the health check's test is longer than {_MAX_TEST} bytes")


def probe_arguments(config: ContainerConfig) -> list[str]:
    """The words of a probe; empty where there is no health check."""
    test = config.healthcheck.test if config.healthcheck is not None else []
    if not test or test[0] not in ("CMD", "CMD-SHELL") or len(test) < 2:
        return []
    if test[0] == "CMD":
        return test[1:]
    return [*(config.shell or _DEFAULT_SHELL), *test[1:]]


def health_plan(config: ContainerConfig) -> Plan | None:
    """The `health` of a launch, in seconds; None without a health check."""
    arguments, health = probe_arguments(config), config.healthcheck
    if not arguments or health is None:
        return None
    return {
        "args": arguments,
        "interval": (health.interval or INTERVAL) / SECOND,
        "timeout": (health.timeout or TIMEOUT) / SECOND,
        "start_period": health.start_period / SECOND,
        "start_interval": (health.start_interval or START_INTERVAL) / SECOND,
        "retries": health.retries or RETRIES,
    }
