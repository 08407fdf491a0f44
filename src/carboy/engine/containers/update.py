"""Changing a container's limits and restart policy, while it runs or not.

    what is asked ─▶ checked ─▶ merged with what is ─▶ checked as a whole ─▶ applied by the monitor ─▶ saved

Nothing is changed when anything is refused: what the monitor may have applied in part is set back.
"""

from __future__ import annotations

import contextlib

from msgspec.structs import asdict, replace

from carboy.engine.containers.document import Container
from carboy.engine.containers.index import Index
from carboy.engine.containers.states import State
from carboy.engine.spec.facts import HostFacts
from carboy.engine.spec.limits import CFS_PERIOD, check_resources, resources, set_text
from carboy.errors import CarboyError, Conflict, InvalidArgument
from carboy.formats.dockerapi.containers import HostConfig, Resources, RestartPolicy
from carboy.formats.dockerapi.upkeep import UpdateRequest
from carboy.formats.spawner import StepError

Value = dict[str, object]

_FIXED = {
    "devices": "Devices",
    "device_cgroup_rules": "DeviceCgroupRules",
    "device_requests": "DeviceRequests",
    "cgroup_parent": "CgroupParent",
    "cpu_count": "CpuCount",
    "cpu_percent": "CpuPercent",
    "io_maximum_iops": "IOMaximumIOps",
    "io_maximum_bandwidth": "IOMaximumBandwidth",
}
"""What a container keeps from its making to its end."""


def update(container: Container, request: UpdateRequest, index: Index, facts: HostFacts) -> list[str]:
    """Do it; gives the warnings.  The operation lock must be held."""
    wanted = _copy(request)
    warnings = check_resources(wanted, facts, update=True)
    warnings += [
        f"{shown} cannot be changed by an update and was ignored."
        for name, shown in _FIXED.items()
        if getattr(wanted, name)
    ]
    if wanted.ulimits:
        warnings.append("Ulimits of processes that run stay as they are; new ones hold from the next start.")
    warnings += [f"Field {field} is not known and was ignored." for field in request.unknown_fields]
    check_policy(request.restart_policy)
    try:
        _change(container, wanted, request.restart_policy, index, facts)
    except StepError as error:
        raise StepError(
            error.category,
            error.step,
            f"Cannot update container {container.id}: {error.text}",
            errno=error.errno,
        ) from error
    except CarboyError as error:
        raise type(error)(f"Cannot update container {container.id}: {error}") from error
    return warnings


def check_policy(policy: RestartPolicy) -> None:
    """Raise InvalidArgument for a restart policy that there is not; none at all is fine."""
    if policy.name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{policy.name[:40]}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retry_count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise InvalidArgument(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )


def _change(
    container: Container, wanted: Resources, policy: RestartPolicy, index: Index, facts: HostFacts
) -> None:
    if container.state in (State.REMOVING, State.DEAD):
        raise Conflict('container is marked for removal and cannot be "update"')
    before = container.document.host
    after = merge(before, wanted)
    if policy.name:
        if before.auto_remove and policy.name != "no":
            raise InvalidArgument(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
            )
        after.restart_policy = policy
    # The whole must hold as a new container's would: a reservation above the limit does not.
    check_resources(replace(after), facts)
    live = changed(before, after) if container.alive else {}
    if live:
        _apply(container, live, changed(after, before, all_=with_defaults(before, facts)))
    container.document.host = after
    try:
        index.save(container)
    except BaseException:
        container.document.host = before
        raise


def _apply(container: Container, live: Value, back: Value) -> None:
    channel = container.channel
    if channel is None:
        raise Conflict(f"container {container.id} is not running")
    try:
        channel.request("update", resources=live)
    except CarboyError:
        # One by one: what the kernel does not take back must not keep it from the others.
        for section, values in back.items():
            with contextlib.suppress(CarboyError):
                channel.request("update", resources={section: values})
        raise


def merge(host: HostConfig, wanted: Resources) -> HostConfig:
    """`host` with everything in `wanted` that says something; raises InvalidArgument for conflicts."""
    if wanted.nano_cpus:
        for value, name in ((host.cpu_period, "CPU Period"), (host.cpu_quota, "CPU Quota")):
            if value > 0:
                raise InvalidArgument(
                    f"Conflicting options: Nano CPUs cannot be updated as {name} has already been set"
                )
    if host.nano_cpus:
        for value, name in ((wanted.cpu_period, "CPU Period"), (wanted.cpu_quota, "CPU Quota")):
            if value > 0:
                raise InvalidArgument(
                    f"Conflicting options: {name} cannot be updated as NanoCPUs has already been set"
                )
    after = replace(host)
    for name in Resources.__struct_fields__:
        value = getattr(wanted, name)
        if name not in _FIXED and value is not None and value not in (0, "", []):
            setattr(after, name, value)
    for name in ("memory_swappiness", "pids_limit", "oom_kill_disable"):
        if getattr(wanted, name) is not None:
            setattr(after, name, getattr(wanted, name))
    if wanted.memory and not wanted.memory_swap:
        if 0 < host.memory_swap < wanted.memory:
            raise InvalidArgument(
                "Memory limit should be smaller than already set memoryswap limit,"
                " update the memoryswap at the same time"
            )
        if not host.memory_swap:
            after.memory_swap = wanted.memory * 2  # as for a new container
    return after


_SECTIONS: dict[str, tuple[str, ...]] = {
    "memory": ("memory", "memory_swap", "memory_reservation", "memory_swappiness", "oom_kill_disable"),
    "cpu": (
        "cpu_shares",
        "nano_cpus",
        "cpu_quota",
        "cpu_period",
        "cpu_realtime_period",
        "cpu_realtime_runtime",
        "cpuset_cpus",
        "cpuset_mems",
    ),
    "pids": ("pids_limit",),
    "blockIO": (
        "blkio_weight",
        "blkio_weight_device",
        "blkio_device_read_bps",
        "blkio_device_write_bps",
        "blkio_device_read_iops",
        "blkio_device_write_iops",
    ),
}
_TOGETHER = (
    {"memory", "memory_swap"},
    {"nano_cpus", "cpu_quota", "cpu_period"},
    {"cpu_realtime_period", "cpu_realtime_runtime"},
)
"""What the kernel must be told together: the one means nothing without the other, or its order counts."""


def changed(before: Resources, after: Resources, *, all_: Resources | None = None) -> Value:
    """The OCI resources that make the one the other; values come from `all_` where it is given."""
    differing = {
        name
        for names in _SECTIONS.values()
        for name in names
        if getattr(before, name) != getattr(after, name)
    }
    for group in _TOGETHER:
        if differing & group:
            differing |= group
    source = asdict(all_ or after)
    partial = Resources(**{name: source[name] for name in differing})
    found = resources(partial, [])
    del found["devices"]
    if "pids_limit" in differing:
        found["pids"] = {"limit": partial.pids_limit if (partial.pids_limit or 0) > 0 else -1}
    if "oom_kill_disable" in differing:
        memory = found.setdefault("memory", {})
        if isinstance(memory, dict):
            memory["disableOOMKiller"] = bool(partial.oom_kill_disable)
    removed = _removed_throttles(before, after)
    if removed:
        block = found.setdefault("blockIO", {})
        if isinstance(block, dict):
            for key, devices in removed.items():
                block[key] = devices + block.get(key, [])
    return found


def _removed_throttles(before: Resources, after: Resources) -> dict[str, list[object]]:
    """Devices that are limited no more: a rate of 0 lifts a limit."""
    found: dict[str, list[object]] = {}
    for name in _SECTIONS["blockIO"][2:]:
        kept = {device.path for device in getattr(after, name)}
        gone = [replace(device, rate=0) for device in getattr(before, name) if device.path not in kept]
        if gone:
            lifted = Resources()
            setattr(lifted, name, gone)
            section = resources(lifted, []).get("blockIO")
            if isinstance(section, dict):
                found.update(section)
    return found


def with_defaults(host: HostConfig, facts: HostFacts) -> Resources:
    """The limits as the kernel has them when nothing was asked for: how an update is taken back."""
    found = _copy(host)
    if not found.memory:
        found.memory, found.memory_swap = -1, -1
    if facts.controllers.swappiness:  # v1: no limit; v2's default is 0, which is never written
        found.memory_reservation = found.memory_reservation or -1
    found.memory_swappiness = 60 if found.memory_swappiness is None else found.memory_swappiness
    found.cpu_shares = found.cpu_shares or 1024
    if not found.nano_cpus:
        found.cpu_quota = found.cpu_quota or -1
        found.cpu_period = found.cpu_period or CFS_PERIOD
    found.cpuset_cpus = found.cpuset_cpus or set_text(facts.cpu_set)
    found.cpuset_mems = found.cpuset_mems or set_text(facts.mem_set)
    found.blkio_weight = found.blkio_weight or 100
    return found


def _copy(source: Resources) -> Resources:
    """The limits alone of something that has them."""
    return Resources(**{name: getattr(source, name) for name in Resources.__struct_fields__})
