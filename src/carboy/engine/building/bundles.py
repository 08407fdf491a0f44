"""What the runtime reads for a RUN: config.json, and the files that are bound to /etc."""

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import IPv4Address

import msgspec

from carboy.build.executor import Job
from carboy.build.graph import SCRIPT_PATH
from carboy.engine.building import trust
from carboy.engine.building.mounts import Entry
from carboy.engine.containers.bundle import light_field, resolv_conf, write_file
from carboy.engine.containers.parts import Parts
from carboy.engine.monitors import Message
from carboy.engine.spec.cdi import Registry
from carboy.engine.spec.devices import requested_edits
from carboy.engine.spec.document import Placement, build
from carboy.engine.spec.limits import check_limits
from carboy.engine.users import read_account_files, resolve
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import ContainerConfig, DeviceRequest, HostConfig, Ulimit
from carboy.network import files

NETWORKS = {"": "bridge", "default": "bridge", "bridge": "bridge", "none": "none", "host": "host"}
PIDS_LIMIT = 8192
"""Processes of one step: no build needs as many, and one that multiplies itself stops there."""
STALL = 3600.0
"""Seconds that a console may take nothing."""
_LOOPBACK = IPv4Address("127.0.0.1")


class StepBundle:
    """The bundle of one step."""

    def __init__(
        self, parts: Parts, step_id: str, job: Job, *, variables: Sequence[str], host_bundle: bytes
    ) -> None:
        """variables: those that mounts bring.  host_bundle: certificates, see `trust.py`."""
        self._parts = parts
        self._id = step_id
        self._job = job
        self._variables = variables
        self._host_bundle = host_bundle
        self._directory = parts.paths.container(step_id)

    def write(self, rootfs: int, entries: Sequence[Entry]) -> Message:
        """Write it; gives the `launch` of the request to the spawner."""
        job, parts = self._job, self._parts
        passwd, group = read_account_files(rootfs)
        host = host_config(job, self._devices())
        check_limits(host, parts.facts)
        placement = Placement(
            container_id=self._id,
            identity=resolve(job.user, (), passwd=passwd, group=group),
            volumes={},
            files=self._write_files(host),
            edits=requested_edits(host, parts.facts),
        )
        config = ContainerConfig(
            hostname=job.hostname, env=self._environment(), cmd=list(job.args), working_dir=job.cwd
        )
        spec = build(config, host, [], placement=placement, facts=parts.facts)
        mounts = spec["mounts"]
        assert isinstance(mounts, list)
        taken = {str(entry["destination"]) for entry in entries}
        mounts[:] = [one for one in mounts if one["destination"] not in taken] + [*entries]
        encoded = msgspec.json.encode(spec).decode("utf-8", "surrogateescape")
        write_file(f"{self._directory}/config.json", encoded)
        return {
            "terminal": False,
            "stdin": False,
            "log": {"driver": "none"},
            "stall": STALL,
            "tied": True,
            "seccomp_cache": f"{parts.paths.cache}/seccomp",
            "cgroup_parent": parts.facts.cgroup_parent,
        } | light_field(spec)

    def _devices(self) -> list[str]:
        """CDI names; one that is not required and not here is left out."""
        wanted = self._job.devices
        if all(device.required for device in wanted):
            return [device.name for device in wanted]
        known = {*Registry.load(self._parts.facts.cdi_directories).names}
        return [device.name for device in wanted if device.required or device.name in known]

    def _environment(self) -> list[str]:
        job = self._job
        hidden = [*job.hidden_env, *self._variables]
        if self._host_bundle:
            hidden += trust.variables([*job.env, *hidden])
        return [*hidden, *job.env]

    def _write_files(self, host: HostConfig) -> dict[str, str]:
        """The step's own files, on the host, by where they are bound to."""
        job, directory = self._job, self._directory
        gateway = self._parts.network.gateway if host.network_mode == "bridge" else None
        hosts = files.hosts(
            hostname=job.hostname,
            addresses=[_LOOPBACK],
            extra=[files.parse_extra_host(text, gateway=gateway) for text in job.extra_hosts],
        )
        write_file(f"{directory}/hosts", hosts)
        write_file(f"{directory}/resolv.conf", resolv_conf(host, own_namespace=host.network_mode != "host"))
        found = {f"/etc/{name}": f"{directory}/{name}" for name in ("hosts", "resolv.conf")}
        if job.script:
            write_file(f"{directory}/script", job.script)
            os.chmod(f"{directory}/script", 0o755)
            found[SCRIPT_PATH] = f"{directory}/script"
        if self._host_bundle:
            path = f"{directory}/certificates"
            with open(path, "wb") as file:
                file.write(self._host_bundle)
            os.chmod(path, 0o644)
            found[trust.PLACE] = path
        return found


def host_config(job: Job, devices: Sequence[str]) -> HostConfig:
    """A step's isolation and limits, as those of a container; raises InvalidArgument.

    devices: their CDI names.
    """
    limits = job.limits
    network = NETWORKS.get(job.network)
    if network is None:
        raise InvalidArgument(f"RUN: network {job.network[:80]!r} is not known: use default, none or host")
    if job.security not in ("", "sandbox", "insecure"):
        raise InvalidArgument(f"RUN: security {job.security[:80]!r} is not known: use sandbox or insecure")
    return HostConfig(
        network_mode=network,
        privileged=job.security == "insecure",
        memory=limits.memory,
        memory_swap=limits.memory_swap,
        cpu_shares=limits.cpu_shares,
        cpu_period=limits.cpu_period,
        cpu_quota=limits.cpu_quota,
        cpuset_cpus=limits.cpuset_cpus,
        cpuset_mems=limits.cpuset_mems,
        cgroup_parent=limits.cgroup_parent,
        shm_size=limits.shm_size,
        pids_limit=PIDS_LIMIT,
        ulimits=[Ulimit(name=name, soft=soft, hard=hard) for name, soft, hard in limits.ulimits],
        device_requests=[DeviceRequest(driver="cdi", device_ids=[*devices])] if devices else [],
    )
