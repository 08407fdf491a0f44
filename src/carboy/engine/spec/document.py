"""The OCI runtime configuration of a container: everything joined."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from carboy.engine.spec import cdi
from carboy.engine.spec.cdi import ContainerEdits
from carboy.engine.spec.check import joined, network_mode
from carboy.engine.spec.devices import cdi_devices, device_rules, linux_devices
from carboy.engine.spec.facts import HostFacts
from carboy.engine.spec.limits import Value, resources, rlimits
from carboy.engine.spec.mounts import PlannedMount, oci_mount
from carboy.engine.spec.plannedmount import PROPAGATIONS
from carboy.engine.spec.process import arguments, environment, merge_env, working_directory
from carboy.engine.spec.security import (
    SecurityOptions,
    capability_set,
    check_labels,
    masked_paths,
    parse_security_options,
    readonly_paths,
)
from carboy.engine.users import Identity
from carboy.errors import InvalidArgument
from carboy.formats import seccomp
from carboy.formats.dockerapi.containers import ContainerConfig, HostConfig

OCI_VERSION = "1.2.0"
DEFAULT_SHM_SIZE = 64 << 20
RLIMITS_ANNOTATION = "dev.carboy.rlimits-explicit"


@dataclass(frozen=True, slots=True)
class Placement:
    """What only the engine knows when a container starts."""

    container_id: str
    identity: Identity
    volumes: dict[str, str]
    """Volume name to path on the host."""
    files: dict[str, str] = field(default_factory=dict)
    """Destination to path on the host: /etc/hosts, /etc/hostname, /etc/resolv.conf."""
    namespaces: dict[str, str] = field(default_factory=dict)
    """Namespace type to path, for those joined from another container."""
    read_only_volumes: frozenset[str] = frozenset()
    """Volumes whose own options say so."""
    ipc_process: int = 0
    """A process of the container whose /dev/shm is shared."""
    environment: tuple[str, ...] = ()
    """Variables that links give."""
    edits: ContainerEdits = field(default_factory=ContainerEdits)
    """What CDI devices change."""


def build(
    config: ContainerConfig,
    host: HostConfig,
    mounts: list[PlannedMount],
    *,
    placement: Placement,
    facts: HostFacts,
) -> Value:
    """The document for config.json; raises InvalidArgument for what cannot be."""
    options = check_labels(parse_security_options(host.security_opt), facts)[0]
    capabilities = capability_set(host, facts)
    nodes, rules = linux_devices(host)
    more_nodes, more_rules = cdi_devices(placement.edits, placement.identity)
    nodes, rules = nodes + more_nodes, rules + more_rules
    hostname = config.hostname or placement.container_id[:12]
    linux: Value = {
        "namespaces": _namespaces(host, placement, facts),
        "resources": resources(host, device_rules(host) + rules),
        "cgroupsPath": f"{host.cgroup_parent or facts.cgroup_parent}/{placement.container_id}",
        "sysctl": _sysctls(host, facts),
        "maskedPaths": masked_paths(host, options, facts),
        "readonlyPaths": readonly_paths(host, options),
        "rootfsPropagation": _root_propagation(mounts),
    }
    if nodes:
        linux["devices"] = nodes
    profile = _seccomp(host, options.seccomp, capabilities, facts)
    if profile is not None:
        linux["seccomp"] = profile
    document: Value = {
        "ociVersion": OCI_VERSION,
        "root": {"path": "rootfs", "readonly": host.readonly_rootfs},
        "process": _process(config, host, placement, hostname, capabilities, options),
        "mounts": _mounts(host, mounts, placement, writable_groups=options.writable_cgroups),
        "annotations": _annotations(host),
        "linux": linux,
    }
    if host.uts_mode != "host":
        document["hostname"] = hostname
        if config.domainname:
            document["domainname"] = config.domainname
    if placement.edits.hooks:
        document["hooks"] = _hooks(placement.edits)
    return document


def _hooks(edits: ContainerEdits) -> Value:
    found: dict[str, list[Value]] = {}
    for hook in edits.hooks:
        value: Value = {"path": hook.path, "args": hook.args or [hook.path], "env": hook.env}
        if hook.timeout:
            value["timeout"] = hook.timeout
        found.setdefault(hook.hook_name, []).append(value)
    return dict(found)


def capability_sets(names: list[str]) -> Value:
    """Bounding, effective and permitted; inheritable and ambient stay empty (CVE-2022-24769)."""
    return {"bounding": names, "effective": names, "permitted": names}


def user_of(identity: Identity) -> Value:
    """The OCI `process.user`."""
    groups = [identity.gid, *(group for group in identity.groups if group != identity.gid)]
    return {"uid": identity.uid, "gid": identity.gid, "additionalGids": groups}


def _process(
    config: ContainerConfig,
    host: HostConfig,
    placement: Placement,
    hostname: str,
    capabilities: list[str],
    options: SecurityOptions,
) -> Value:
    user = user_of(placement.identity)
    variables = environment(config, hostname=hostname, home=placement.identity.home)
    process: Value = {
        "terminal": config.tty,
        "user": {**user, "additionalGids": _groups(user, placement.edits)},
        "args": arguments(config),
        "env": merge_env(merge_env(list(placement.environment), variables), placement.edits.env),
        "cwd": working_directory(config),
        "capabilities": capability_sets(capabilities),
        "noNewPrivileges": options.no_new_privileges,
        # Always written: a monitor's own adjustment must not be inherited.
        "oomScoreAdj": host.oom_score_adj,
    }
    if options.apparmor and not host.privileged:
        process["apparmorProfile"] = options.apparmor
    if host.ulimits:
        process["rlimits"] = rlimits(host)
    if config.tty and len(host.console_size) == 2 and any(host.console_size):
        process["consoleSize"] = {"height": host.console_size[0], "width": host.console_size[1]}
    return process


def _groups(user: Value, edits: ContainerEdits) -> list[object]:
    own = user["additionalGids"]
    assert isinstance(own, list)
    return [*own, *(group for group in dict.fromkeys(edits.additional_gids) if group not in own)]


def _annotations(host: HostConfig) -> dict[str, str]:
    found = dict(host.annotations)
    if host.ulimits:
        found[RLIMITS_ANNOTATION] = ",".join(f"RLIMIT_{limit.name.upper()}" for limit in host.ulimits)
    return found


def _namespaces(host: HostConfig, placement: Placement, facts: HostFacts) -> list[Value]:
    kinds = {
        "mount": "private",
        "network": network_mode(host),
        "uts": host.uts_mode,
        "pid": host.pid_mode,
        "ipc": host.ipc_mode,
        "cgroup": host.cgroupns_mode,
    }
    found: list[Value] = []
    for kind, mode in kinds.items():
        if mode == "host":
            continue
        if joined(mode) is not None:
            found.append({"type": kind, "path": placement.namespaces[kind]})
        else:
            found.append({"type": kind})
    if facts.has_time_namespace:
        found.append({"type": "time"})
    return found


def _sysctls(host: HostConfig, facts: HostFacts) -> dict[str, str]:
    found: dict[str, str] = {}
    mode = network_mode(host)
    if mode != "host" and joined(mode) is None:
        # Docker's: no port is privileged inside, and everybody may ping.
        found["net.ipv4.ip_unprivileged_port_start"] = "0"
        found["net.ipv4.ping_group_range"] = "0 2147483647"
        if mode == "bridge" and facts.has_ipv6:
            # The bridge has IPv4 only; router advertisements must not give addresses (CVE-2020-13401).
            found["net.ipv6.conf.all.disable_ipv6"] = "1"
            found["net.ipv6.conf.default.disable_ipv6"] = "1"
    return {**found, **host.sysctls}


def _root_propagation(mounts: list[PlannedMount]) -> str:
    wanted = {mount.propagation.removeprefix("r") for mount in mounts if mount.type == "bind"}
    if "shared" in wanted:
        return "rshared"
    return "rslave" if "slave" in wanted else "rprivate"


def _mounts(
    host: HostConfig, planned: list[PlannedMount], placement: Placement, *, writable_groups: bool
) -> list[Value]:
    rw = "rw" if host.privileged else "ro"
    groups_rw = "rw" if host.privileged or writable_groups else "ro"
    found = [
        _mount("/proc", "proc", "nosuid noexec nodev"),
        _mount("/dev", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        _mount("/dev/pts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
        _mount("/sys", "sysfs", f"nosuid noexec nodev {rw}"),
        _mount("/sys/fs/cgroup", "cgroup", f"nosuid noexec nodev {groups_rw}"),
        _mount("/dev/mqueue", "mqueue", "nosuid noexec nodev"),
        _mount(
            "/dev/shm", "tmpfs", f"nosuid noexec nodev mode=1777 size={host.shm_size or DEFAULT_SHM_SIZE}"
        ),
    ]
    if host.ipc_mode == "host":
        # A new mount of mqueue is that of the joined namespace: the host need not have one itself.
        found = [mount for mount in found if mount["destination"] != "/dev/shm"]
        found.append(_bind("/dev/shm", "/dev/shm"))
    if placement.ipc_process:
        found = [mount for mount in found if mount["destination"] != "/dev/shm"]
        shared = _bind("/dev/shm", "/dev/shm")
        shared["options"] = ["rbind", "rprivate", f"carboy.process={placement.ipc_process}"]
        found.append(shared)
    if host.ipc_mode == "none":
        found = [mount for mount in found if mount["destination"] != "/dev/shm"]
    if network_mode(host) == "host" and not host.privileged:
        # A sysfs of a network namespace that is not ours to mount: the host's, read-only.
        found = [
            {**_bind("/sys", "/sys"), "options": ["rbind", "nosuid", "noexec", "nodev", "ro", "rslave"]}
            if mount["destination"] == "/sys" and "user" in placement.namespaces
            else mount
            for mount in found
        ]
    taken = {mount.destination for mount in planned}
    found = [mount for mount in found if mount["destination"] not in taken]
    for destination, source in placement.files.items():
        if destination not in taken:
            found.append(_bind(source, destination))
    images = 0
    for mount in planned:
        source = placement.volumes[mount.source] if mount.type == "volume" else mount.source
        if mount.type == "volume" and mount.source in placement.read_only_volumes:
            mount = msgspec.structs.replace(mount, read_only=True)
        number = images if mount.type == "image" else -1
        images += mount.type == "image"
        found.append(oci_mount(mount, source, descriptor=number))
    return found + [_cdi_mount(mount) for mount in placement.edits.mounts]


def _cdi_mount(mount: cdi.Mount) -> Value:
    options = [*mount.options] if {"bind", "rbind"} & {*mount.options} else ["rbind", *mount.options]
    if not any(word in PROPAGATIONS for word in options):
        options.append("rprivate")
    return {
        "destination": mount.container_path,
        "type": "bind",
        "source": mount.host_path,
        "options": options,
    }


def _mount(destination: str, kind: str, options: str) -> Value:
    return {
        "destination": destination,
        "type": kind,
        "source": kind if kind != "tmpfs" else "tmpfs",
        "options": options.split(),
    }


def _bind(source: str, destination: str) -> Value:
    return {"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate"]}


def _seccomp(
    host: HostConfig, chosen: str | None, capabilities: list[str], facts: HostFacts
) -> object | None:
    if host.privileged or chosen == "unconfined":
        return None
    text = facts.seccomp_profile if chosen is None else chosen.encode()
    return _resolved_profile(text, tuple(capabilities), facts.machine, facts.kernel)


@lru_cache(maxsize=16)  # 2 ms of each start; not to be changed by who gets it
def _resolved_profile(
    text: bytes, capabilities: tuple[str, ...], machine: str, kernel: tuple[int, int]
) -> object:
    try:
        profile = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from error
    if not isinstance(profile, dict):
        raise InvalidArgument("Decoding seccomp profile failed: not a JSON object")
    return seccomp.resolve(profile, capabilities=capabilities, machine=machine, kernel=kernel)
