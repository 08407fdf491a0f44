"""Mounts asked for with -v, --mount, --tmpfs, VOLUME and --volumes-from, as one list of values.

    request + image VOLUMEs ──plan_mounts──▶ [MountPoint document]   stored with the container
    MountPoint documents    ──oci_mount────▶ OCI mounts              at each start

Pure: named and anonymous volumes are only named here; `engine/volumes.py` makes them.
"""

from __future__ import annotations

import posixpath
import secrets

import msgspec

from carboy.errors import InvalidArgument, Unsupported
from carboy.formats.dockerapi.containers import ContainerConfig, HostConfig, Mount

PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_BIND_WORDS = frozenset(
    {"ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent", "volume-nocopy"}
)
_TMPFS_DATA = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"})
_TMPFS_FLAGS = frozenset(
    str.split(
        "ro rw exec noexec suid nosuid dev nodev sync async dirsync atime noatime diratime nodiratime "
        "relatime norelatime strictatime nostrictatime defaults private rprivate shared rshared slave "
        "rslave unbindable runbindable inode64 inode32 noswap mand nomand remount bind rbind "
    )
)
_TMPFS_REFUSED = frozenset({"remount", "bind", "rbind"})
_PROC_ALLOWED = frozenset(
    f"/proc/{name}"
    for name in str.split(
        "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo net/dev sys/kernel/ns_last_pid "
        "sys/crypto/fips_enabled "
    )
)


class PlannedMount(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One mount of a container, as stored."""

    type: str  # bind, volume, tmpfs
    source: str = ""  # bind: path on the host; volume: its name
    destination: str
    mode: str = ""
    read_only: bool = False
    propagation: str = ""
    options: list[str] = []  # tmpfs
    anonymous: bool = False
    no_copy: bool = False
    create_source: bool = False
    non_recursive: bool = False
    read_only_non_recursive: bool = False
    subpath: str = ""
    driver: str = ""
    labels: dict[str, str] = {}


def plan_mounts(
    config: ContainerConfig, host: HostConfig, inherited: list[PlannedMount]
) -> tuple[list[PlannedMount], list[str]]:
    """Every mount of a container and the warnings; raises InvalidArgument for what makes no sense.

    A later kind wins over an earlier one at the same place: VOLUME < volumes-from < -v and --mount.
    """
    warnings: list[str] = []
    asked: dict[str, PlannedMount] = {}
    for text in host.binds:
        _add(asked, parse_bind(text, warnings), host.volume_driver)
    for mount in host.mounts:
        _add(asked, parse_mount(mount), host.volume_driver)
    for path, text in host.tmpfs.items():
        _add(asked, _tmpfs(_destination(path, path), text), "")
    planned = {mount.destination: mount for mount in inherited}
    planned.update(asked)
    for path in config.volumes:
        bind = parse_bind(path, warnings) if ":" in path else None
        found = bind or _anonymous(_destination(path, path), host.volume_driver)
        planned.setdefault(found.destination, found)
    return sorted(
        planned.values(), key=lambda mount: (mount.destination.count("/"), mount.destination)
    ), warnings


def _add(asked: dict[str, PlannedMount], mount: PlannedMount, driver: str) -> None:
    if mount.destination in asked:
        raise InvalidArgument(f"Duplicate mount point: {mount.destination}")
    if mount.type == "volume":
        mount.driver = mount.driver or driver
        if mount.driver not in ("", "local"):
            raise InvalidArgument(
                f'error looking up volume plugin {mount.driver}: plugin "{mount.driver}" not found'
            )
    asked[mount.destination] = mount


def parse_bind(text: str, warnings: list[str]) -> PlannedMount:
    """Read `-v`: `destination`, `source:destination` or `source:destination:options`."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts[:2]) or "\0" in text:
        raise InvalidArgument(f"invalid volume specification: '{text[:200]}'")
    if len(parts) == 1:
        return _anonymous(_destination(parts[0], text), "")
    source, destination = parts[0], _destination(parts[1], text)
    mode = parts[2] if len(parts) == 3 else ""
    words = [word for word in mode.split(",") if word]
    propagations = [word for word in words if word in PROPAGATIONS]
    for word in words:
        if word not in _BIND_WORDS and word not in PROPAGATIONS:
            raise InvalidArgument(f"invalid mode: {mode[:80]}")
    if ("ro" in words and "rw" in words) or len(propagations) > 1:
        raise InvalidArgument(f"invalid mode: {mode[:80]}")
    if "z" in words or "Z" in words:
        warnings.append(
            f"option {mode!r} of the mount at {destination}: this host has no SELinux labels to set"
        )
    read_only = "ro" in words
    if source.startswith("/"):
        return PlannedMount(
            type="bind",
            source=posixpath.normpath(source),
            destination=destination,
            mode=mode,
            read_only=read_only,
            propagation=propagations[0] if propagations else "rprivate",
            create_source=True,
        )
    if propagations:
        raise InvalidArgument(f"invalid mode for a volume: {mode[:80]}")
    return PlannedMount(
        type="volume",
        source=check_volume_name(source),
        destination=destination,
        mode=mode or "z",
        read_only=read_only,
        no_copy="nocopy" in words or "volume-nocopy" in words,
    )


def parse_mount(mount: Mount) -> PlannedMount:
    """Read one entry of `Mounts` (`--mount`)."""
    destination = _destination(mount.target, f"mount at {mount.target}")
    match mount.type:
        case "bind":
            return _parse_bind_mount(mount, destination)
        case "volume":
            options = mount.volume_options
            driver = options.driver_config if options else None
            if driver and driver.options:
                raise Unsupported("volume driver options are not supported yet")
            return PlannedMount(
                type="volume",
                source=check_volume_name(mount.source) if mount.source else random_volume_name(),
                anonymous=not mount.source,
                destination=destination,
                mode="z",
                read_only=mount.read_only,
                no_copy=bool(options and options.no_copy),
                subpath=options.subpath if options else "",
                driver=driver.name if driver else "",
                labels=dict(options.labels) if options else {},
            )
        case "tmpfs":
            return _parse_tmpfs_mount(mount, destination)
        case "image" | "npipe" | "cluster":
            raise Unsupported(f"mounts of type {mount.type} are not supported")
        case _:
            raise InvalidArgument(f'invalid mount config for type "{mount.type[:40]}": mount type unknown')


def _parse_bind_mount(mount: Mount, destination: str) -> PlannedMount:
    options = mount.bind_options
    if not mount.source:
        raise InvalidArgument('invalid mount config for type "bind": field Source must not be empty')
    if not mount.source.startswith("/") or "\0" in mount.source:
        raise InvalidArgument(
            f'invalid mount config for type "bind": invalid mount path: {mount.source[:200]!r}'
            " mount path must be absolute"
        )
    propagation = (options.propagation if options else "") or "rprivate"
    if propagation not in PROPAGATIONS:
        raise InvalidArgument(
            f'invalid mount config for type "bind": invalid propagation mode: {propagation[:40]}'
        )
    return PlannedMount(
        type="bind",
        source=posixpath.normpath(mount.source),
        destination=destination,
        read_only=mount.read_only,
        propagation=propagation,
        create_source=bool(options and options.create_mountpoint),
        non_recursive=bool(options and options.non_recursive),
        read_only_non_recursive=bool(options and options.read_only_non_recursive),
    )


def _parse_tmpfs_mount(mount: Mount, destination: str) -> PlannedMount:
    if mount.source:
        raise InvalidArgument('invalid mount config for type "tmpfs": field Source must not be specified')
    words = ["ro"] if mount.read_only else []
    options = mount.tmpfs_options
    if options:
        if options.size_bytes < 0:
            raise InvalidArgument('invalid mount config for type "tmpfs": size must not be negative')
        if options.size_bytes:
            words.append(f"size={options.size_bytes}")
        if options.mode:
            words.append(f"mode={options.mode:o}")
        words += ["=".join(pair) for pair in options.options]
    return _tmpfs(destination, ",".join(words))


def _tmpfs(destination: str, text: str) -> PlannedMount:
    found = {"noexec": "noexec", "suid": "nosuid", "dev": "nodev"}
    options: list[str] = []
    for word in filter(None, text.split(",")):
        name = word.partition("=")[0]
        if "=" in word:
            if name not in _TMPFS_DATA:
                raise InvalidArgument(f"invalid tmpfs option {word[:80]!r}")
        elif name not in _TMPFS_FLAGS or name in _TMPFS_REFUSED:
            raise InvalidArgument(f"invalid tmpfs option {word[:80]!r}")
        options.append(word)
    plain = [word.partition("=")[0] for word in options]
    defaults = [flag for flag in found.values() if flag not in plain and flag.removeprefix("no") not in plain]
    return PlannedMount(
        type="tmpfs", destination=destination, options=defaults + options, read_only="ro" in plain
    )


def _anonymous(destination: str, driver: str) -> PlannedMount:
    return PlannedMount(
        type="volume", source=random_volume_name(), destination=destination, anonymous=True, driver=driver
    )


def random_volume_name() -> str:
    """The name of an anonymous volume: 64 hexadecimal digits."""
    return secrets.token_hex(32)


def check_volume_name(unsafe_name: str) -> str:
    """The name; raises InvalidArgument with Docker's words."""
    first, rest = unsafe_name[:1], unsafe_name[1:]
    if (
        len(unsafe_name) < 2
        or len(unsafe_name) > 255
        or not (first.isascii() and first.isalnum())
        or not all(letter.isascii() and (letter.isalnum() or letter in "_.-") for letter in rest)
    ):
        raise InvalidArgument(
            f'create {unsafe_name[:80]}: "{unsafe_name[:80]}" includes invalid characters'
            ' for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed.'
            " If you intended to pass a host directory, use absolute path"
        )
    return unsafe_name


def _destination(path: str, shown: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(
            f"invalid volume specification: '{shown[:200]}': invalid mount path: '{path[:200]}'"
            " mount path must be absolute"
        )
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if clean == "/":
        raise InvalidArgument(f"invalid volume specification: '{shown[:200]}': destination can't be '/'")
    if clean == "/proc" or (clean.startswith("/proc/") and clean not in _PROC_ALLOWED):
        raise InvalidArgument(f"{clean} cannot be mounted because it is inside /proc")
    return clean


def oci_mount(mount: PlannedMount, source: str) -> dict[str, object]:
    """The OCI form of one mount; `source` is the path on the host."""
    if mount.type == "tmpfs":
        return {
            "destination": mount.destination,
            "type": "tmpfs",
            "source": "tmpfs",
            "options": mount.options,
        }
    options = ["bind" if mount.non_recursive else "rbind"]
    if mount.read_only:
        options.append("ro")
    options.append(mount.propagation or "rprivate")
    return {"destination": mount.destination, "type": "bind", "source": source, "options": options}
