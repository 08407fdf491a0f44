"""features and spec: what this runtime can do, and a configuration to start from."""

from __future__ import annotations

import json
import os
import sys

from carboy.errors import Conflict, InvalidArgument
from carboy.linux import capabilities
from carboy.runtime import cgroups, mountoptions, seccomp, spec
from carboy.runtime.state import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.command.call import Call

HOOKS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]

ACTIONS = str.split(
    "SCMP_ACT_ALLOW SCMP_ACT_ERRNO SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS SCMP_ACT_KILL_THREAD SCMP_ACT_LOG "
    "SCMP_ACT_TRACE SCMP_ACT_TRAP"
)

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def features(call: Call) -> int:
    """`features`: see features.md of the specification."""
    del call
    words = {
        *mountoptions.SET_CLEAR,
        *(f"r{word}" for word in mountoptions.SET_CLEAR),
        *mountoptions.PROPAGATION,
        *mountoptions.SUPERBLOCK_FLAGS,
        *mountoptions.IGNORED,
        *("bind", "rbind", "tmpcopyup", "idmap", "ridmap"),
    }
    layout = cgroups.read_layout()
    document = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": HOOKS,
        "mountOptions": sorted(words),
        "linux": {
            "namespaces": sorted(spec.NAMESPACES),
            "capabilities": list(capabilities.NAMES),
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": False,
                "systemdUser": False,
                "rdma": layout.of("rdma") is not None,
            },
            "seccomp": {
                "enabled": True,
                "actions": ACTIONS,
                "operators": sorted(seccomp.OPERATORS),
                "knownFlags": sorted(seccomp.FILTER_FLAGS),
                "supportedFlags": sorted(seccomp.FILTER_FLAGS),
            },
            # "Unrelated to whether the host supports" them: what this runtime can do.
            "apparmor": {"enabled": True},
            "selinux": {"enabled": False},  # labels of processes, none of mounts
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"dev.carboy.cgroup-layout": layout.mode},
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0


def write_spec(call: Call) -> int:
    """`spec`: config.json for a shell in ./rootfs."""
    if call.arguments:
        raise InvalidArgument(f"unexpected argument {call.arguments[0]!r}")
    path = os.path.join(call.flags.text("bundle", "."), "config.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise Conflict(f"{path} exists: remove it first") from error
    with open(fd, "w") as file:
        file.write(json.dumps(template(rootless=call.flags.flag("rootless")), indent="\t") + "\n")
    return 0


def template(*, rootless: bool) -> dict[str, Any]:
    """A read-only container with few rights."""
    spaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    quiet = ["nosuid", "noexec", "nodev"]
    linux: dict[str, Any] = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in ([*spaces, "user"] if rootless else spaces)],
        "maskedPaths": [
            *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
            *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    }
    if rootless:
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
        del linux["resources"]
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [f"PATH={_path()}", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "carboy",
        "mounts": [
            _mount("/proc", "proc", []),
            _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            _mount("/dev/pts", "devpts", pts if rootless else [*pts, "gid=5"]),
            _mount("/dev/shm", "tmpfs", [*quiet, "mode=1777", "size=65536k"]),
            _mount("/dev/mqueue", "mqueue", quiet),
            _mount("/sys", "sysfs", [*quiet, "ro"]),
            _mount("/sys/fs/cgroup", "cgroup", [*quiet, "relatime", "ro"]),
        ],
        "linux": linux,
    }


def _mount(destination: str, kind: str, options: list[str]) -> dict[str, Any]:
    mount: dict[str, Any] = {"destination": destination, "type": kind, "source": kind}
    return {**mount, "options": options} if options else mount


def _path() -> str:
    from carboy.runtime.identity import DEFAULT_PATH

    return DEFAULT_PATH


COMMANDS: dict[str, Callable[[Call], int]] = {"features": features, "spec": write_spec}
