"""Capabilities, masked paths and `--security-opt`: Docker's defaults and how they are changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from carboy.engine.spec.facts import HostFacts
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import HostConfig

DEFAULT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)

READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

ALL_CAPABILITIES = frozenset(
    "CAP_" + name
    for name in str.split(
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
        "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
        "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
        "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
        "PERFMON BPF CHECKPOINT_RESTORE"
    )
)


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """What `--security-opt` said."""

    no_new_privileges: bool = False
    seccomp: str | None = None  # None: the default profile; "unconfined"; else a profile's JSON
    systempaths_unconfined: bool = False
    warnings: tuple[str, ...] = ()


def parse_security_options(options: Iterable[str]) -> SecurityOptions:
    """Read `--security-opt` values; raises InvalidArgument for those nobody knows."""
    no_new_privileges, seccomp, systempaths = False, None, False
    warnings = []
    for option in options:
        separator = "=" if "=" in option else ":"
        name, found, value = option.partition(separator)
        match name:
            case "no-new-privileges":
                no_new_privileges = value not in ("false", "0") if found else True
            case "seccomp" if found:
                seccomp = None if value == "builtin" else value
            case "systempaths" if value == "unconfined":
                systempaths = True
            case "apparmor" | "label" if found:
                if value not in ("unconfined", "disable"):
                    warnings.append(f"security option {option[:80]!r} has no effect: no such module is used")
            case _:
                raise InvalidArgument(f"invalid --security-opt: {option[:80]!r}")
    return SecurityOptions(no_new_privileges, seccomp, systempaths, tuple(warnings))


def capability_set(host: HostConfig, facts: HostFacts) -> list[str]:
    """The capabilities of the program, sorted: defaults, then drops, then adds; all when privileged."""
    added = {_capability(name, "CapAdd") for name in host.cap_add}
    dropped = {_capability(name, "CapDrop") for name in host.cap_drop}
    if host.privileged:
        return sorted(facts.capabilities)
    if "ALL" in added:
        found = set(facts.capabilities) - dropped
    elif "ALL" in dropped:
        found = added
    else:
        found = (set(DEFAULT_CAPABILITIES) - dropped) | added
    asked = added - {"ALL"}
    missing = sorted(asked & found - facts.capabilities)
    if missing:
        raise InvalidArgument(f"invalid CapAdd: this host does not have {', '.join(missing)} itself")
    return sorted(found & facts.capabilities)


def _capability(unsafe_name: str, field: str) -> str:
    name = unsafe_name.upper()
    if name == "ALL":
        return name
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in ALL_CAPABILITIES:
        raise InvalidArgument(f'invalid {field}: unknown capability: "{name[:40]}"')
    return name


def masked_paths(host: HostConfig, options: SecurityOptions, facts: HostFacts) -> list[str]:
    """What nobody inside can look at."""
    if host.privileged or options.systempaths_unconfined:
        return []
    if host.masked_paths is not None:
        return host.masked_paths
    return [*MASKED_PATHS, *facts.thermal_throttle]


def readonly_paths(host: HostConfig, options: SecurityOptions) -> list[str]:
    """What nobody inside can write to."""
    if host.privileged or options.systempaths_unconfined:
        return []
    return list(READONLY_PATHS) if host.readonly_paths is None else host.readonly_paths
