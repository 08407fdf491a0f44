"""OCI containers for tests: a configuration to start from, a busybox root, a run in this very process.

from support.oci import base_config, rootfs, run      # `rootfs` is a fixture

config = base_config(rootfs, "cat", "/proc/self/status")
config["process"]["noNewPrivileges"] = True
assert "NoNewPrivs:\t1" in run(config).out
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carboy.runtime import cgroups, execute, launch, spec

Config = dict[str, Any]

APPLETS = str.split(
    "sh ls cat true false sleep echo id env ps mkdir head tail ip hostname grep mount umount touch printf "
    "stat tty stty kill dd rm cp mv test wc sort readlink uname df date pwd chown chmod mknod ln find sed awk"
)
CAPABILITIES = str.split(
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID "
    "CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE"
)
GROUP = f"/carboy-test-{os.getpid()}"
"""The control group below which this test run's containers are."""


def base_config(root: Path | str, *args: str) -> Config:
    """What Docker would write for a container without a network."""
    return {
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": CAPABILITIES,
                "effective": CAPABILITIES,
                "permitted": CAPABILITIES,
            },
        },
        "root": {"path": str(root)},
        "hostname": "inside",
        "mounts": [
            mount("/proc", "proc", "nosuid", "noexec", "nodev"),
            mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount(
                "/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"
            ),
            mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
            mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
            mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/acpi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }


def mount(destination: str, kind: str, *options: str, source: str = "") -> Config:
    """One entry of `mounts`."""
    return {"destination": destination, "type": kind, "source": source or kind, "options": list(options)}


def bind(source: Path | str, destination: str, *options: str) -> Config:
    """A bind mount."""
    return mount(destination, "bind", "bind", *options, source=str(source))


def add_namespace(config: Config, kind: str, path: str = "") -> None:
    """A namespace in place of the one of that kind."""
    spaces = [one for one in config["linux"]["namespaces"] if one["type"] != kind]
    config["linux"]["namespaces"] = [*spaces, {"type": kind, "path": path} if path else {"type": kind}]


def use_user_namespace(config: Config, first: int = 100000, size: int = 65536) -> None:
    """A user namespace of its own, whose root is `first` outside."""
    add_namespace(config, "user")
    for key in ("uidMappings", "gidMappings"):
        config["linux"][key] = [{"containerID": 0, "hostID": first, "size": size}]


class Finished:
    """What a program left."""

    def __init__(self, code: int, out: str, err: str, warnings: list[str]) -> None:
        self.code = code
        self.out = out
        self.err = err
        self.warnings = warnings

    def lines(self) -> list[str]:
        """Of its standard output."""
        return self.out.splitlines()


class Running:
    """A started container; use it with `with`: the end kills and removes."""

    def __init__(self, config: Config, bundle: Path | str, *, init: bool = False, group: bool = True) -> None:
        self.spec = spec.parse(config)
        name = f"{GROUP}/{os.urandom(4).hex()}"
        self.group = cgroups.open_cgroup(name) if group else None
        process = config.get("process") or {}
        size = process.get("consoleSize") or {}
        try:
            self.created = launch.create(
                self.spec,
                container_id=name.rpartition("/")[2],
                bundle=str(bundle),
                rootfs_fd=None,
                streams=launch.Streams.wanted(
                    terminal=bool(process.get("terminal")),
                    stdin=False,
                    rows=size.get("height", 0),
                    cols=size.get("width", 0),
                ),
                cgroup=self.group,
                init=init,
            )
        except BaseException:
            self._remove_group()
            raise
        try:
            self.created.start()
        except BaseException:
            self.close()
            raise
        self.pid = self.created.pid
        self.ended = False

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def execute(self, *args: str, **process: Any) -> Finished:
        """Run one more process to its end."""
        document = {"args": list(args), "cwd": "/", "env": ["PATH=/bin"], **process}
        streams = launch.Streams.wanted(terminal=bool(document.get("terminal")), stdin=False)
        done = execute.execute(self.created, spec.parse_process(document), streams)
        out, err = drain(done.streams)
        _, status = os.waitpid(done.pid, 0)
        os.close(done.pidfd)
        return Finished(os.waitstatus_to_exitcode(status), out, err, done.warnings)

    def finish(self) -> Finished:
        """Wait for the end of the program."""
        out, err = drain(self.created.streams)
        _, status = os.waitpid(self.created.pid, 0)
        self.ended = True
        return Finished(os.waitstatus_to_exitcode(status), out, err, self.created.warnings)

    def read_line(self) -> str:
        """The next line of standard output."""
        data = b""
        while not data.endswith(b"\n"):
            piece = os.read(self.created.streams.stdout, 1)
            assert piece, f"the program ended after {data!r}"
            data += piece
        return data.decode().rstrip("\n")

    def close(self) -> None:
        """Kill, reap and remove."""
        if self.created.pidfd < 0:
            return
        if not getattr(self, "ended", False):
            try:
                os.kill(self.created.pid, 9)
                os.waitpid(self.created.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        self.created.streams.close()
        os.close(self.created.pidfd)
        self.created.pidfd = -1
        self._remove_group()

    def _remove_group(self) -> None:
        if self.group is not None:
            self.group.delete()


def drain(streams: launch.Streams) -> tuple[str, str]:
    """Both outputs up to their end; what is written to them is far below a pipe's size."""
    texts = []
    for fd in (streams.console,) if streams.terminal else (streams.stdout, streams.stderr):
        data = b""
        try:
            while piece := os.read(fd, 65536):
                data += piece
        except OSError:
            pass  # EIO: the last slave of a terminal is closed
        texts.append(data.decode(errors="replace"))
    streams.close()
    return (texts[0], texts[1]) if len(texts) == 2 else (texts[0].replace("\r\n", "\n"), "")


def run(config: Config, *, bundle: Path | str | None = None, **options: bool) -> Finished:
    """Run a container to its end."""
    with Running(config, bundle or Path(config["root"]["path"]).parent, **options) as running:
        return running.finish()


def make_rootfs(place: Path) -> Path:
    """A root filesystem of the machine's own busybox at `place`."""
    for name in ("bin", "dev", "proc", "sys", "etc", "tmp", "root", "home/me"):
        (place / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", place / "bin/busybox")
    for applet in APPLETS:
        (place / "bin" / applet).symlink_to("busybox")
    (place / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n")
    (place / "etc/group").write_text("root:x:0:\nme:x:1000:\n")
    return place


@pytest.fixture
def rootfs(tmp_path: Path) -> Iterator[Path]:
    """A fresh root filesystem; its parent is the bundle."""
    if os.getuid() != 0 or not shutil.which("busybox"):
        pytest.skip("needs root and busybox-static")
    os.chmod(tmp_path, 0o755)
    yield make_rootfs(tmp_path / "rootfs")
    for hierarchy in cgroups.read_layout().hierarchies:
        if os.path.isdir(hierarchy.mount_point + GROUP):
            os.rmdir(hierarchy.mount_point + GROUP)
