"""Documents as clients of one API version expect them: fields that are left out while they are empty.

Docker leaves some empty fields out of what it shows, gives others as null, and older versions of
the API hold fields that newer ones lost.  Programs that are not written in Go see the difference.
"""

from __future__ import annotations

from typing import Any

import msgspec

from carboy.api.reply import Reply, json_reply
from carboy.api.versions import Version
from carboy.formats.dockerapi.containers import ContainerConfig, ContainerInspect
from carboy.formats.dockerapi.images import ImageInspect

_CONFIG_OMITS = str.split(
    "ExposedPorts Healthcheck ArgsEscaped NetworkDisabled MacAddress StopSignal StopTimeout Shell"
)
_HOST_OMITS = str.split("Annotations Mounts Init StorageOpt Tmpfs Sysctls")
_HOST_NULLS = str.split(
    "Binds CapAdd CapDrop ExtraHosts GroupAdd Links SecurityOpt VolumesFrom DeviceCgroupRules DeviceRequests "
    "BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps"
)
_LEGACY_IMAGE_CONFIG = {
    name: value
    for name, value in msgspec.to_builtins(ContainerConfig()).items()
    if name in {"Hostname", "Domainname", "Image", "Tty", "OpenStdin", "StdinOnce"}
    or name.startswith("Attach")
}


def container(found: ContainerInspect, version: Version) -> Reply:
    """The answer to `GET /containers/{id}/json`."""
    document = msgspec.to_builtins(found)
    _config(document["Config"])
    host = document["HostConfig"]
    _omit(host, _HOST_OMITS)
    for name in _HOST_NULLS:
        host[name] = host[name] or None
    host["OomKillDisable"] = bool(host["OomKillDisable"])
    if version >= (1, 42):
        _omit(host, ["KernelMemory"])
    return json_reply(document)


def image(found: ImageInspect, version: Version) -> Reply:
    """The answer to `GET /images/{name}/json`."""
    if version >= (1, 44):
        found.virtual_size = msgspec.UNSET
    document = msgspec.to_builtins(found)
    if version < (1, 50):
        _omit(document["Config"], _CONFIG_OMITS)
        document["Config"] = _LEGACY_IMAGE_CONFIG | document["Config"]
    if version < (1, 45):
        empty = msgspec.to_builtins(ContainerConfig())
        _omit(empty, _CONFIG_OMITS)
        document["ContainerConfig"] = empty
    else:
        del document["Container"]
    return json_reply(document)


def _config(config: dict[str, Any]) -> None:
    _omit(config, _CONFIG_OMITS)
    if "Healthcheck" in config:
        _omit(config["Healthcheck"], list(config["Healthcheck"]))


def _omit(document: dict[str, Any], names: list[str]) -> None:
    """Leave out what is empty; a stop timeout of 0 says something, and so does `init: false`."""
    for name in names:
        value = document.get(name)
        if not value and not (name in ("StopTimeout", "Init") and value is not None):
            document.pop(name, None)
