"""Capabilities, masked paths and `--security-opt`: Docker's defaults and how they are changed."""

from __future__ import annotations

import dataclasses
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
    writable_cgroups: bool = False
    apparmor: str = ""
    labels: tuple[str, ...] = ()


def parse_security_options(options: Iterable[str]) -> SecurityOptions:
    """Read `--security-opt` values; raises InvalidArgument for those nobody knows."""
    no_new_privileges, seccomp, systempaths, writable_cgroups, apparmor = False, None, False, False, ""
    labels: list[str] = []
    for option in options:
        separator = "=" if "=" in option else ":"
        name, found, value = option.partition(separator)
        match name:
            case "no-new-privileges":
                no_new_privileges = _boolean(value, option) if found else True
            case "writable-cgroups":
                writable_cgroups = _boolean(value, option) if found else True
            case "seccomp" if found:
                seccomp = None if value == "builtin" else value
            case "systempaths" if value == "unconfined":
                systempaths = True
            case "apparmor" if found:
                apparmor = value
            case "label" if found:
                labels.append(_label(value, option))
            case "disable" if not found:
                labels.append("disable")
            case _:
                raise _unknown(option)
    return SecurityOptions(no_new_privileges, seccomp, systempaths, writable_cgroups, apparmor, tuple(labels))


def _unknown(option: str) -> InvalidArgument:
    number = 2 if "=" in option or ":" in option else 1  # Docker's numbers
    return InvalidArgument(f'invalid --security-opt {number}: "{option[:80]}"')


def _boolean(text: str, option: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise _unknown(option)


def _label(value: str, option: str) -> str:
    kind, found, _ = value.partition(":")
    if value != "disable" and not (found and kind in ("user", "role", "type", "level", "filetype")):
        raise _unknown(option)
    return value


def check_labels(options: SecurityOptions, facts: HostFacts) -> tuple[SecurityOptions, list[str]]:
    """Without what this kernel's security modules cannot do, and the warnings for it."""
    warnings = []
    apparmor = "" if options.apparmor == "unconfined" else options.apparmor
    if apparmor and not facts.has_apparmor:
        warnings.append(f"AppArmor is not enabled on this host: the profile {apparmor[:80]!r} has no effect.")
        apparmor = ""
    wanted = [label for label in options.labels if label != "disable"]
    if wanted:
        where = (
            "Carboy sets no SELinux labels" if facts.has_selinux else "SELinux is not enabled on this host"
        )
        warnings.append(f"{where}: the label {', '.join(wanted)[:80]!r} has no effect.")
    return dataclasses.replace(options, apparmor=apparmor), warnings


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
