"""What clumsy users type: one line of help, the right exit code, nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.daemon import IMAGE, REPOSITORY, Daemon, RequestError, _running

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with a running container `up`, a created one `made`, and an ended one `ended`."""
    for running in _running():
        host = {"NetworkMode": "none"}
        for name in ("up", "made", "ended"):
            running.create("true" if name == "ended" else "sleep", "1000", name=name, host=host)
            if name != "made":
                running.post(f"/containers/{name}/start")
        running.wait("ended")
        yield running
        assert "Traceback" not in running.log(), running.log()[-3000:]


def carboy(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "bin" / "carboy"), *arguments],
        env={**os.environ, "CARBOY_HOST": daemon.host, "PYTHONPATH": str(REPOSITORY / "src")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=40,
        check=False,
    )


def refused(daemon: Daemon, code: int, text: str, *arguments: str) -> None:
    """The command fails like that, in one line, and leaves no container and no volume."""
    before = (len(daemon.get("/containers/json?all=1")), daemon.get("/volumes")["Volumes"])
    done = carboy(daemon, *arguments)
    assert done.returncode == code, done
    # A failed exec is told on its stream, the program's standard output, as Docker does.
    error = (done.stdout if "exec" in arguments and done.stdout else done.stderr).decode()
    assert error.startswith("carboy: ") or done.stdout, done
    assert error.count("\n") == 1, done
    assert text.lower() in error.lower(), done
    assert "Traceback" not in error
    assert "internal error" not in error, done
    assert "a bug in" not in error, done
    assert (len(daemon.get("/containers/json?all=1")), daemon.get("/volumes")["Volumes"]) == before


RUN = {
    "--memry=1": "did you mean --memory",
    "--memory=1": "6MB",
    "--memory=abc": "512m",
    "--memory=-5": "512m",
    "--memory=99999999999999999999g": "64 bits",
    "--cpus=1000": "there are only",
    "--cpus=nan": "1.5",
    "--cpus=0.001": "0.01",
    "--pids-limit=x": "whole number",
    "--mount=type=bind,source=/nonexist,target=/x": "/nonexist",
    "--mount=bogus": "KEY=VALUE",
    "--mount=type=bind": "target",
    "--mount=type=bind,bogus=1,source=/,target=/x": "bogus",
    "--volume=/tmp:rel": "must be absolute",
    "--volume=/tmp:/": "destination",
    "--volume=/tmp:/proc": "/proc",
    "--volume=v:/proc/1": "/proc/1",
    "--volume=/tmp:/a:zz": "zz",
    "--volume=a/b:/a": "absolute path",
    "--env-file=/nonexist": "/nonexist",
    "--env-file=/": "directory",
    "--env-file=/dev/zero": "text file",
    "--env-file=/bin/busybox": "text file",
    "--env==x": "NAME=VALUE",
    "--label-file=/dev/zero": "text file",
    "--user=4294967296": "range",
    "--user=-1": "-1",
    "--user=nosuch": "nosuch",
    "--group-add=nosuch": "nosuch",
    "--workdir=rel": "absolute",
    "--name=a": "[a-zA-Z0-9]",
    "--name=../x": "../x",
    "--name=up": "already in use",
    "--hostname=a b": "word",
    "--stop-signal=FOO": "FOO",
    "--ulimit=foo=1": "foo",
    "--ulimit=nofile=5:3": "soft",
    "--ulimit=nofile": "SOFT",
    "--restart=foo": "--restart",
    "--security-opt=bogus": "bogus",
    "--security-opt=seccomp=/nonexist": "/nonexist",
    "--security-opt=seccomp=/dev/zero": "text file",
    "--security-opt=seccomp=/bin/busybox": "text file",
    "--cap-add=FOO": "CAP_FOO",
    "--sysctl=kernel.core_pattern=x": "not allowed",
    "--device=/nonexist": "/nonexist",
    "--network=nosuch": "nosuch",
    "--network=container:nosuch": "nosuch",
    "--network=container:ended": "non running",
    "--dns=bogus": "bogus",
    "--add-host=bogus": "NAME:ADDRESS",
    "--add-host=a:999.1.1.1": "999.1.1.1",
    "--log-opt=max-file=abc": "max-file",
    "--log-opt=max-file=-1": "max-file",
    "--log-opt=max-size=abc": "invalid size",
    "--log-opt=max-size=99999999999999999t": "invalid size",
    "--log-driver=syslog": "syslog delivery",
    "--shm-size=abc": "512m",
    "--tmpfs=rel": "absolute",
    "--tmpfs=/x:bogus": "bogus",
    "--tmpfs=/x:size=abc": "size",
    "--cgroup-parent=../../x": "..",
    "--ip=bogus": "bogus",
    "--ip=1.2.3.4": "user defined networks only",
    "--mac-address=bogus": "bogus",
    "--cpuset-cpus=99": "available",
    "--cpuset-cpus=x": "cpuset",
    "--blkio-weight=5": "1000",
    "--oom-score-adj=5000": "1000",
    "--platform=windows/amd64": "linux",
    "--platform=linux/s390x": "does not match the specified platform",
    "--pull=always": "pulling comes in a later version",
    "--runtime=foo": "foo",
    "--label==x": "NAME=VALUE",
    "--cidfile=/nonexist/x": "/nonexist",
    "--cidfile=/tmp": "delete /tmp",
    "--publish=99999": "port",
    "--attach=foo": "stdin",
    "--link=x": "No such container: x",
    "--volumes-from=nosuch": "nosuch",
    "--stop-timeout=x": "whole number",
}


@pytest.mark.parametrize("flag", RUN)
def test_flags_of_run(daemon: Daemon, flag: str) -> None:
    network = [] if flag.startswith(("--network", "--ip", "--mac")) else ["--network=none"]
    refused(daemon, 125, RUN[flag], "run", "--rm", *network, flag, IMAGE, "true")


@pytest.mark.parametrize(
    ("code", "text", "command"),
    [
        (127, "executable file not found", [IMAGE, "nosuch"]),
        (127, "no such file", [IMAGE, "/nosuch"]),
        (126, "permission denied", [IMAGE, "/etc/passwd"]),
        (126, "permission denied", [IMAGE, "/etc"]),
        (125, "no image", ["nosuch:1"]),
        (125, "lowercase", ["Busybox"]),
        (125, "invalid tag", ["busybox:"]),
        (125, "no command", [IMAGE]),
        (125, "invalid reference", ["a/../b"]),
        (125, "invalid digest", ["b@sha256:abc"]),
        (125, "working directory", ["-w", "/" + "a" * 300, IMAGE, "true"]),
        (125, "not a directory", ["-w", "/bin/sh", IMAGE, "true"]),
    ],
)
def test_commands_that_cannot_run(daemon: Daemon, code: int, text: str, command: list[str]) -> None:
    refused(daemon, code, text, "run", "--rm", "--network=none", *command)


@pytest.mark.parametrize(
    ("code", "text", "command"),
    [
        (1, "did you mean run", ["rnu"]),
        (125, "unknown flag", ["--nosuch"]),
        (1, "at least 1", ["run"]),
        (1, "at least 1", ["rm"]),
        (1, "stop the container before", ["rm", "up"]),
        (1, "No such container: nosuch", ["rm", "nosuch"]),
        (1, "nosuch", ["stop", "nosuch"]),
        (125, "whole number", ["stop", "-t", "x", "up"]),
        (1, "nosuch", ["start", "nosuch"]),
        (1, "not running", ["kill", "ended"]),
        (1, "FOO", ["kill", "-s", "FOO", "up"]),
        (1, "99", ["kill", "-s", "99", "up"]),
        (1, "not running", ["exec", "ended", "true"]),
        (1, "not running", ["exec", "made", "true"]),
        (1, "nosuch", ["exec", "nosuch", "x"]),
        (127, "executable file not found", ["exec", "up", "nosuch"]),
        (126, "permission denied", ["exec", "up", "/etc"]),
        (1, "at least 2", ["exec", "up"]),
        (126, "nosuch", ["exec", "-u", "nosuch", "up", "true"]),
        (126, "range", ["exec", "-u", "4294967296", "up", "true"]),
        (126, "-1", ["exec", "-u", "-1", "up", "true"]),
        (126, "absolute", ["exec", "-w", "rel", "up", "true"]),
        (127, "/nonexist", ["exec", "-w", "/nonexist", "up", "true"]),
        (1, "stopped container", ["attach", "ended"]),
        (1, "stopped container", ["attach", "made"]),
        (1, "nosuch", ["attach", "nosuch"]),
        (1, "nosuch", ["logs", "nosuch"]),
        (1, "bogus", ["logs", "--since", "bogus", "up"]),
        (1, "in use", ["rename", "up", "made"]),
        (1, "same name", ["rename", "up", "up"]),
        (1, "empty", ["rename", "up", ""]),
        (1, "nosuch", ["wait", "nosuch"]),
        (1, "not running", ["pause", "ended"]),
        (1, "not paused", ["unpause", "up"]),
        (1, "no such object", ["inspect", "nosuch"]),
        (64, "template", ["inspect", "-f", "{{.Foo", "up"]),
        (1, "Foo", ["inspect", "-f", "{{.Foo.Bar}}", "up"]),
        (1, "unknown type", ["inspect", "--type", "bogus", "up"]),
        (1, "template", ["ps", "--format", "{{"]),
        (1, "X", ["ps", "-a", "--format", "{{.X}}"]),
        (1, "bogus", ["ps", "--filter", "bogus=1"]),
        (125, "NAME=VALUE", ["ps", "--filter", "bogus"]),
        (1, "status", ["ps", "--filter", "status=bogus"]),
        (125, "whole number", ["ps", "-n", "x"]),
        (1, "bogus", ["images", "--filter", "bogus=1"]),
        (1, "X", ["images", "--format", "{{.X}}"]),
        (1, "nosuch", ["rmi", "nosuch"]),
        (1, "using", ["rmi", IMAGE]),
        (1, "nosuch", ["tag", "nosuch", "x:1"]),
        (1, "lowercase", ["tag", IMAGE, "X:1"]),
        (1, "ambiguous", ["tag", IMAGE, "sha256:" + "a" * 64]),
        (1, "invalid tag", ["tag", IMAGE, "x:" + "a" * 129]),
        (1, "nosuch", ["history", "nosuch"]),
        (1, "nosuch", ["save", "nosuch"]),
        (1, "/nonexist", ["save", "-o", "/nonexist/x", IMAGE]),
        (1, "/nonexist", ["load", "-i", "/nonexist"]),
        (1, "/tmp", ["load", "-i", "/tmp"]),
        (1, "tar", ["load", "-i", "/etc/passwd"]),
        (1, "import", ["load", "-i", "/dev/null"]),
        (1, "/nonexist", ["import", "/nonexist"]),
        (1, "/tmp: is a directory", ["import", "/tmp"]),
        (1, "tar", ["import", "/etc/passwd"]),
        (1, "URL", ["import", "http://x/y"]),
        (1, "BOGUS", ["import", "-c", "BOGUS x", "/dev/null"]),
        (1, "nosuch", ["commit", "nosuch"]),
        (1, "lowercase", ["commit", "ended", "X"]),
        (1, "RUN", ["commit", "-c", "RUN x", "ended"]),
        (1, "ambiguous", ["commit", "ended", "sha256:1"]),
        (1, "bogus", ["events", "--since", "bogus"]),
        (1, "absolute path", ["volume", "create", "../x"]),
        (1, "no such volume", ["volume", "rm", "nosuch"]),
        (1, "nosuch", ["network", "inspect", "nosuch"]),
        (1, "unix://", ["--host", "bogus", "ps"]),
        (1, "Is it running", ["-H", "unix:///nonexist", "ps"]),
        (1, "-f names a Dockerfile", ["build", "."]),
    ],
)
def test_other_commands(daemon: Daemon, code: int, text: str, command: list[str]) -> None:
    refused(daemon, code, text, *command)
    assert daemon.get("/containers/up/json")["State"]["Running"]


def test_what_is_so_already_is_no_error(daemon: Daemon) -> None:
    for command in (["start", "up"], ["stop", "ended"], ["stop", "made"], ["rm", "-f", "nosuch"]):
        done = carboy(daemon, *command)
        assert done.returncode == 0 or command[0] == "rm", done


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/containers/create", b"{"),
        ("/containers/create", b"[]"),
        ("/containers/create", b"5"),
        ("/containers/create", b""),
        ("/containers/create", b"[" * 100000),
        ("/containers/create", b'{"a":' * 100000),
        ("/containers/create", b"\xff"),
        ("/containers/create", b'{"Image":"\\ud800"}'),
        ("/containers/create", b'{"Image":5}'),
        ("/containers/create", b'{"Image":"busybox:test","Cmd":{}}'),
        ("/containers/create", b'{"Image":"busybox:test","Env":[1]}'),
        ("/containers/create", b'{"Image":"busybox:test","HostConfig":{"Memory":1e999}}'),
        ("/containers/create", b'{"Image":"busybox:test","HostConfig":{"Memory":' + b"9" * 1000 + b"}}"),
        ("/containers/create", b'{"Image":"busybox:test","HostConfig":{"Binds":"x"}}'),
        ("/containers/create", b" " * (5 << 20)),
        ("/containers/create?name=%00", b'{"Image":"busybox:test"}'),
        ("/containers/up/exec", b"{}"),
        ("/containers/up/exec", b'{"Cmd":[]}'),
        ("/containers/up/exec", b'{"Cmd":["a\\u0000"]}'),
        ("/containers/up/kill?signal=%00", None),
        ("/containers/up/resize?h=x&w=1", None),
        ("/containers/up/stop?t=x", None),
        ("/containers/up/kill?signal=RTMIN%2B%C2%B2", None),
        ("/commit?container=up&changes=%00", None),
        ("/images/create?fromSrc=-&repo=x&platform=%00", b"x"),
        ("/volumes/create", b'{"Name":"../x"}'),
        ("/volumes/create", b'{"Name":"a\\u0000"}'),
        ("/volumes/create", b'{"DriverOpts":5}'),
        ("/containers/up/rename?name=" + "a" * 9000, None),
    ],
)
def test_requests_that_are_no_documents(daemon: Daemon, path: str, body: bytes | None) -> None:
    with pytest.raises(RequestError) as error:
        daemon.request("POST", path, body)
    assert error.value.status in (400, 413), error.value
    assert error.value.message.strip().count("\n") == 0
    assert len(error.value.message) < 2500


@pytest.mark.parametrize(
    "query",
    [
        "containers/json?limit=x",
        "containers/json?filters=x",
        "containers/json?filters=[]",
        'containers/json?filters={"a":5}',
        "containers/json?filters=" + "[" * 5000,
        'containers/json?filters={"status":["bogus"]}',
        "containers/json?limit=" + "9" * 5000,
        "events?since=bogus",
        "events?filters=x",
        "images/json?filters=x",
        'images/json?filters={"dangling":["x"]}',
        "containers/up/logs",
        "containers/up/logs?stdout=1&since=x",
        "volumes?filters=x",
        "networks?filters=x",
        "containers/up/json?" + "a=1&" * 2000,
    ],
)
def test_queries_that_make_no_sense(daemon: Daemon, query: str) -> None:
    with pytest.raises(RequestError) as error:
        daemon.request("GET", "/" + query)
    assert error.value.status == 400, error.value
