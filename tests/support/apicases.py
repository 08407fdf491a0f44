"""Requests that are sent, in this order, to Docker and to Carboy, to compare the answers.

Good ones and bad ones for every endpoint.  The engine holds the image `busybox:test` and nothing
else.  `{name}` in a target is a value that an earlier answer gave (`keep`).
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from urllib.parse import quote

IMAGE = "busybox:test"
VERSION = "v1.41"
"""The newest API that Debian's Docker (20.10) speaks."""


@dataclass(frozen=True, slots=True)
class Case:
    """One request."""

    request: str
    body: bytes | None = None
    content_type: str = "application/json"
    keep: str = ""
    "The name under which the answer's `Id` is kept."
    upgrade: bool = False
    name: str = ""
    undo: bool = False
    "A container that it makes is removed again."

    @property
    def label(self) -> str:
        """What names it in the record."""
        return self.name or self.request

    @property
    def method(self) -> str:
        """The first word."""
        return self.request.partition(" ")[0]

    def target(self, kept: dict[str, str], version: str = VERSION) -> str:
        """The path with its version, and the query."""
        path = self.request.partition(" ")[2]
        for name, value in kept.items():
            path = path.replace("{" + name + "}", value)
        versioned = path.startswith(("/v1.", "/v9"))
        return path if versioned else f"/{version}{path}"


def _j(request: str, body: object = None, *, keep: str = "", name: str = "", upgrade: bool = False) -> Case:
    data = None if body is None else json.dumps(body).encode()
    return Case(request, data, keep=keep, name=name, upgrade=upgrade)


def _raw(request: str, body: bytes, name: str, content_type: str = "application/json") -> Case:
    return Case(request, body, content_type, name=name)


def _filters(path: str, **filters: object) -> Case:
    text = json.dumps(filters)
    return Case(f"GET {path}?filters={quote(text)}", name=f"GET {path} filters={text}")


def _prune(path: str, **filters: object) -> Case:
    text = json.dumps(filters)
    return Case(f"POST {path}?filters={quote(text)}", name=f"POST {path} filters={text}")


def _badfilters(path: str, text: str) -> Case:
    return Case(f"GET {path}?filters={quote(text)}", name=f"GET {path} filters={text}")


def _create(name: str, config: dict[str, object], **host: object) -> Case:
    body = {"Image": IMAGE, "Cmd": ["sleep", "1000"], **config}
    if host:
        body["HostConfig"] = host
    return _j(f"POST /containers/create?name={name}", body, name=f"create {name}")


def _refused(what: str, config: dict[str, object] | None = None, **host: object) -> Case:
    body = {"Image": IMAGE, "Cmd": ["true"], **(config or {}), "HostConfig": host}
    return Case(
        "POST /containers/create?name=refused",
        json.dumps(body).encode(),
        name=f"create with {what}",
        undo=True,
    )


def small_tar() -> bytes:
    """One file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("hello")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    return out.getvalue()


SYSTEM = (
    Case("GET /_ping"),
    Case("HEAD /_ping"),
    Case("GET /version"),
    Case("GET /info"),
    Case("GET /v1.24/version"),
    Case("GET /v1.24/info"),
    Case("GET /v1.30/info"),
    Case("GET /v1.11/version"),
    Case("GET /v9.99/version"),
    Case("GET /nothing"),
    Case("POST /version"),
    Case("DELETE /containers/json"),
    Case("PUT /images/json"),
    Case("GET /containers//json"),
    Case("OPTIONS /containers/json"),
    Case("GET /system/df"),
    Case("GET /v1.24/system/df"),
    Case("GET /events?until=1"),
    Case("GET /events?since=1&until=2"),
    Case("GET /events?since=nonsense&until=2"),
    Case("GET /events?since=5&until=2"),
    Case("GET /events?until=nonsense"),
    _badfilters("/events", "nonsense"),
    _j("POST /auth", None),
    _raw("POST /auth", b"nonsense", "POST /auth with no JSON"),
)

CONTAINERS_ABSENT = (
    *(
        Case(f"{method} /containers/absent{rest}", b"{}" if method == "POST" else None)
        for method, rest in (
            ("GET", "/json"),
            ("GET", "/top"),
            ("GET", "/logs?stdout=1"),
            ("GET", "/logs"),
            ("GET", "/changes"),
            ("GET", "/export"),
            ("GET", "/stats?stream=0"),
            ("GET", "/attach/ws"),
            ("HEAD", "/archive?path=/"),
            ("GET", "/archive?path=/"),
            ("DELETE", ""),
            ("POST", "/start"),
            ("POST", "/stop"),
            ("POST", "/restart"),
            ("POST", "/kill"),
            ("POST", "/pause"),
            ("POST", "/unpause"),
            ("POST", "/update"),
            ("POST", "/rename?name=x"),
            ("POST", "/resize?h=1&w=1"),
            ("POST", "/wait"),
            ("POST", "/attach"),
        )
    ),
    _j("POST /containers/absent/exec", {"Cmd": ["true"]}),
    _raw("PUT /containers/absent/archive?path=/", small_tar(), "PUT archive absent", "application/x-tar"),
    Case("DELETE /containers/absent?force=1"),
)

CREATE = (
    Case("POST /containers/create", name="create without a body"),
    _raw("POST /containers/create", b"", "create with an empty body"),
    _raw("POST /containers/create", b"nonsense", "create with no JSON"),
    _raw("POST /containers/create", b"[]", "create with a list"),
    _raw("POST /containers/create", b"{}", "create with an empty object"),
    _raw("POST /containers/create", b'{"Image":1}', "create with an image that is a number"),
    _raw("POST /containers/create", b'{"Image":"x"} more', "create with more after"),
    _raw("POST /containers/create", b'{"Image":"x"', "create cut off"),
    _raw("POST /containers/create", b'{"Image":"x"}', "create as text", "text/plain"),
    _j("POST /containers/create", {"Image": "absent", "Cmd": ["true"]}, name="create of an absent image"),
    _j("POST /containers/create", {"Image": "absent:tag"}, name="create of an absent tag"),
    _j("POST /containers/create", {"Image": "BAD"}, name="create of a bad reference"),
    _j("POST /containers/create", {"Image": "sha256:1234"}, name="create of an absent id"),
    _j("POST /containers/create?name=b%20ad", {"Image": IMAGE, "Cmd": ["x"]}, name="create by a bad name"),
    _j("POST /containers/create?name=x", {"Image": IMAGE, "Cmd": ["x"]}, name="create by a name too short"),
    _j("POST /containers/create?name=nocommand", {"Image": IMAGE}, name="create without a command"),
    _refused("a bad memory", Memory=1),
    _refused("a swap without memory", MemorySwap=1 << 30),
    _refused("less swap than memory", Memory=1 << 30, MemorySwap=1 << 29),
    _refused("a bad swappiness", MemorySwappiness=101),
    _refused("a bad reservation", Memory=10 << 20, MemoryReservation=20 << 20),
    _refused("cpus and a quota", NanoCpus=10**9, CpuQuota=1000),
    _refused("cpus beyond the machine", NanoCpus=10**12),
    _refused("a bad period", CpuPeriod=1),
    _refused("a bad quota", CpuQuota=1),
    _refused("a bad cpuset", CpusetCpus="x"),
    _refused("a cpuset beyond the machine", CpusetCpus="0-999"),
    _refused("a bad blkio weight", BlkioWeight=5),
    _refused("a bad restart policy", RestartPolicy={"Name": "sometimes"}),
    _refused("retries of always", RestartPolicy={"Name": "always", "MaximumRetryCount": 3}),
    _refused("negative retries", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": -1}),
    _refused("autoremove and restart", AutoRemove=True, RestartPolicy={"Name": "always"}),
    _refused("a bad bind", Binds=["x"]),
    _refused("a relative bind", Binds=["/a:b"]),
    _refused("a bind with a bad mode", Binds=["/tmp:/b:nonsense"]),
    _refused("a bind on the root", Binds=["/tmp:/"]),
    _refused("a volume with a bad name", Binds=["b@d:/b"]),
    _refused("the same place twice", Binds=["/tmp:/b", "/var:/b"]),
    _refused("a mount of an unknown type", Mounts=[{"Type": "nonsense", "Target": "/x"}]),
    _refused("a mount without a target", Mounts=[{"Type": "bind", "Source": "/tmp"}]),
    _refused("a bind without a source", Mounts=[{"Type": "bind", "Target": "/x"}]),
    _refused("a bind of nothing", Mounts=[{"Type": "bind", "Source": "/absent", "Target": "/x"}]),
    _refused("a tmpfs with a source", Mounts=[{"Type": "tmpfs", "Source": "/tmp", "Target": "/x"}]),
    _refused("a bad network", NetworkMode="absent"),
    _refused("a bad ipc mode", IpcMode="nonsense"),
    _refused("a bad pid mode", PidMode="nonsense"),
    _refused("a bad uts mode", UTSMode="nonsense"),
    _refused("a bad userns mode", UsernsMode="nonsense"),
    _refused("a bad cgroupns mode", CgroupnsMode="nonsense"),
    _refused("ipc of an absent container", IpcMode="container:absent"),
    _refused("a bad capability", CapAdd=["NONSENSE"]),
    _refused("a bad device", Devices=[{"PathOnHost": "/dev/absent", "PathInContainer": "/dev/x"}]),
    _refused("a bad device mode", Devices=[{"PathOnHost": "/dev/null", "CgroupPermissions": "xyz"}]),
    _refused("a bad device rule", DeviceCgroupRules=["nonsense"]),
    _refused("a bad security option", SecurityOpt=["nonsense"]),
    _refused("a bad security key", SecurityOpt=["nonsense=1"]),
    _refused("a bad ulimit", Ulimits=[{"Name": "nonsense", "Soft": 1, "Hard": 1}]),
    _refused("a soft limit beyond the hard", Ulimits=[{"Name": "nofile", "Soft": 2, "Hard": 1}]),
    _refused("a bad sysctl", Sysctls={"nonsense": "1"}),
    _refused("a bad log driver", LogConfig={"Type": "nonsense", "Config": {}}),
    _refused("a bad log option", LogConfig={"Type": "json-file", "Config": {"nonsense": "1"}}),
    _refused("a bad dns", Dns=["nonsense"]),
    _refused("a bad extra host", ExtraHosts=["nonsense"]),
    _refused("a bad runtime", Runtime="nonsense"),
    _refused("a bad shm size", ShmSize=-1),
    _refused("a bad oom score", OomScoreAdj=-2000),
    _refused("a bad storage option", StorageOpt={"size": "1G"}),
    _refused("a bad port", PortBindings={"80/nonsense": [{"HostPort": "1"}]}),
    _refused("a bad host port", PortBindings={"80/tcp": [{"HostPort": "nonsense"}]}),
    _refused("volumes from nobody", VolumesFrom=["absent"]),
    _refused("a bad volumes-from mode", VolumesFrom=["absent:nonsense"]),
    _refused("an absent volume driver", VolumeDriver="nonsense", Binds=["vol:/x"]),
    _refused("a bad isolation", Isolation="nonsense"),
    _refused("a bad group", GroupAdd=["nonsense"]),
    _refused("links to nobody", Links=["absent:x"]),
    _refused("host networking and a link", NetworkMode="host", Links=["absent:x"]),
    _refused("a bad stop signal", {"StopSignal": "NONSENSE"}),
    _refused("a relative working directory", {"WorkingDir": "x"}),
    _refused("a bad environment", {"Env": ["=x"]}),
    _refused("a bad exposed port", {"ExposedPorts": {"x/tcp": {}}}),
    _refused("a bad host name", {"Hostname": "b ad" * 30}),
    _refused("a bad MAC address", {"MacAddress": "nonsense"}),
    _refused("a healthcheck in nonsense", {"Healthcheck": {"Test": ["NONSENSE", "x"]}}),
    _refused("an interval too short", {"Healthcheck": {"Test": ["CMD", "x"], "Interval": 1}}),
    _refused("a timeout too short", {"Healthcheck": {"Test": ["CMD", "x"], "Timeout": 1}}),
    _refused("negative healthcheck retries", {"Healthcheck": {"Test": ["CMD", "x"], "Retries": -1}}),
    _refused("a relative volume", {"Volumes": {"x": {}}}),
    _create("plain", {}, NetworkMode="none"),
    _j("POST /containers/create?name=plain", {"Image": IMAGE, "Cmd": ["x"]}, name="create by a taken name"),
    _create(
        "full",
        {
            "Labels": {"colour": "red"},
            "Env": ["A=b"],
            "Tty": True,
            "OpenStdin": True,
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
            "Volumes": {"/anonymous": {}},
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 3600 * 10**9},
            "StopSignal": "SIGINT",
            "StopTimeout": 1,
            "Hostname": "fullhost",
            "User": "me",
            "WorkingDir": "/tmp",
        },
        PortBindings={"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]},
        Binds=["named:/named", "/tmp:/host:ro"],
        Memory=64 << 20,
        RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 2},
        Ulimits=[{"Name": "nofile", "Soft": 100, "Hard": 200}],
        CapAdd=["NET_ADMIN"],
        ExtraHosts=["friend:10.0.0.1"],
        Dns=["10.0.0.2"],
        Tmpfs={"/scratch": "size=1m"},
        Mounts=[{"Type": "volume", "Source": "other", "Target": "/other"}],
    ),
)

CREATED = (
    Case("GET /containers/plain/json", name="inspect created"),
    Case("GET /containers/full/json", name="inspect full created"),
    Case("GET /containers/full/json?size=1", name="inspect created with size"),
    Case("GET /containers/plain/top", name="top created"),
    Case("GET /containers/plain/stats?stream=0", name="stats created"),
    Case("GET /containers/plain/logs?stdout=1", name="logs created"),
    Case("GET /containers/plain/logs", name="logs without a stream"),
    Case("GET /containers/plain/changes", name="changes created"),
    Case("POST /containers/plain/pause", name="pause created"),
    Case("POST /containers/plain/unpause", name="unpause created"),
    Case("POST /containers/plain/kill", name="kill created"),
    Case("POST /containers/plain/stop", name="stop created"),
    Case("POST /containers/plain/resize?h=10&w=10", name="resize created"),
    _j("POST /containers/plain/exec", {"Cmd": ["true"]}, name="exec in created"),
    Case("GET /containers/json", name="list none running"),
    Case("GET /containers/json?all=1", name="list created"),
    Case("POST /containers/plain/wait?condition=nonsense"),
    _raw("POST /containers/plain/start", b'{"Dns":["10.0.0.1"]}', "start with a body"),
)

RUNNING = (
    Case("POST /containers/plain/start", name="start"),
    Case("POST /containers/plain/start", name="start again"),
    Case("POST /containers/full/start", name="start full"),
    Case("GET /containers/plain/json", name="inspect running"),
    Case("GET /containers/full/json", name="inspect full running"),
    Case("GET /v1.24/containers/full/json", name="inspect full running 1.24"),
    Case("GET /containers/json", name="list running"),
    Case("GET /containers/json?size=1", name="list running with size"),
    Case("GET /v1.24/containers/json", name="list running 1.24"),
    Case("GET /containers/json?limit=1"),
    Case("GET /containers/json?limit=nonsense"),
    Case("GET /containers/json?all=nonsense"),
    _filters("/containers/json", nonsense=["x"]),
    _filters("/containers/json", status=["nonsense"]),
    _filters("/containers/json", health=["nonsense"]),
    _filters("/containers/json", exited=["nonsense"]),
    _filters("/containers/json", before=["absent"]),
    _filters("/containers/json", since=["absent"]),
    _filters("/containers/json", ancestor=["absent"]),
    _filters("/containers/json", label=["colour=red"]),
    _filters("/containers/json", label={"colour=red": True}),
    _filters("/containers/json", network=["absent"]),
    _filters("/containers/json", volume=["absent"]),
    _filters("/containers/json", publish=["nonsense"]),
    _filters("/containers/json", expose=["80"]),
    _filters("/containers/json", isolation=["nonsense"]),
    _filters("/containers/json", **{"is-task": ["nonsense"]}),
    _badfilters("/containers/json", "nonsense"),
    _badfilters("/containers/json", "[]"),
    _badfilters("/containers/json", '{"label":"x"}'),
    _badfilters("/containers/json", '{"label":[1]}'),
    Case("GET /containers/plain/top", name="top"),
    Case("GET /containers/plain/top?ps_args=aux", name="top aux"),
    Case("GET /containers/plain/top?ps_args=-o%20nonsense", name="top with bad arguments"),
    Case("GET /containers/plain/stats?stream=0", name="stats"),
    Case("GET /containers/full/stats?stream=0", name="stats with a network"),
    Case("GET /containers/plain/stats?stream=0&one-shot=1", name="stats one-shot"),
    Case("GET /containers/plain/changes", name="changes"),
    Case("GET /containers/plain/logs?stdout=1", name="logs empty"),
    Case("GET /containers/full/logs?stdout=1", name="logs of a terminal"),
    Case("GET /containers/plain/logs?stdout=1&tail=nonsense", name="logs bad tail"),
    Case("GET /containers/plain/logs?stdout=1&since=nonsense", name="logs bad since"),
    Case("GET /containers/plain/logs?stdout=1&until=nonsense", name="logs bad until"),
    Case("POST /containers/plain/resize?h=nonsense&w=1", name="resize in nonsense"),
    Case("POST /containers/plain/resize?w=1", name="resize without a height"),
    Case("POST /containers/plain/resize?h=-1&w=1", name="resize negative"),
    Case("POST /containers/full/resize?h=20&w=20", name="resize"),
    Case("POST /containers/plain/kill?signal=NONSENSE", name="kill nonsense"),
    Case("POST /containers/plain/kill?signal=99", name="kill 99"),
    Case("POST /containers/plain/kill?signal=CHLD", name="kill harmless"),
    Case("POST /containers/plain/stop?t=nonsense", name="stop t nonsense"),
    Case("POST /containers/plain/restart?t=nonsense", name="restart t nonsense"),
    Case("POST /containers/plain/pause", name="pause"),
    Case("POST /containers/plain/pause", name="pause again"),
    Case("GET /containers/plain/json", name="inspect paused"),
    _j("POST /containers/plain/exec", {"Cmd": ["true"]}, name="exec in paused"),
    Case("POST /containers/plain/start", name="start paused"),
    Case("POST /containers/plain/restart?t=0", name="restart paused"),
    Case("DELETE /containers/plain", name="remove running"),
    Case("POST /containers/plain/rename", name="rename without a name"),
    Case("POST /containers/plain/rename?name=plain", name="rename to itself"),
    Case("POST /containers/plain/rename?name=full", name="rename to a taken one"),
    Case("POST /containers/plain/rename?name=b%20d", name="rename badly"),
    Case("POST /containers/plain/rename?name=plain2", name="rename"),
    Case("POST /containers/plain2/rename?name=plain", name="rename back"),
    _j("POST /containers/plain/update", {"Memory": 128 << 20, "MemorySwap": -1}, name="update"),
    _j("POST /containers/plain/update", {"Memory": 1}, name="update badly"),
    _j("POST /containers/plain/update", {"RestartPolicy": {"Name": "nonsense"}}, name="update policy badly"),
    _raw("POST /containers/plain/update", b"nonsense", "update in nonsense"),
    _raw("POST /containers/plain/update", b"", "update without a body"),
    Case("HEAD /containers/plain/archive?path=/etc/passwd"),
    Case("HEAD /containers/plain/archive?path=/absent"),
    Case("HEAD /containers/plain/archive"),
    Case("GET /containers/plain/archive?path=/etc/passwd"),
    Case("GET /containers/plain/archive?path=/absent"),
    Case("GET /containers/plain/archive"),
    Case("GET /containers/plain/archive?path=/etc/passwd/", name="GET archive of a file as a directory"),
    _raw("PUT /containers/plain/archive?path=/tmp", small_tar(), "PUT archive", "application/x-tar"),
    _raw(
        "PUT /containers/plain/archive?path=/absent", small_tar(), "PUT archive nowhere", "application/x-tar"
    ),
    _raw(
        "PUT /containers/plain/archive?path=/etc/passwd",
        small_tar(),
        "PUT archive on a file",
        "application/x-tar",
    ),
    _raw(
        "PUT /containers/plain/archive?path=/tmp", b"x" * 1024, "PUT archive of nonsense", "application/x-tar"
    ),
    _raw("PUT /containers/plain/archive", small_tar(), "PUT archive without a path", "application/x-tar"),
    Case("GET /containers/plain/changes", name="changes after a copy"),
    Case("POST /containers/plain/attach?logs=1&stdout=1", name="attach for logs"),
    Case("POST /containers/plain/attach?logs=1&stdout=1", name="attach for logs, upgraded", upgrade=True),
    Case("POST /containers/full/attach?logs=1&stdout=1", name="attach for logs of a terminal"),
    Case("POST /containers/plain/attach?stream=1&stdout=1&detachKeys=nonsense", name="attach with bad keys"),
    Case("GET /containers/plain/attach/ws", name="attach/ws without a websocket"),
    Case("GET /containers/plain/checkpoints"),
)

EXEC = (
    Case("GET /exec/absent/json"),
    _j("POST /exec/absent/start", {}),
    Case("POST /exec/absent/resize?h=1&w=1"),
    _j("POST /containers/plain/exec", {}, name="exec without a command"),
    _j("POST /containers/plain/exec", None, name="exec without a body"),
    _raw("POST /containers/plain/exec", b"nonsense", "exec in nonsense"),
    _raw("POST /containers/plain/exec", b'{"Cmd":"sh"}', "exec of a text"),
    _j("POST /containers/plain/exec", {"Cmd": ["sleep", "1000"]}, keep="sleeping", name="exec create"),
    Case("GET /exec/{sleeping}/json", name="exec inspect created"),
    _j("POST /exec/{sleeping}/start", {"Detach": True}, name="exec start detached"),
    _j("POST /exec/{sleeping}/start", {"Detach": True}, name="exec start again"),
    Case("GET /exec/{sleeping}/json", name="exec inspect running"),
    Case("POST /exec/{sleeping}/resize?h=1&w=1", name="exec resize"),
    Case("POST /exec/{sleeping}/resize", name="exec resize without a size"),
    _j(
        "POST /containers/plain/exec",
        {"Cmd": ["echo", "hello"], "AttachStdout": True, "Env": ["X=y"], "User": "me", "WorkingDir": "/tmp"},
        keep="echoing",
        name="exec create attached",
    ),
    _j("POST /exec/{echoing}/start", {}, name="exec start attached"),
    Case("GET /exec/{echoing}/json", name="exec inspect ended"),
    _j("POST /exec/{echoing}/start", {}, name="exec start ended"),
    Case("POST /exec/{echoing}/resize?h=1&w=1", name="exec resize ended"),
    _j(
        "POST /containers/plain/exec",
        {"Cmd": ["echo"], "AttachStdout": True},
        keep="up",
        name="exec create for an upgrade",
    ),
    _j("POST /exec/{up}/start", {"Tty": False}, name="exec start upgraded", upgrade=True),
    _j(
        "POST /containers/plain/exec",
        {"Cmd": ["absent"], "AttachStderr": True},
        keep="none",
        name="exec create absent",
    ),
    _j("POST /exec/{none}/start", {"Detach": True}, name="exec start absent"),
    Case("GET /exec/{none}/json", name="exec inspect failed"),
    _j(
        "POST /containers/plain/exec",
        {"Cmd": ["true"], "User": "absent"},
        keep="nobody",
        name="exec create absent user",
    ),
    _j("POST /exec/{nobody}/start", {"Detach": True}, name="exec start absent user"),
    _j("POST /containers/plain/exec", {"Cmd": ["true"], "DetachKeys": "nonsense"}, name="exec with bad keys"),
    _j("POST /containers/plain/exec", {"Cmd": ["true"], "Env": ["="]}, name="exec with a bad environment"),
)

ENDED = (
    Case("POST /containers/plain/stop?t=0", name="stop"),
    Case("POST /containers/plain/stop?t=0", name="stop again"),
    Case("POST /containers/plain/wait", name="wait for an ended one"),
    Case("GET /containers/plain/json", name="inspect ended"),
    Case("GET /containers/json?all=1", name="list ended"),
    Case("POST /containers/plain/kill", name="kill ended"),
    Case("GET /containers/plain/top", name="top ended"),
    Case("GET /containers/plain/stats?stream=0", name="stats ended"),
    _j("POST /exec/{sleeping}/start", {}, name="exec start after the end"),
    Case("GET /exec/{sleeping}/json", name="exec inspect after the end"),
    Case("GET /containers/plain/export", name="export"),
    _create("says", {"Cmd": ["sh", "-c", "echo out; echo err >&2; exit 3"]}, NetworkMode="none"),
    Case("POST /containers/says/start", name="start says"),
    Case("POST /containers/says/wait", name="wait with a code"),
    Case("GET /containers/says/logs?stdout=1&stderr=1&timestamps=0", name="logs"),
    Case("GET /containers/says/logs?stdout=1&tail=0", name="logs of none"),
    _create("missing", {"Cmd": ["absent"]}, NetworkMode="none"),
    Case("POST /containers/missing/start", name="start of an absent program"),
    Case("GET /containers/missing/json", name="inspect that could not start"),
    _create("baduser", {"User": "absent"}, NetworkMode="none"),
    Case("POST /containers/baduser/start", name="start of an absent user"),
    _create("baddir", {"Cmd": ["/etc/passwd"]}, NetworkMode="none"),
    Case("POST /containers/baddir/start", name="start of a file that is no program"),
    _create("isdir", {"Cmd": ["/etc"]}, NetworkMode="none"),
    Case("POST /containers/isdir/start", name="start of a directory"),
    Case("DELETE /containers/baduser?v=nonsense", name="remove with odd values"),
    Case("DELETE /containers/says?link=1", name="remove a link"),
)

IMAGES = (
    Case("GET /images/json"),
    Case("GET /v1.24/images/json"),
    Case("GET /images/json?digests=1"),
    Case("GET /images/json?all=1"),
    _filters("/images/json", nonsense=["x"]),
    _filters("/images/json", dangling=["nonsense"]),
    _filters("/images/json", dangling=["true"]),
    _filters("/images/json", before=["absent"]),
    _filters("/images/json", reference=["busybox*"]),
    _filters("/images/json", label=["x"]),
    Case(f"GET /images/{IMAGE}/json"),
    Case("GET /images/absent/json"),
    Case("GET /images/BAD/json"),
    Case(f"GET /images/{IMAGE}/history"),
    Case("GET /images/absent/history"),
    Case("POST /images/absent/tag?repo=x&tag=y"),
    Case(f"POST /images/{IMAGE}/tag?repo=copy&tag=one"),
    Case(f"POST /images/{IMAGE}/tag?repo=BAD&tag=one"),
    Case(f"POST /images/{IMAGE}/tag?repo=copy&tag=b%20d"),
    Case(f"POST /images/{IMAGE}/tag"),
    Case("POST /images/absent/push"),
    Case("DELETE /images/absent"),
    Case("DELETE /images/BAD"),
    Case("DELETE /images/copy:one"),
    Case(f"DELETE /images/{IMAGE}", name="remove an image in use"),
    Case("GET /images/absent/get"),
    Case("GET /images/get?names=absent"),
    Case(f"GET /images/{IMAGE}/get"),
    Case("GET /images/search"),
    Case("GET /images/search?term=x&limit=1000"),
    Case("GET /images/search?term=x&limit=nonsense"),
    _raw("POST /images/load", b"nonsense", "load nonsense", "application/x-tar"),
    _raw("POST /images/load", small_tar(), "load a tar that is no image", "application/x-tar"),
    _raw("POST /images/load?quiet=1", b"", "load nothing", "application/x-tar"),
    _raw("POST /images/create?fromSrc=-&repo=imported&tag=one", small_tar(), "import", "application/x-tar"),
    _raw("POST /images/create?fromSrc=-&repo=BAD", small_tar(), "import by a bad name", "application/x-tar"),
    _raw("POST /images/create?fromSrc=-", b"nonsense", "import nonsense", "application/x-tar"),
    _raw(
        "POST /images/create?fromSrc=-&changes=NONSENSE%20x",
        small_tar(),
        "import with a bad change",
        "application/x-tar",
    ),
    Case("GET /images/imported:one/json"),
    Case("GET /images/imported:one/history"),
    Case("DELETE /images/imported:one"),
    Case("POST /images/create"),
    Case("POST /images/create?fromImage=BAD"),
    Case("POST /commit", name="commit of nothing"),
    Case("POST /commit?container=absent"),
    Case("POST /commit?container=plain&repo=BAD"),
    Case("POST /commit?container=plain&changes=NONSENSE%20x"),
    _raw("POST /commit?container=plain", b"nonsense", "commit with nonsense"),
    Case("POST /commit?container=plain&repo=committed&tag=one&comment=why&author=me", name="commit"),
    Case("GET /images/committed:one/json"),
    Case("GET /images/committed:one/history"),
    Case("DELETE /images/committed:one"),
    _prune("/images/prune", nonsense=["x"]),
    _prune("/images/prune", dangling=["nonsense"]),
    _prune("/images/prune", until=["nonsense"]),
    _prune("/images/prune", dangling=["true"]),
    Case("POST /images/prune"),
    _prune("/build/prune", nonsense=["x"]),
    Case("POST /build/prune"),
    Case("POST /build/cancel"),
    Case("GET /distribution/BAD/json"),
)

VOLUMES = (
    Case("GET /volumes"),
    _filters("/volumes", nonsense=["x"]),
    _filters("/volumes", dangling=["nonsense"]),
    _filters("/volumes", dangling=["true"]),
    _filters("/volumes", name=["named"]),
    Case("GET /volumes/absent"),
    Case("GET /volumes/named"),
    _j("POST /volumes/create", {"Name": "made", "Labels": {"a": "b"}}, name="volume create"),
    _j("POST /volumes/create", {"Name": "made", "Labels": {"a": "b"}}, name="volume create again"),
    _j("POST /volumes/create", {}, name="volume create anonymous"),
    _j("POST /volumes/create", None, name="volume create without a body"),
    _j("POST /volumes/create", {"Name": "b@d"}, name="volume create by a bad name"),
    _j("POST /volumes/create", {"Name": "x"}, name="volume create by a short name"),
    _j(
        "POST /volumes/create", {"Name": "other2", "Driver": "nonsense"}, name="volume create by a bad driver"
    ),
    _j(
        "POST /volumes/create",
        {"Name": "opt", "DriverOpts": {"nonsense": "1"}},
        name="volume create by a bad option",
    ),
    _j(
        "POST /volumes/create",
        {"Name": "opt", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}},
        name="volume create tmpfs",
    ),
    _raw("POST /volumes/create", b"nonsense", "volume create in nonsense"),
    _raw("POST /volumes/create", b'{"Name":1}', "volume create with a number"),
    Case("GET /volumes/made"),
    Case("GET /volumes/opt"),
    Case("DELETE /volumes/named", name="remove a volume in use"),
    Case("DELETE /volumes/named?force=1", name="remove a volume in use by force"),
    Case("DELETE /volumes/absent"),
    Case("DELETE /volumes/absent?force=1"),
    Case("DELETE /volumes/made"),
    Case("DELETE /volumes/opt"),
    _prune("/volumes/prune", nonsense=["x"]),
    _prune("/volumes/prune", label=["absent"]),
    Case("POST /volumes/prune"),
)

NETWORKS = (
    Case("GET /networks"),
    _filters("/networks", nonsense=["x"]),
    _filters("/networks", driver=["bridge"]),
    _filters("/networks", type=["nonsense"]),
    _filters("/networks", dangling=["nonsense"]),
    _filters("/networks", scope=["local"]),
    Case("GET /networks/absent"),
    Case("GET /networks/bridge"),
    Case("GET /networks/none"),
    Case("GET /networks/host"),
    Case("GET /networks/bridge?scope=nonsense"),
    Case("GET /networks/bridge?verbose=nonsense"),
    Case("DELETE /networks/absent"),
    Case("DELETE /networks/bridge"),
    _prune("/networks/prune", nonsense=["x"]),
    _prune("/networks/prune", until=["nonsense"]),
    Case("POST /networks/prune"),
    _j("POST /networks/absent/connect", {"Container": "plain"}),
    _j("POST /networks/absent/disconnect", {"Container": "plain"}),
    _j("POST /networks/create", {"Name": "bridge"}, name="network create by a predefined name"),
    _j("POST /networks/create", {}, name="network create without a name"),
    _raw("POST /networks/create", b"nonsense", "network create in nonsense"),
)

SWARM = (
    *(
        Case(f"{method} {path}", b"{}" if method == "POST" else None)
        for method, path in (
            ("GET", "/swarm"),
            ("POST", "/swarm/leave"),
            ("POST", "/swarm/update?version=1"),
            ("POST", "/swarm/unlock"),
            ("GET", "/swarm/unlockkey"),
            ("GET", "/nodes"),
            ("GET", "/nodes/x"),
            ("DELETE", "/nodes/x"),
            ("POST", "/nodes/x/update?version=1"),
            ("GET", "/services"),
            ("POST", "/services/create"),
            ("GET", "/services/x"),
            ("DELETE", "/services/x"),
            ("POST", "/services/x/update?version=1"),
            ("GET", "/services/x/logs?stdout=1"),
            ("GET", "/tasks"),
            ("GET", "/tasks/x"),
            ("GET", "/tasks/x/logs?stdout=1"),
            ("GET", "/secrets"),
            ("POST", "/secrets/create"),
            ("GET", "/secrets/x"),
            ("DELETE", "/secrets/x"),
            ("POST", "/secrets/x/update?version=1"),
            ("GET", "/configs"),
            ("POST", "/configs/create"),
            ("GET", "/configs/x"),
            ("DELETE", "/configs/x"),
            ("POST", "/configs/x/update?version=1"),
            ("GET", "/plugins"),
            ("GET", "/plugins/x/json"),
            ("DELETE", "/plugins/x"),
            ("POST", "/plugins/x/enable?timeout=1"),
            ("POST", "/plugins/x/disable"),
            ("POST", "/plugins/x/push"),
        )
    ),
    _j("POST /plugins/x/set", ["A=b"]),
)

AT_THE_END = (
    Case("GET /system/df", name="df at the end"),
    _prune("/containers/prune", nonsense=["x"]),
    _prune("/containers/prune", until=["nonsense"]),
    Case("DELETE /containers/full", name="remove full"),
    Case("DELETE /containers/full?force=1&v=1", name="remove full by force"),
    Case("POST /containers/prune"),
    Case("POST /containers/prune", name="prune again"),
    Case("GET /containers/json?all=1", name="list of none"),
    Case(f"DELETE /images/{IMAGE}", name="remove the image"),
    Case("GET /images/json", name="images of none"),
    Case("GET /events?since=1&until={now}", name="events"),
)

CASES = (
    *SYSTEM,
    *CONTAINERS_ABSENT,
    *CREATE,
    *CREATED,
    *RUNNING,
    *EXEC,
    *ENDED,
    *IMAGES,
    *VOLUMES,
    *NETWORKS,
    *SWARM,
    *AT_THE_END,
)
