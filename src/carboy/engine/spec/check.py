"""What `create` refuses or warns about: conflicting options, and those that are not supported yet."""

from __future__ import annotations

from carboy.engine import logdrivers
from carboy.engine.spec.facts import HostFacts
from carboy.engine.spec.health import check_health
from carboy.engine.spec.limits import check_limits
from carboy.engine.spec.security import capability_set, parse_security_options
from carboy.errors import InvalidArgument, Unsupported
from carboy.formats.dockerapi.containers import ContainerConfig, HostConfig

SHARED_SYSCTLS = ("net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


def check_request(config: ContainerConfig, host: HostConfig, facts: HostFacts) -> list[str]:
    """Raise for what cannot be; gives the warnings for the client."""
    warnings = check_limits(host, facts)
    warnings += parse_security_options(host.security_opt).warnings
    capability_set(host, facts)
    _check_modes(config, host)
    _check_lifetime(host)
    _check_sysctls(host)
    logdrivers.check(host.log_config)
    check_health(config)
    warnings += _check_unsupported(config, host)
    return warnings


def network_mode(host: HostConfig) -> str:
    """`bridge`, `host`, `none` or `container:<ref>`."""
    mode = host.network_mode or "default"
    return "bridge" if mode in ("default", "bridge") else mode


def network_id(name: str) -> str:
    """The constant id of a built-in network: 64 hexadecimal digits, recognisable by eye."""
    return name.encode().hex().ljust(64, "0")[:64]


def joined(mode: str) -> str | None:
    """The container in `container:<ref>`, None for any other mode."""
    kind, _, reference = mode.partition(":")
    return reference if kind == "container" else None


def _check_modes(config: ContainerConfig, host: HostConfig) -> None:
    mode = network_mode(host)
    if mode.startswith("container:"):
        if not mode.removeprefix("container:"):
            raise InvalidArgument("invalid container format container:<name|id>")
        for value, what in (
            (config.hostname, "hostname"),
            (host.dns, "dns"),
            (host.extra_hosts, "custom host-to-IP mapping"),
            (config.mac_address, "mac-address"),
            (host.port_bindings or host.publish_all_ports, "port publishing"),
        ):
            if value:
                text = "container type network mode" if what == "port publishing" else "network mode"
                raise InvalidArgument(f"conflicting options: {what} and the {text}")
    elif mode not in ("bridge", "host", "none"):
        raise Unsupported(
            f"network {mode[:80]} not found: only bridge, host, none and container:ID exist yet"
        )
    if host.uts_mode == "host" and (config.hostname or config.domainname):
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if config.hostname and (len(config.hostname) > 63 or "\0" in config.hostname or "/" in config.hostname):
        raise InvalidArgument(f"invalid hostname format: {config.hostname[:80]}")
    for value, name, allowed in (
        (host.pid_mode, "PID", ("", "host", "private")),
        (host.ipc_mode, "IPC", ("", "private", "shareable", "none", "host")),
        (host.uts_mode, "UTS", ("", "host", "private")),
        (host.cgroupns_mode, "cgroup namespace", ("", "host", "private")),
    ):
        if value not in allowed and not (joined(value) and name in ("PID", "IPC")):
            raise InvalidArgument(f"invalid {name} mode: {value[:80]}")
    if host.userns_mode not in ("", "host"):
        raise Unsupported(f"user namespace mode {host.userns_mode[:40]!r} is not supported yet")


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
            raise InvalidArgument(f"invalid restart policy: unknown policy '{policy.name[:40]}'")
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


def _check_unsupported(config: ContainerConfig, host: HostConfig) -> list[str]:
    if host.device_requests:
        request = host.device_requests[0]
        raise InvalidArgument(
            f'could not select device driver "{request.driver[:40]}"'
            f" with capabilities: {request.capabilities}"
        )
    if host.runtime not in ("", "carboy", "runc", "io.containerd.runc.v2"):
        raise InvalidArgument(f"unknown or invalid runtime name: {host.runtime[:40]}")
    if host.isolation not in ("", "default"):
        raise InvalidArgument(
            f"invalid isolation '{host.isolation[:40]}' on linux: only default is supported"
        )
    if host.links:
        raise Unsupported("links between containers are not supported: use a network and container names")
    windows = host.cpu_count or host.cpu_percent or host.io_maximum_iops or host.io_maximum_bandwidth
    ignored = (
        (
            host.port_bindings or host.publish_all_ports,
            "Published ports are not supported yet: nothing listens on the host.",
        ),
        (host.storage_opt, "Storage options have no effect."),
        (windows, "Windows limits have no effect."),
        (config.network_disabled, "NetworkDisabled is ignored: use network mode none."),
        (host.runtime in ("runc", "io.containerd.runc.v2"), "The built-in runtime is used instead of runc."),
    )
    return [text for given, text in ignored if given]
