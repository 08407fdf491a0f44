"""Devices by name, through the Container Device Interface (https://github.com/cncf-tags/container-device-interface).

    /etc/cdi, /var/run/cdi: *.json, *.yaml ──Registry.load──▶ specifications
    --device vendor.com/class=name, --gpus ──device_names──▶ names ──Registry.edits──▶ ContainerEdits

A later directory wins over an earlier one; the same name twice in one directory is nobody's.  A file
that cannot be used harms only who asks for its devices.  Files are bounded, must be regular, and YAML
may not multiply itself by aliases.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

import msgspec

from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import DeviceRequest

DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
GPU_KINDS = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}
MAX_FILE = 4 << 20
MAX_FILES = 256
MAX_ALIASES = 16
MAX_DEPTH = 16

_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_MOUNT_WORDS = frozenset(
    str.split(
        "bind rbind ro rw rro nosuid suid nodev dev noexec exec noatime relatime nodiratime strictatime "
        "private rprivate slave rslave shared rshared sync async dirsync defaults"
    )
)


class DeviceNode(msgspec.Struct, rename="camel", kw_only=True):
    """A node to make; what is left out is read from the host's."""

    path: str
    host_path: str = ""
    type: str = ""
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


class Mount(msgspec.Struct, rename="camel", kw_only=True):
    """A bind mount from the host."""

    host_path: str
    container_path: str
    type: str = ""
    options: list[str] = []


class Hook(msgspec.Struct, rename="camel", kw_only=True):
    """A program of the host that runs at a point of the container's life."""

    hook_name: str
    path: str
    args: list[str] = []
    env: list[str] = []
    timeout: int | None = None


class ContainerEdits(msgspec.Struct, rename="camel", kw_only=True):
    """What a device changes in a container."""

    env: list[str] = []
    device_nodes: list[DeviceNode] = []
    mounts: list[Mount] = []
    hooks: list[Hook] = []
    additional_gids: list[int] = msgspec.field(default_factory=list, name="additionalGids")
    intel_rdt: dict[str, object] | None = msgspec.field(default=None, name="intelRdt")
    net_devices: list[object] | None = None

    def add(self, other: ContainerEdits) -> None:
        """Append what another one does."""
        self.env += other.env
        self.device_nodes += other.device_nodes
        self.mounts += other.mounts
        self.hooks += other.hooks
        self.additional_gids += other.additional_gids


class _Device(msgspec.Struct, rename="camel", kw_only=True):
    name: str
    annotations: dict[str, str] = {}
    container_edits: ContainerEdits


class _Specification(msgspec.Struct, rename="camel", kw_only=True):
    cdi_version: str = ""
    kind: str
    annotations: dict[str, str] = {}
    devices: list[_Device]
    container_edits: ContainerEdits = msgspec.field(default_factory=ContainerEdits)


class Registry:
    """The devices that the specifications of some directories describe."""

    def __init__(self) -> None:
        self._devices: dict[str, tuple[_Specification, _Device]] = {}
        self.errors: list[str] = []

    @classmethod
    def load(cls, directories: Sequence[str] = DIRECTORIES) -> Registry:
        """Read every specification; those that make no sense are noted in `errors`."""
        registry = cls()
        for directory in directories:
            registry.read_directory(directory)
        return registry

    @property
    def names(self) -> list[str]:
        """Every device, by its qualified name."""
        return sorted(self._devices)

    def edits(self, names: Sequence[str]) -> ContainerEdits:
        """What devices change together: each specification's own edits once, before its devices'."""
        for name in names:
            parse_name(name)
        missing = [name for name in names if name not in self._devices]
        if missing:
            why = f" ({'; '.join(self.errors)[:500]})" if self.errors else ""
            raise InvalidArgument(
                f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)[:500]}{why}"
            )
        result, seen = ContainerEdits(), []
        for name in dict.fromkeys(names):
            specification, device = self._devices[name]
            if specification not in seen:
                seen.append(specification)
                result.add(specification.container_edits)
            result.add(device.container_edits)
        return result

    def read_directory(self, directory: str) -> None:
        """Add the specifications of a directory; one that is missing has none."""
        try:
            files = sorted(name for name in os.listdir(directory) if name.endswith((".json", ".yaml")))
        except OSError:
            return
        found: dict[str, tuple[_Specification, _Device]] = {}
        doubled = set()
        for name in files[:MAX_FILES]:
            path = f"{directory}/{name}"
            try:
                specification = parse(_read(path), yaml=name.endswith(".yaml"))
            except (InvalidArgument, OSError) as error:
                self.errors.append(f"{path}: {error}")
                continue
            for device in specification.devices:
                qualified = f"{specification.kind}={device.name}"
                if qualified in found:
                    doubled.add(qualified)
                found[qualified] = (specification, device)
        for qualified in doubled:
            self.errors.append(f"{directory}: two files describe {qualified}")
            del found[qualified]
            self._devices.pop(qualified, None)
        self._devices.update(found)


def parse_name(text: str) -> tuple[str, str]:
    """(kind, device) of `vendor.com/class=name`; raises InvalidArgument."""
    kind, equals, name = text.partition("=")
    vendor, slash, kind_class = kind.partition("/")
    if not (equals and slash and _is_word(vendor, "_-.") and _is_word(kind_class, "_-.")):
        raise InvalidArgument(f"invalid CDI device name {text[:80]!r}: expected vendor.com/class=name")
    if not name or not _is_word(name, "_-.:", digit_first=True):
        raise InvalidArgument(f"invalid CDI device name {text[:80]!r}: expected vendor.com/class=name")
    return kind, name


def _is_word(text: str, more: str, *, digit_first: bool = False) -> bool:
    first, last = text[:1], text[-1:]
    return (
        text.isascii()
        and (first.isalpha() or (digit_first and first.isdigit()))
        and last.isalnum()
        and all(letter.isalnum() or letter in more for letter in text)
    )


def device_names(requests: Sequence[DeviceRequest], registry: Registry) -> list[str]:
    """The CDI devices of `DeviceRequests`; raises InvalidArgument, in Docker's words, for what cannot be."""
    names: list[str] = []
    for request in requests:
        if request.options:
            raise InvalidArgument("invalid device request: devices by CDI have no options")
        if request.driver == "cdi":
            names += request.device_ids
        elif request.driver in ("", *GPU_KINDS) and any("gpu" in one for one in request.capabilities):
            names += _gpus(request, registry)
        else:
            raise _unselectable(request)
    return names


def _gpus(request: DeviceRequest, registry: Registry) -> list[str]:
    kinds = [GPU_KINDS[request.driver]] if request.driver else list(GPU_KINDS.values())
    kind = next((one for one in kinds if any(name.startswith(f"{one}=") for name in registry.names)), None)
    if kind is None:
        raise _unselectable(request)
    if request.device_ids:
        if request.count:
            raise InvalidArgument("cannot set both Count and DeviceIDs on device request")
        return [f"{kind}={one}" for one in request.device_ids]
    if request.count < 0:
        return [f"{kind}=all"]
    return [f"{kind}={number}" for number in range(min(request.count, 256))]


def _unselectable(request: DeviceRequest) -> InvalidArgument:
    wanted = " ".join(f"[{' '.join(one)}]" for one in request.capabilities)
    return InvalidArgument(
        f'could not select device driver "{request.driver[:40]}" with capabilities: [{wanted[:200]}]'
    )


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidArgument("not a regular file")
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            # It names programs that run as root.
            raise InvalidArgument("others than its owner, root, may change it")
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise InvalidArgument(f"larger than {MAX_FILE} bytes")
    return data


def parse(data: bytes, *, yaml: bool) -> _Specification:
    """Read and check one specification; raises InvalidArgument."""
    try:
        plain = _parse_yaml(data) if yaml else msgspec.json.decode(data)
        found = msgspec.convert(plain, _Specification)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"not a CDI specification: {error}") from error
    if not found.cdi_version.startswith(("0.", "1.")):
        raise InvalidArgument(f"invalid cdiVersion {found.cdi_version[:20]!r}")
    parse_name(f"{found.kind}=x")
    for device in found.devices:
        parse_name(f"{found.kind}={device.name}")
        _check(device.container_edits)
    _check(found.container_edits)
    return found


def _parse_yaml(data: bytes) -> object:
    import yaml  # only who has such devices pays for it

    aliases = depth = 0
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(data, Loader=loader):
            if isinstance(event, yaml.AliasEvent):
                aliases += 1
            elif isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if aliases > MAX_ALIASES or depth > MAX_DEPTH:
                raise InvalidArgument("too many aliases, or nested too deeply")
        return yaml.load(data, Loader=loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise InvalidArgument(f"invalid YAML: {error}") from error


def _check(edits: ContainerEdits) -> None:
    if edits.intel_rdt is not None or edits.net_devices is not None:
        raise InvalidArgument("intelRdt and netDevices are not supported")
    for variable in edits.env:
        if "=" not in variable or variable.startswith("=") or "\0" in variable:
            raise InvalidArgument(f"invalid environment variable {variable[:80]!r}")
    for node in edits.device_nodes:
        _check_path(node.path)
        _check_path(node.host_path or node.path)
        if node.type not in ("", "b", "c", "u", "p") or node.permissions.strip("rwm"):
            raise InvalidArgument(f"device {node.path[:80]}: invalid type or permissions")
        if not (0 <= node.major < 2**31 and 0 <= node.minor < 2**31):
            raise InvalidArgument(f"device {node.path[:80]}: invalid number")
        if not all(0 <= (number or 0) < 2**32 - 1 for number in (node.uid, node.gid, node.file_mode)):
            raise InvalidArgument(f"device {node.path[:80]}: invalid owner or mode")
    for mount in edits.mounts:
        _check_path(mount.host_path)
        _check_path(mount.container_path)
        if mount.type not in ("", "none", "bind"):
            raise InvalidArgument(f"mount {mount.container_path[:80]}: only bind mounts are supported")
        for word in mount.options:
            if word not in _MOUNT_WORDS:
                raise InvalidArgument(f"mount {mount.container_path[:80]}: invalid option {word[:40]!r}")
    for hook in edits.hooks:
        _check_path(hook.path)
        if hook.hook_name not in _HOOKS:
            raise InvalidArgument(f"invalid hook {hook.hook_name[:40]!r}")
        if not 0 <= (hook.timeout or 0) < 10**6:
            raise InvalidArgument(f"hook {hook.path[:80]}: invalid timeout")
    if not all(0 < group < 2**31 for group in edits.additional_gids):
        raise InvalidArgument("invalid additional group")


def _check_path(path: str) -> None:
    if not path.startswith("/") or "\0" in path or len(path) > 4095:
        raise InvalidArgument(f"invalid path {path[:80]!r}: it has to be absolute")
