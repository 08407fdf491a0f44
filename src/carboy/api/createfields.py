"""What becomes of every field of `POST /containers/create`: the table behind docs/api-matrix.md.

A field is served, warned about, refused or shown: nothing is dropped in silence.  Fields that are not in
this table are answered with a warning that names them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

SERVED, WARNED, REFUSED, SHOWN = "yes", "warned", "refused", "shown"


class Field(NamedTuple):
    """One field: its path, what becomes of it, and what there is to know."""

    path: str
    state: str
    note: str = ""


_THROTTLES = str.split("BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps")
_ENDPOINT = "NetworkingConfig.EndpointsConfig."

_GROUPS: tuple[tuple[str, str, str, str], ...] = (
    (
        "",
        SERVED,
        "",
        (
            "Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts Tty OpenStdin "
            "StdinOnce Env Cmd Image Volumes WorkingDir Entrypoint MacAddress Labels "
            "StopSignal StopTimeout Shell "
            "HostConfig NetworkingConfig"
        ),
    ),
    (
        "",
        SERVED,
        "",
        (
            "Healthcheck Healthcheck.Test Healthcheck.Interval Healthcheck.Timeout Healthcheck.Retries "
            "Healthcheck.StartPeriod Healthcheck.StartInterval"
        ),
    ),
    ("", WARNED, "exists on Windows only", "ArgsEscaped"),
    ("", WARNED, "the network mode becomes none", "NetworkDisabled"),
    ("", SHOWN, "means something in builds only", "OnBuild"),
    (
        "HostConfig.",
        SERVED,
        "what this machine's control groups lack is warned about",
        "CpuShares Memory CgroupParent BlkioWeight BlkioWeightDevice BlkioWeightDevice.Path "
        "BlkioWeightDevice.Weight "
        + " ".join(f"{name} {name}.Path {name}.Rate" for name in _THROTTLES)
        + " CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems MemoryReservation "
        "MemorySwap MemorySwappiness NanoCpus OomKillDisable PidsLimit",
    ),
    ("HostConfig.", WARNED, "gone from current kernels", "KernelMemory KernelMemoryTCP"),
    (
        "HostConfig.",
        WARNED,
        "exists on Windows only",
        "CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth",
    ),
    (
        "HostConfig.",
        SERVED,
        "",
        (
            "Devices Devices.PathOnHost Devices.PathInContainer Devices.CgroupPermissions DeviceCgroupRules "
            "Init Ulimits Ulimits.Name Ulimits.Soft Ulimits.Hard"
        ),
    ),
    (
        "HostConfig.",
        SERVED,
        "through CDI specifications: driver cdi, or capability gpu with nvidia.com/gpu or amd.com/gpu",
        (
            "DeviceRequests DeviceRequests.Driver DeviceRequests.Count DeviceRequests.DeviceIDs "
            "DeviceRequests.Capabilities"
        ),
    ),
    ("HostConfig.", REFUSED, "CDI devices have no options", "DeviceRequests.Options"),
    (
        "HostConfig.",
        SERVED,
        "",
        (
            "Binds LogConfig LogConfig.Type LogConfig.Config PortBindings PortBindings.HostIp "
            "PortBindings.HostPort RestartPolicy RestartPolicy.Name "
            "RestartPolicy.MaximumRetryCount AutoRemove "
            "VolumesFrom ConsoleSize Annotations CapAdd CapDrop CgroupnsMode Dns DnsOptions "
            "DnsSearch ExtraHosts "
            "GroupAdd IpcMode Links OomScoreAdj PidMode Privileged PublishAllPorts "
            "ReadonlyRootfs Tmpfs UTSMode "
            "ShmSize Sysctls MaskedPaths ReadonlyPaths"
        ),
    ),
    ("HostConfig.", SHOWN, "the client writes the file", "ContainerIDFile"),
    (
        "HostConfig.",
        SERVED,
        "bridge, host, none, container:ID; networks of one's own come later: 404",
        "NetworkMode",
    ),
    ("HostConfig.", SERVED, "the driver local; others are not found", "VolumeDriver"),
    ("HostConfig.", REFUSED, "use CgroupnsMode", "Cgroup"),
    (
        "HostConfig.",
        SERVED,
        "label= is warned about; apparmor= as well where the kernel has none",
        "SecurityOpt",
    ),
    ("HostConfig.", REFUSED, "as Docker without quotas of xfs", "StorageOpt"),
    ("HostConfig.", SERVED, "host, which is the default", "UsernsMode"),
    ("HostConfig.", SERVED, "runc is taken for the built-in one and warned about", "Runtime"),
    ("HostConfig.", SERVED, "default; others exist on Windows only", "Isolation"),
    (
        "HostConfig.Mounts",
        SERVED,
        "",
        (
            " .Target .Source .ReadOnly .BindOptions .BindOptions.Propagation .BindOptions.NonRecursive "
            ".BindOptions.CreateMountpoint .BindOptions.ReadOnlyNonRecursive "
            ".BindOptions.ReadOnlyForceRecursive "
            ".VolumeOptions .VolumeOptions.NoCopy .VolumeOptions.Labels .VolumeOptions.DriverConfig "
            ".VolumeOptions.DriverConfig.Name .VolumeOptions.DriverConfig.Options .VolumeOptions.Subpath "
            ".ImageOptions .ImageOptions.Subpath .TmpfsOptions .TmpfsOptions.SizeBytes .TmpfsOptions.Mode "
            ".TmpfsOptions.Options"
        ),
    ),
    (
        "HostConfig.Mounts",
        SERVED,
        "bind, volume, tmpfs, image (read-only); cluster and npipe are refused",
        ".Type",
    ),
    ("HostConfig.Mounts", SHOWN, "means something on a Mac only", ".Consistency"),
    ("NetworkingConfig.", SERVED, "the network of the mode; others come later: 404", "EndpointsConfig"),
    (_ENDPOINT, SERVED, "", "MacAddress GwPriority"),
    (
        _ENDPOINT,
        REFUSED,
        "as Docker: on networks of one's own only",
        "IPAMConfig.IPv4Address IPAMConfig.IPv6Address IPAMConfig.LinkLocalIPs Aliases Links DriverOpts",
    ),
    (_ENDPOINT, REFUSED, "an empty one says nothing", "IPAMConfig"),
    (
        _ENDPOINT,
        SHOWN,
        "what the engine says, not the client",
        (
            "NetworkID EndpointID Gateway IPAddress IPPrefixLen IPv6Gateway GlobalIPv6Address "
            "GlobalIPv6PrefixLen DNSNames"
        ),
    ),
)


def fields() -> Iterator[Field]:
    """Every field, in the order of the table."""
    for prefix, state, note, names in _GROUPS:
        if prefix == "HostConfig.Mounts" and names.startswith(" "):
            yield Field(prefix, state, note)
        for name in names.split():
            yield Field(prefix + name, state, note)


def page() -> str:
    """The section of docs/api-matrix.md."""
    lines = [
        "\n## Fields of `POST /containers/create`\n\n",
        (
            '"yes" is served, "warned" answered with a warning, "refused" an error, "shown" kept and shown by'
            " inspect.\nA field that is not here is answered with a warning that names it.\n\n"
        ),
        "| field | | |\n|---|---|---|\n",
    ]
    lines += [f"| `{one.path}` | {one.state} | {one.note} |\n" for one in fields()]
    return "".join(lines)
