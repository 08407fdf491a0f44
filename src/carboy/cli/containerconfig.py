"""From the flags of `run` and `create` to the body of POST /containers/create.

Only what was said is sent: the daemon owns the defaults.
"""

from __future__ import annotations

import os

from carboy.cli import units, values
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.client.document import Json

_TEXTS = (
    ("cgroup-parent", "CgroupParent"),
    ("cgroupns", "CgroupnsMode"),
    ("cpuset-cpus", "CpusetCpus"),
    ("cpuset-mems", "CpusetMems"),
    ("ipc", "IpcMode"),
    ("pid", "PidMode"),
    ("userns", "UsernsMode"),
    ("uts", "UTSMode"),
    ("isolation", "Isolation"),
    ("runtime", "Runtime"),
    ("volume-driver", "VolumeDriver"),
)
_NUMBERS = (
    ("blkio-weight", "BlkioWeight"),
    ("cpu-period", "CpuPeriod"),
    ("cpu-quota", "CpuQuota"),
    ("cpu-rt-period", "CpuRealtimePeriod"),
    ("cpu-rt-runtime", "CpuRealtimeRuntime"),
    ("cpu-shares", "CpuShares"),
    ("memory-swappiness", "MemorySwappiness"),
    ("oom-score-adj", "OomScoreAdj"),
    ("pids-limit", "PidsLimit"),
)
_FLAGS = (
    ("init", "Init"),
    ("oom-kill-disable", "OomKillDisable"),
    ("privileged", "Privileged"),
    ("publish-all", "PublishAllPorts"),
    ("read-only", "ReadonlyRootfs"),
    ("rm", "AutoRemove"),
)
_LISTS = (
    ("cap-add", "CapAdd"),
    ("cap-drop", "CapDrop"),
    ("device-cgroup-rule", "DeviceCgroupRules"),
    ("dns-search", "DnsSearch"),
    ("group-add", "GroupAdd"),
    ("volumes-from", "VolumesFrom"),
)
_SIZES = (
    ("kernel-memory", "KernelMemory"),
    ("memory", "Memory"),
    ("memory-reservation", "MemoryReservation"),
    ("shm-size", "ShmSize"),
)
_THROTTLES = (
    ("blkio-weight-device", "BlkioWeightDevice"),
    ("device-read-bps", "BlkioDeviceReadBps"),
    ("device-read-iops", "BlkioDeviceReadIOps"),
    ("device-write-bps", "BlkioDeviceWriteBps"),
    ("device-write-iops", "BlkioDeviceWriteIOps"),
)
_NETWORK_FLAGS = str.split(
    "network net network-alias net-alias ip ip6 link-local-ip mac-address link dns add-host publish expose"
)
_WINDOWS = ("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops")
_MODES = (
    ("pid", "PID", ("host", "private"), True),
    ("uts", "UTS", ("host", "private"), False),
    ("userns", "USER", ("host",), False),
    ("cgroupns", "CGROUP", ("host", "private"), False),
)
_HEALTH_TIMES = (
    ("health-interval", "Interval"),
    ("health-timeout", "Timeout"),
    ("health-start-period", "StartPeriod"),
    ("health-start-interval", "StartInterval"),
)


def build(parsed: Parsed, *, attached: tuple[bool, bool, bool]) -> Json:
    """The request body; `attached` says which of stdin, stdout and stderr will be."""
    image, command = parsed.arguments[0], parsed.arguments[1:]
    stdin, stdout, stderr = attached
    interactive = parsed.flag("interactive")
    body: Json = {
        "Image": image,
        "Tty": parsed.flag("tty"),
        "OpenStdin": interactive,
        "StdinOnce": interactive and stdin,
        "AttachStdin": stdin,
        "AttachStdout": stdout,
        "AttachStderr": stderr,
        "Env": values.environment(parsed.list("env"), parsed.list("env-file"), os.environ),
        "Cmd": command or None,
    }
    if parsed.given("entrypoint"):
        body["Entrypoint"] = [parsed.text("entrypoint")] if parsed.text("entrypoint") else [""]
    for flag, key in (("hostname", "Hostname"), ("domainname", "Domainname"), ("user", "User"),
                      ("workdir", "WorkingDir"), ("stop-signal", "StopSignal")):  # fmt: skip
        if parsed.given(flag):
            body[key] = parsed.text(flag)
    if parsed.given("stop-timeout"):
        body["StopTimeout"] = parsed.number("stop-timeout")
    labels = [
        *(line for path in parsed.list("label-file") for line in values.read_lines(path)),
        *parsed.list("label"),
    ]
    if labels:
        body["Labels"] = values.pairs(labels, "--label")
    _health(parsed, body)
    host = _host_config(parsed, body)
    if parsed.given("log-driver") or parsed.given("log-opt"):
        options = values.pairs(parsed.list("log-opt"), "--log-opt", bare=False)
        host["LogConfig"] = {"Type": parsed.text("log-driver"), "Config": options}
    body["HostConfig"] = host
    if any(parsed.given(flag) for flag in _NETWORK_FLAGS):
        from carboy.cli import networkflags

        networkflags.apply(parsed, body, host)
    return body


def _host_config(parsed: Parsed, body: Json) -> Json:
    _check(parsed)
    host: Json = {}
    for flag, key in _TEXTS:
        if parsed.given(flag):
            host[key] = parsed.text(flag)
    for flag, key in _NUMBERS:
        if parsed.given(flag):
            host[key] = parsed.number(flag)
    for flag, key in _FLAGS:
        if parsed.given(flag):
            host[key] = parsed.flag(flag)
    for flag, key in _LISTS:
        if parsed.given(flag):
            host[key] = parsed.list(flag)
    for flag, key in _SIZES:
        if parsed.given(flag):
            host[key] = units.parse_size(parsed.text(flag), "--" + flag)
    for flag, key in _THROTTLES:
        if parsed.given(flag):
            host[key] = [values.throttle(item, flag) for item in parsed.list(flag)]
    _limits(parsed, host)
    _mounts(parsed, body, host)
    if parsed.given("dns-opt") or parsed.given("dns-option"):
        host["DnsOptions"] = parsed.list("dns-opt") + parsed.list("dns-option")
    for flag, key in (("annotation", "Annotations"), ("sysctl", "Sysctls"), ("storage-opt", "StorageOpt")):
        if parsed.given(flag):
            host[key] = values.pairs(parsed.list(flag), "--" + flag, bare=flag == "annotation")
    if parsed.given("security-opt"):
        _security(parsed.list("security-opt"), host)
    if parsed.given("device") or parsed.given("gpus"):
        from carboy.cli import deviceflags

        host["Devices"], requests = deviceflags.devices(parsed.list("device"))
        host["DeviceRequests"] = requests + [deviceflags.gpus(text) for text in parsed.list("gpus")]
    if parsed.given("restart"):
        host["RestartPolicy"] = values.restart_policy(parsed.text("restart"))
        if parsed.flag("rm") and host["RestartPolicy"]["Name"] not in ("", "no"):
            raise InvalidArgument("conflicting options: cannot specify both --restart and --rm")
    return host


def _limits(parsed: Parsed, host: Json) -> None:
    if parsed.given("cpus"):
        host["NanoCpus"] = units.parse_cpus(parsed.text("cpus"))
    if parsed.given("memory-swap"):
        text = parsed.text("memory-swap")
        host["MemorySwap"] = -1 if text == "-1" else units.parse_size(text, "--memory-swap")
    if parsed.given("ulimit"):
        host["Ulimits"] = [values.ulimit(item) for item in parsed.list("ulimit")]


def _mounts(parsed: Parsed, body: Json, host: Json) -> None:
    volumes = [values.bind(item) for item in parsed.list("volume")]
    binds = [bind for bind, _path in volumes if bind]
    anonymous: Json = {path: {} for _bind, path in volumes if path}
    if binds:
        host["Binds"] = binds
    if anonymous:
        body["Volumes"] = anonymous
    if parsed.given("mount"):
        from carboy.cli import mountflag

        host["Mounts"] = [mountflag.mount(item) for item in parsed.list("mount")]
    if parsed.given("tmpfs"):
        host["Tmpfs"] = values.tmpfs(parsed.list("tmpfs"))


def _check(parsed: Parsed) -> None:
    """What Docker's command refuses by itself."""
    for flag in _WINDOWS:
        if parsed.given(flag):
            raise InvalidArgument(
                f'"--{flag}" is only supported on a Docker daemon running on windows,'
                " but the Docker daemon is running on linux"
            )
    for flag, name, words, joins in _MODES:
        mode = parsed.text(flag)
        if mode and mode not in words and not (joins and mode.startswith("container:") and mode[10:]):
            raise InvalidArgument(f"--{flag}: invalid {name} mode")
    swappiness = parsed.number("memory-swappiness", -1)
    if parsed.given("memory-swappiness") and not -1 <= swappiness <= 100:
        raise InvalidArgument(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    for item in parsed.list("storage-opt"):
        if "=" not in item:
            raise InvalidArgument("invalid storage option")


def _health(parsed: Parsed, body: Json) -> None:
    health: Json = {}
    if parsed.flag("no-healthcheck"):
        if any(name.startswith("health-") for name in parsed.values):
            raise InvalidArgument("--no-healthcheck conflicts with --health-* options")
        health["Test"] = ["NONE"]
    elif parsed.text("health-cmd"):
        health["Test"] = ["CMD-SHELL", parsed.text("health-cmd")]
    for flag, key in _HEALTH_TIMES:
        if parsed.given(flag):
            health[key] = units.parse_duration(parsed.text(flag), "--" + flag)
            if health[key] < 0:
                raise InvalidArgument(f"--{flag} cannot be negative")
    if parsed.given("health-retries"):
        health["Retries"] = parsed.number("health-retries")
        if health["Retries"] < 0:
            raise InvalidArgument("--health-retries cannot be negative")
    if health:
        body["Healthcheck"] = health


def _security(items: list[str], host: Json) -> None:
    """A seccomp profile travels by content, not by path: the daemon may be elsewhere."""
    options = host["SecurityOpt"] = []
    for text in items:
        name, separator, value = text.partition("=")
        if not separator:
            name, separator, value = text.partition(":")
        if not separator and name not in ("no-new-privileges", "writable-cgroups"):
            raise InvalidArgument(f'Invalid --security-opt: "{text}"')
        if name == "systempaths" and value == "unconfined":
            host["MaskedPaths"], host["ReadonlyPaths"] = [], []
            continue
        if name == "seccomp" and value not in ("", "unconfined", "builtin"):
            text = f"seccomp={_seccomp_profile(value)}"
        options.append(text)


def _seccomp_profile(path: str) -> str:
    import json

    try:
        text = values.read_text(path)
    except OSError as error:
        raise InvalidArgument(
            f"opening seccomp profile ({path}) failed: open {path}: {error.strerror}"
        ) from error
    try:
        return json.dumps(json.loads(text), separators=(",", ":"))
    except ValueError as error:
        raise InvalidArgument(f"compacting json for seccomp profile ({path}) failed: {error}") from error
