"""config.json of the OCI runtime specification 1.2, as plain slotted values.

`load` reads a bundle's file, `parse` a document; wrong input raises InvalidArgument with the
JSON path of the offending value.  What is handed on unread (resources, seccomp) stays a
document: its readers (`cgroups`, `seccomp`) check it.
"""

from __future__ import annotations

import json

from carboy.errors import InvalidArgument, NotFound, Unsupported
from carboy.linux import namespaces
from carboy.linux.capabilities import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMESPACES: dict[str, int] = {
    "user": namespaces.CLONE_NEWUSER,
    "pid": namespaces.CLONE_NEWPID,
    "network": namespaces.CLONE_NEWNET,
    "ipc": namespaces.CLONE_NEWIPC,
    "uts": namespaces.CLONE_NEWUTS,
    "mount": namespaces.CLONE_NEWNS,
    "cgroup": namespaces.CLONE_NEWCGROUP,
    "time": namespaces.CLONE_NEWTIME,
}
"""Namespace types of config-linux.md, in the order in which they must be joined."""

MAX_CONFIG = 16 * 1024 * 1024

EXPLICIT_LIMITS = "dev.carboy.rlimits-explicit"
"""Annotation: names of limits, separated by commas, that the user asked for."""


class Fields:
    """One JSON object and where it stands; every read checks the type."""

    __slots__ = ("path", "value")

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise InvalidArgument(f"config: {path or 'the document'} is not an object")
        self.value: dict[str, Any] = value
        self.path = path

    def at(self, key: str) -> str:
        """The JSON path of a member."""
        return f"{self.path}.{key}" if self.path else key

    def _typed(self, key: str, kind: type, what: str) -> Any:
        value = self.value.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidArgument(f"config: {self.at(key)} is not {what}")
        return value

    def text(self, key: str, default: str = "") -> str:
        value: str | None = self._typed(key, str, "a string")
        if value is None:
            return default
        if "\0" in value:
            raise InvalidArgument(f"config: {self.at(key)} contains a NUL character")
        return value

    def integer(self, key: str, default: int = 0, *, low: int = -(2**63), high: int = 2**64 - 1) -> int:
        value: int | None = self._typed(key, int, "an integer")
        if value is None:
            return default
        if not low <= value <= high:
            raise InvalidArgument(f"config: {self.at(key)} is {value}, not between {low} and {high}")
        return value

    def boolean(self, key: str) -> bool:
        return bool(self._typed(key, bool, "true or false"))

    def document(self, key: str) -> dict[str, Any] | None:
        value: dict[str, Any] | None = self._typed(key, dict, "an object")
        return value

    def object(self, key: str) -> Fields | None:
        value = self._typed(key, dict, "an object")
        return None if value is None else Fields(value, self.at(key))

    def texts(self, key: str) -> list[str]:
        values: list[Any] = self._typed(key, list, "a list") or []
        for position, value in enumerate(values):
            if not isinstance(value, str) or "\0" in value:
                raise InvalidArgument(f"config: {self.at(key)}[{position}] is not a string without NUL")
        return values

    def integers(self, key: str, *, low: int = 0, high: int = 2**32 - 1) -> list[int]:
        values: list[Any] = self._typed(key, list, "a list") or []
        for position, value in enumerate(values):
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise InvalidArgument(f"config: {self.at(key)}[{position}] is not between {low} and {high}")
        return values

    def objects(self, key: str) -> list[Fields]:
        values: list[Any] = self._typed(key, list, "a list") or []
        return [Fields(value, f"{self.at(key)}[{position}]") for position, value in enumerate(values)]

    def text_map(self, key: str) -> dict[str, str]:
        values: dict[str, Any] = self._typed(key, dict, "an object") or {}
        for name, value in values.items():
            if not isinstance(value, str):
                raise InvalidArgument(f"config: {self.at(key)}.{name} is not a string")
        return values


class User:
    """Numeric identity; names were resolved by whoever wrote the document."""

    __slots__ = ("additional_gids", "gid", "uid", "umask")

    def __init__(self, fields: Fields | None) -> None:
        highest = 2**32 - 2
        self.uid = fields.integer("uid", low=0, high=highest) if fields else 0
        self.gid = fields.integer("gid", low=0, high=highest) if fields else 0
        self.additional_gids = fields.integers("additionalGids", high=highest) if fields else []
        self.umask = fields.integer("umask", 0o022, low=0, high=0o777) if fields else 0o022


class Rlimit:
    """One resource limit; `explicit` ones may not be bent to what the kernel allows."""

    __slots__ = ("hard", "kind", "soft")

    def __init__(self, fields: Fields) -> None:
        self.kind = fields.text("type")
        if not self.kind.startswith("RLIMIT_"):
            raise InvalidArgument(f"config: {fields.at('type')} {self.kind!r} is not a resource limit")
        self.soft = fields.integer("soft", low=0)
        self.hard = fields.integer("hard", low=0)
        if self.soft > self.hard:
            raise InvalidArgument(f"config: {fields.path}: the soft limit is above the hard one")


class Capabilities:
    """Five masks of capability bits; names that this kernel has not are left out with a warning."""

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted", "unknown")

    def __init__(self, fields: Fields | None) -> None:
        self.unknown: list[str] = []
        self.bounding = self._mask(fields, "bounding")
        self.effective = self._mask(fields, "effective")
        self.permitted = self._mask(fields, "permitted")
        self.inheritable = self._mask(fields, "inheritable")
        self.ambient = self._mask(fields, "ambient")

    def _mask(self, fields: Fields | None, key: str) -> int:
        bits = 0
        for name in fields.texts(key) if fields else ():
            number = NUMBERS.get(name if name.startswith("CAP_") else f"CAP_{name}")
            if number is None:
                self.unknown.append(name)
            else:
                bits |= 1 << number
        return bits


class Process:
    """What is executed, and as whom."""

    __slots__ = (
        *("apparmor_profile", "args", "capabilities", "console_size", "cpu_affinity", "cwd", "env"),
        *("io_priority", "no_new_privileges", "oom_score_adj", "rlimits", "scheduler", "selinux_label"),
        *("terminal", "user"),
    )

    def __init__(self, fields: Fields) -> None:
        self.terminal = fields.boolean("terminal")
        size = fields.object("consoleSize")
        self.console_size = (
            (size.integer("height", low=0, high=65535), size.integer("width", low=0, high=65535))
            if size
            else (0, 0)
        )
        self.user = User(fields.object("user"))
        self.args = fields.texts("args")
        self.env = fields.texts("env")
        self.cwd = fields.text("cwd", "/")
        if not self.cwd.startswith("/"):
            raise InvalidArgument(f"config: {fields.at('cwd')} {self.cwd!r} is not an absolute path")
        # None asked for means none, not all of root's.
        self.capabilities = Capabilities(fields.object("capabilities"))
        self.rlimits = [Rlimit(one) for one in fields.objects("rlimits")]
        kinds = [one.kind for one in self.rlimits]
        if len(set(kinds)) != len(kinds):
            raise InvalidArgument(f"config: {fields.at('rlimits')} names a limit twice")
        self.no_new_privileges = fields.boolean("noNewPrivileges")
        self.oom_score_adj = (
            fields.integer("oomScoreAdj", low=-1000, high=1000)
            if fields.value.get("oomScoreAdj") is not None
            else None
        )
        self.io_priority = fields.document("ioPriority")
        self.scheduler = fields.document("scheduler")
        affinity = fields.object("execCPUAffinity")
        self.cpu_affinity: tuple[list[int], list[int]] = (
            (cpu_list(affinity, "initial"), cpu_list(affinity, "final")) if affinity else ([], [])
        )
        self.apparmor_profile = fields.text("apparmorProfile")
        self.selinux_label = fields.text("selinuxLabel")


class Mount:
    """One entry of `mounts`."""

    __slots__ = ("destination", "gid_mappings", "kind", "options", "source", "uid_mappings")

    def __init__(self, fields: Fields) -> None:
        self.destination = fields.text("destination")
        if not self.destination:
            raise InvalidArgument(f"config: {fields.at('destination')} is missing")
        self.kind = fields.text("type")
        self.source = fields.text("source")
        self.options = fields.texts("options")
        self.uid_mappings = mappings(fields, "uidMappings")
        self.gid_mappings = mappings(fields, "gidMappings")


class Device:
    """A device node to make."""

    __slots__ = ("gid", "kind", "major", "minor", "mode", "path", "uid")

    def __init__(self, fields: Fields) -> None:
        self.path = fields.text("path")
        if not self.path.startswith("/"):
            raise InvalidArgument(f"config: {fields.at('path')} {self.path!r} is not an absolute path")
        self.kind = fields.text("type")
        if self.kind not in ("c", "u", "b", "p"):
            raise InvalidArgument(f"config: {fields.at('type')} {self.kind!r} is not c, b, u or p")
        self.major = fields.integer("major", low=0, high=2**31)
        self.minor = fields.integer("minor", low=0, high=2**31)
        self.mode = fields.integer("fileMode", 0o666, low=0, high=0o7777)
        self.uid = fields.integer("uid", low=0, high=2**32 - 2)
        self.gid = fields.integer("gid", low=0, high=2**32 - 2)


class Hook:
    """A program that is run at a point of the container's life."""

    __slots__ = ("args", "env", "path", "timeout")

    def __init__(self, fields: Fields) -> None:
        self.path = fields.text("path")
        if not self.path.startswith("/"):
            raise InvalidArgument(f"config: {fields.at('path')} {self.path!r} is not an absolute path")
        self.args = fields.texts("args") or [self.path]
        self.env = fields.texts("env")
        self.timeout = fields.integer("timeout", 0, low=0, high=10**9)


class Linux:
    """The `linux` object."""

    __slots__ = (
        *("cgroups_path", "devices", "gid_mappings", "masked_paths", "mount_label", "namespaces"),
        *("personality", "readonly_paths", "resources", "rootfs_propagation", "seccomp", "sysctl"),
        *("time_offsets", "uid_mappings"),
    )

    def __init__(self, fields: Fields) -> None:
        if fields.value.get("intelRdt") is not None:
            raise Unsupported("config: linux.intelRdt (cache and bandwidth allocation) is not supported")
        self.namespaces: dict[str, str] = {}
        for one in fields.objects("namespaces"):
            kind = one.text("type")
            if kind not in NAMESPACES:
                raise InvalidArgument(f"config: {one.at('type')}: there is no namespace {kind!r}")
            if kind in self.namespaces:
                raise InvalidArgument(f"config: {one.path}: the {kind} namespace is named twice")
            self.namespaces[kind] = one.text("path")
        self.uid_mappings = mappings(fields, "uidMappings")
        self.gid_mappings = mappings(fields, "gidMappings")
        self.time_offsets = fields.document("timeOffsets") or {}
        self.devices = [Device(one) for one in fields.objects("devices")]
        self.cgroups_path = fields.text("cgroupsPath")
        self.resources = fields.document("resources") or {}
        self.rootfs_propagation = fields.text("rootfsPropagation")
        self.seccomp = fields.document("seccomp")
        self.sysctl = fields.text_map("sysctl")
        self.masked_paths = fields.texts("maskedPaths")
        self.readonly_paths = fields.texts("readonlyPaths")
        self.mount_label = fields.text("mountLabel")
        personality = fields.object("personality")
        self.personality = personality.text("domain") if personality else ""


class Spec:
    """A whole config.json.  `document` is what it was read from."""

    __slots__ = (
        *("annotations", "document", "domainname", "hooks", "hostname", "linux", "mounts", "process"),
        *("root_path", "root_readonly", "version"),
    )

    def __init__(self, document: object) -> None:
        fields = Fields(document, "")
        self.document = fields.value
        self.version = fields.text("ociVersion")
        if not self.version.startswith("1."):
            raise InvalidArgument(f"config: ociVersion is {self.version!r}: only 1.x is supported")
        process = fields.object("process")
        self.process = Process(process) if process else None
        root = fields.object("root")
        self.root_path = root.text("path") if root else ""
        self.root_readonly = root.boolean("readonly") if root else False
        self.hostname = fields.text("hostname")
        self.domainname = fields.text("domainname")
        self.mounts = [Mount(one) for one in fields.objects("mounts")]
        self.annotations = fields.text_map("annotations")
        hooks = fields.object("hooks")
        self.hooks = {key: [Hook(one) for one in hooks.objects(key)] for key in hooks.value} if hooks else {}
        self.linux = Linux(fields.object("linux") or Fields({}, "linux"))
        self._check()

    @property
    def explicit_limits(self) -> frozenset[str]:
        """Resource limits that are an error when the kernel refuses them, see EXPLICIT_LIMITS."""
        return frozenset(name for name in self.annotations.get(EXPLICIT_LIMITS, "").split(",") if name)

    def _check(self) -> None:
        spaces = self.linux.namespaces
        if self.hostname and "uts" not in spaces:
            raise InvalidArgument("config: hostname needs a uts namespace of the container's own")
        if self.domainname and "uts" not in spaces:
            raise InvalidArgument("config: domainname needs a uts namespace of the container's own")
        if "mount" not in spaces:
            raise InvalidArgument("config: linux.namespaces has no mount namespace: a container needs one")
        if (self.linux.uid_mappings or self.linux.gid_mappings) and "user" not in spaces:
            raise InvalidArgument("config: linux.uidMappings needs a user namespace")
        if self.linux.time_offsets and "time" not in spaces:
            raise InvalidArgument("config: linux.timeOffsets needs a time namespace")
        for name in self.linux.sysctl:
            self._check_sysctl(name)

    def _check_sysctl(self, name: str) -> None:
        """Only values that belong to a namespace of the container's own may be set."""
        spaces = self.linux.namespaces
        dotted = name.replace("/", ".")
        ipc = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")
        needed = "network" if dotted.startswith("net.") else "ipc" if dotted.startswith(ipc) else ""
        if dotted == "kernel.domainname":
            needed = "uts"
        if not needed or ".." in dotted:
            raise InvalidArgument(
                f"config: linux.sysctl {name!r} is not of a namespace: it would change the host"
            )
        if needed not in spaces:
            raise InvalidArgument(
                f"config: linux.sysctl {name!r} needs a {needed} namespace of the container's own"
            )


def mappings(fields: Fields, key: str) -> list[tuple[int, int, int]]:
    """[(inside, outside, size)] of an id mapping."""
    highest = 2**32 - 1
    return [
        (
            one.integer("containerID", low=0, high=highest),
            one.integer("hostID", low=0, high=highest),
            one.integer("size", low=1, high=highest),
        )
        for one in fields.objects(key)
    ]


def cpu_list(fields: Fields, key: str) -> list[int]:
    """The numbers of a list such as `0-3,7`."""
    numbers: list[int] = []
    for part in fields.text(key).split(","):
        first, dash, last = part.strip().partition("-")
        if not first and not dash:
            continue
        if not first.isdigit() or (dash and not last.isdigit()) or int(last or first) > 8191:
            raise InvalidArgument(f"config: {fields.at(key)} {part!r} is not a list of processors like 0-3,7")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def parse(document: object) -> Spec:
    """The values of a configuration document."""
    return Spec(document)


def parse_process(document: object) -> Process:
    """The values of a process document (exec)."""
    process = Process(Fields(document, "process"))
    if not process.args:
        raise InvalidArgument("process: args is empty: there is nothing to execute")
    return process


def load(path: str) -> Spec:
    """Read and check the configuration file at `path`."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_CONFIG + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist: is this a bundle?") from error
    if len(data) > MAX_CONFIG:
        raise InvalidArgument(f"{path} is larger than {MAX_CONFIG} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} is not JSON: {error}") from error
    return Spec(document)
