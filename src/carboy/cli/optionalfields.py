"""Fields that documents of the API may leave out, and what templates get for them.

Docker reads documents into types, where an absent field has its type's zero value, so that
`{{if .State.Health}}` works for a container without a health check; a field that no type has is an error.
"""

from __future__ import annotations

from carboy.cli.gofunctions import NIL, NIL_LIST, NIL_MAP
from carboy.cli.gotemplate import Fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.client.document import Json

_ZERO: dict[str, dict[str, dict[str, Any]]] = {
    "container": {
        "": {
            **dict.fromkeys(("SizeRw", "SizeRootFs", "ImageManifestDescriptor"), NIL),
            **dict.fromkeys(("ExecIDs", "Mounts", "Args"), NIL_LIST),
            **dict.fromkeys(("Storage", "GraphDriver"), NIL),
        },
        "State": {"Health": NIL},
        "NetworkSettings": dict.fromkeys(("Ports", "Networks"), NIL_MAP),
        "Config": {
            **dict.fromkeys(("Healthcheck", "StopTimeout"), NIL),
            **dict.fromkeys(("ExposedPorts", "Volumes", "Labels"), NIL_MAP),
            **dict.fromkeys(("Shell", "OnBuild", "Entrypoint", "Cmd", "Env"), NIL_LIST),
            **dict.fromkeys(("ArgsEscaped", "NetworkDisabled"), False),
            **dict.fromkeys(("MacAddress", "StopSignal"), ""),
        },
        "HostConfig": {
            **dict.fromkeys(("StorageOpt", "Tmpfs", "Sysctls", "Annotations", "PortBindings"), NIL_MAP),
            **dict.fromkeys(("Mounts", "DeviceRequests", "Binds", "CapAdd", "CapDrop", "Dns"), NIL_LIST),
            **dict.fromkeys(("DnsOptions", "DnsSearch", "ExtraHosts", "GroupAdd", "Links"), NIL_LIST),
            **dict.fromkeys(("SecurityOpt", "VolumesFrom", "Devices", "Ulimits"), NIL_LIST),
            **dict.fromkeys(("MaskedPaths", "ReadonlyPaths", "DeviceCgroupRules"), NIL_LIST),
            **dict.fromkeys(("Init", "PidsLimit", "MemorySwappiness", "OomKillDisable"), NIL),
            **dict.fromkeys(("Runtime", "VolumeDriver"), ""),
            **dict.fromkeys(("KernelMemory", "KernelMemoryTCP"), 0),
        },
    },
    "image": {
        "": {
            **dict.fromkeys(("RepoTags", "RepoDigests"), NIL_LIST),
            **dict.fromkeys(("Container", "DockerVersion", "Author", "Variant", "OsVersion", "Comment"), ""),
            **dict.fromkeys(("Manifests",), NIL_LIST),
            **dict.fromkeys(("Descriptor", "ContainerConfig"), NIL),
            "VirtualSize": 0,
        },
        "Config": {
            **dict.fromkeys(("Healthcheck", "StopTimeout"), NIL),
            **dict.fromkeys(("ExposedPorts", "Volumes", "Labels"), NIL_MAP),
            **dict.fromkeys(("Shell", "OnBuild", "Entrypoint", "Cmd", "Env"), NIL_LIST),
            **dict.fromkeys(("ArgsEscaped",), False),
            **dict.fromkeys(("User", "WorkingDir", "StopSignal"), ""),
        },
    },
    "volume": {
        "": {
            "Status": NIL_MAP,
            "UsageData": NIL,
            "ClusterVolume": NIL,
            "CreatedAt": "",
            "Labels": NIL_MAP,
            "Options": NIL_MAP,
        }
    },
    "network": {"": {"Peers": NIL_LIST, "Services": NIL_MAP, "Status": NIL}},
}


def typed(kind: str, document: Json) -> Json:
    """The document, with the zero values of what it leaves out behind it; its JSON stays the same."""
    table = _ZERO.get(kind, {})
    inner = {
        name: Fields(value, {}, zero=table[name]) if name in table and isinstance(value, dict) else value
        for name, value in document.items()
    }
    return Fields(inner, {}, zero=table.get("", {}))
