"""What `create` refuses or warns about, of the whole configuration (conflicts.py: of the request alone)."""

from __future__ import annotations

from carboy.engine import logdrivers
from carboy.engine.spec.facts import HostFacts
from carboy.engine.spec.health import check_health
from carboy.engine.spec.limits import check_limits
from carboy.engine.spec.mode import joined, network_id, network_mode
from carboy.engine.spec.ports import check_ports
from carboy.engine.spec.security import capability_set, check_labels, parse_security_options
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import ContainerConfig, HostConfig

__all__ = ["SHARED_SYSCTLS", "check_request", "joined", "network_id", "network_mode"]

SHARED_SYSCTLS = ("net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


def check_request(config: ContainerConfig, host: HostConfig, facts: HostFacts) -> list[str]:
    """Raise for what cannot be; gives the warnings for the client."""
    warnings = check_limits(host, facts)
    warnings += check_labels(parse_security_options(host.security_opt), facts)[1]
    capability_set(host, facts)
    _check_lifetime(host)
    _check_sysctls(host)
    logdrivers.check(host.log_config)
    check_health(config)
    warnings += check_ports(config, host, mode=network_mode(host))
    warnings += _check_platform(config, host)
    return warnings


def _check_lifetime(host: HostConfig) -> None:
    policy = host.restart_policy
    match policy.name:
        case "" | "no" | "always" | "unless-stopped":
            if policy.maximum_retry_count:
                raise InvalidArgument(
                    "invalid restart policy: maximum retry count can only be used with 'on-failure'"
                )
        case "on-failure":
            if policy.maximum_retry_count < 0:
                raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
        case _:
            raise InvalidArgument(
                f"invalid restart policy: unknown policy '{policy.name[:40]}'; "
                "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )
    if host.auto_remove and policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def _check_sysctls(host: HostConfig) -> None:
    for name in host.sysctls:
        if not name.startswith(SHARED_SYSCTLS) or ".." in name or "/" in name:
            raise InvalidArgument(f"sysctl '{name[:80]}' is not allowed: it is not namespaced")
        if name.startswith("net.") and network_mode(host) == "host":
            raise InvalidArgument(f"sysctl '{name[:80]}' not allowed in host network namespace")
        if not name.startswith("net.") and host.ipc_mode == "host":
            raise InvalidArgument(f"sysctl '{name[:80]}' not allowed in host ipc namespace")


RUNTIMES = ("", "carboy", "runc", "io.containerd.runc.v2")


def _check_platform(config: ContainerConfig, host: HostConfig) -> list[str]:
    """What other systems, other runtimes and other storage would do."""
    if host.runtime not in RUNTIMES:
        raise InvalidArgument(f"unknown or invalid runtime name: {host.runtime[:40]}")
    if host.isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation: \"{host.isolation[:40]}\" - linux only supports 'default'")
    for option in host.storage_opt:
        if option != "size":
            raise InvalidArgument(f"unknown option {option[:40]}")
        raise InvalidArgument(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
        )
    if host.cgroup:
        raise InvalidArgument(f"invalid cgroup: {host.cgroup[:40]!r}: use CgroupnsMode")
    if len(host.console_size) not in (0, 2) or any(not 0 <= size < 65536 for size in host.console_size):
        raise InvalidArgument("invalid console size: expected height and width")
    if config.hostname and (len(config.hostname) > 63 or "\0" in config.hostname or "/" in config.hostname):
        raise InvalidArgument(f"invalid hostname format: {config.hostname[:80]}")
    windows = host.cpu_count or host.cpu_percent or host.io_maximum_iops or host.io_maximum_bandwidth
    ignored = (
        (windows, "CpuCount, CpuPercent and IOMaximum limits exist on Windows only: they have no effect."),
        (host.runtime in RUNTIMES[2:], "The built-in runtime is used instead of runc."),
        (config.args_escaped, "ArgsEscaped exists on Windows only: it has no effect."),
    )
    return [text for given, text in ignored if given]
