"""One planned mount, and the words that every way of asking for one shares."""

from __future__ import annotations

import posixpath
import secrets

import msgspec

from carboy.errors import InvalidArgument

PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
CONSISTENCIES = frozenset({"consistent", "cached", "delegated"})
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

    type: str  # bind, volume, tmpfs, image
    source: str = ""  # bind: path on the host; volume: its name; image: its reference
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
    read_only_forced: bool = False
    subpath: str = ""
    driver: str = ""
    labels: dict[str, str] = {}
    listed: bool = False  # a tmpfs that inspect shows among the mounts: one of --mount
    driver_options: dict[str, str] = {}
    image_id: str = ""
    diff_ids: list[str] = []  # of the image, bottom first


def plan_tmpfs(destination: str, text: str) -> PlannedMount:
    """A tmpfs with the options of `--tmpfs`, and Docker's defaults."""
    found = {"noexec": "noexec", "suid": "nosuid", "dev": "nodev"}
    options: list[str] = []
    for word in filter(None, text.split(",")):
        name = word.partition("=")[0]
        if "=" in word:
            if name not in _TMPFS_DATA:
                raise InvalidArgument(f'invalid tmpfs option ["{word[:80]}"]')
        elif name not in _TMPFS_FLAGS or name in _TMPFS_REFUSED:
            raise InvalidArgument(f'invalid tmpfs option ["{word[:80]}"]')
        options.append(word)
    plain = [word.partition("=")[0] for word in options]
    defaults = [flag for flag in found.values() if flag not in plain and flag.removeprefix("no") not in plain]
    return PlannedMount(
        type="tmpfs", destination=destination, options=defaults + options, read_only="ro" in plain
    )


def anonymous_volume(destination: str, driver: str) -> PlannedMount:
    """A volume without a name of its own."""
    return PlannedMount(
        type="volume", source=random_volume_name(), destination=destination, anonymous=True, driver=driver
    )


def random_volume_name() -> str:
    """The name of an anonymous volume: 64 hexadecimal digits."""
    return secrets.token_hex(32)


def check_volume_name(unsafe_name: str) -> str:
    """The name; raises InvalidArgument with Docker's words."""
    first, rest = unsafe_name[:1], unsafe_name[1:]
    if len(unsafe_name) == 1:
        raise InvalidArgument(
            f"create {unsafe_name}: volume name is too short, "
            "names should be at least two alphanumeric characters"
        )
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


def check_destination(path: str, shown: str) -> str:
    """The place inside, without `.` and `..`; `shown` is the whole specification it came from."""
    prefix = f"invalid volume specification: '{shown[:200]}': " if shown else ""
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"{prefix}invalid mount path: '{path[:200]}' mount path must be absolute")
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if clean == "/":
        raise InvalidArgument(f"{prefix}invalid specification: destination can't be '/'")
    if clean == "/proc" or (clean.startswith("/proc/") and clean not in _PROC_ALLOWED):
        raise InvalidArgument(f"{clean} cannot be mounted because it is inside /proc")
    return clean
