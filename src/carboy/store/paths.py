"""Every path on disk: nobody else joins one.

    <root>/db.sqlite                       metadata
    <root>/blobs/sha256/<hex>              manifests, configs, compressed layers
    <root>/layers/sha256/<diffid>/         layer.tar + meta.erofs (+ sparse.data), or layer.tar + tree/
    <root>/containers/<id>/                bundle, upper/, work/, logs, hosts, resolv.conf, exit.json
    <root>/volumes/<name>/_data            named volumes
    <root>/ingest/                         everything unfinished; emptied at start
    <run>/                                 sockets, pid files: gone at reboot

Names that come from outside are checked by their owners (Digest, container ids, volume
names) before they get here; what is no single path component is refused here all the same.
"""

from __future__ import annotations

import hashlib
import os

from carboy.digest import Digest
from carboy.errors import InvalidArgument
from carboy.linux.inodeflags import spread_subdirectories

DEFAULT_ROOT = "/var/lib/carboy"
STEP_PREFIX = "build"
"""How the directories of build steps begin, beside those of containers."""


class Paths:
    """The paths below one root (data) and one run directory (what ends with the machine)."""

    def __init__(self, root: str, run: str) -> None:
        self.root = os.path.abspath(root)
        self.run = os.path.abspath(run)
        self.db = f"{self.root}/db.sqlite"
        self.blobs = f"{self.root}/blobs/sha256"
        self.layers = f"{self.root}/layers/sha256"
        self.containers = f"{self.root}/containers"
        self.volumes = f"{self.root}/volumes"
        self.ingest = f"{self.root}/ingest"
        self.cache = f"{self.root}/cache"
        self.build_cache_mounts = f"{self.cache}/mounts"
        self.daemon_lock = f"{self.root}/daemon.lock"
        self.daemon_log = f"{self.root}/daemon.log"
        self.socket = f"{self.run}/carboy.sock"
        self.ports_socket = f"{self.run}/ports.sock"
        self.daemon_pid = f"{self.run}/daemon.pid"
        self.containers_run = f"{self.run}/containers"

    @property
    def suffix(self) -> str:
        """Tells roots apart in names that the whole machine shares: empty for the default root."""
        real = os.path.realpath(self.root)
        if real == DEFAULT_ROOT:
            return ""
        return "-" + hashlib.sha256(real.encode("utf-8", "surrogateescape")).hexdigest()[:8]

    @property
    def cgroup_parent(self) -> str:
        """The control group above those of the containers and the monitors."""
        return f"/carboy{self.suffix}"

    def create(self) -> None:
        """Make the state directories: closed to others, except that root itself may be passed through."""
        for path, mode in (
            (self.root, 0o711),
            (f"{self.root}/blobs", 0o700),
            (self.blobs, 0o700),
            (f"{self.root}/layers", 0o700),
            (self.layers, 0o700),
            (self.containers, 0o711),
            (self.volumes, 0o711),
            (self.ingest, 0o700),
            (self.cache, 0o700),
            (self.build_cache_mounts, 0o700),
            (self.run, 0o711),
            (self.containers_run, 0o700),
        ):
            _make_directory(path, mode)
        for path in (self.containers, self.volumes):
            spread_subdirectories(path)

    def blob(self, digest: Digest) -> str:
        """The file with the content named `digest`."""
        return f"{self.blobs}/{digest.hex}"

    def layer(self, diff_id: Digest) -> str:
        """The directory of a layer."""
        return f"{self.layers}/{diff_id.hex}"

    def container(self, container_id: str) -> str:
        """The directory of a container: what outlives a reboot."""
        return f"{self.containers}/{_component(container_id)}"

    def upper(self, container_id: str) -> str:
        """What a container has changed: overlay's upper directory."""
        return f"{self.container(container_id)}/snapshot/upper"

    def work(self, container_id: str) -> str:
        """Overlay's work directory, on the same filesystem as the upper one."""
        return f"{self.container(container_id)}/snapshot/work"

    def snapshot(self, container_id: str) -> str:
        """The closed directory that holds `upper` and `work`."""
        return f"{self.container(container_id)}/snapshot"

    def container_run(self, container_id: str) -> str:
        """The run directory of a container: what ends with the machine."""
        return f"{self.containers_run}/{_component(container_id)}"

    def volume(self, name: str) -> str:
        """The directory of a named volume."""
        return f"{self.volumes}/{_component(name)}"

    def volume_data(self, name: str) -> str:
        """What is mounted for a named volume."""
        return f"{self.volume(name)}/_data"


def _component(unsafe_name: str) -> str:
    if not unsafe_name or "/" in unsafe_name or "\0" in unsafe_name or unsafe_name in (".", ".."):
        raise InvalidArgument(f"invalid name {unsafe_name[:80]!r}: it would leave its directory")
    return unsafe_name


def _make_directory(path: str, mode: int) -> None:
    """Make `path` with exactly `mode`, whatever the umask; parents of the first one as usual."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    os.chmod(path, mode)
