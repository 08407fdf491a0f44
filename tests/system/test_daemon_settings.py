"""The daemon under its settings: file and flags, reload, sockets, log, metrics."""

from __future__ import annotations

import grp
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.buildclient import build
from support.daemon import IMAGE, REPOSITORY, Daemon, running_daemon
from support.hijack import run_exec

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_network]

COMMAND = [sys.executable, "-m", "carboy.daemon"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "daemon.json"
    write(path)
    return path


def write(path: Path, **more: object) -> None:
    document = {
        "group": grp.getgrgid(1).gr_name,
        "labels": ["kind=test"],
        "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1000, "Hard": 2000}},
        "log-opts": {"max-size": "1m"},
        "default-shm-size": "8m",
        "no-new-privileges": True,
        "dns": ["192.0.2.53"],
        "bip": "10.211.77.1/24",
        "mtu": 1400,
        "metrics-addr": "127.0.0.1:0",
        "debug-endpoints": True,
        "oom-score-adjust": 100,
        **more,
    }
    path.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def configured(file: Path) -> Iterator[Daemon]:
    yield from running_daemon(
        "--config-file", str(file), "--log-format", "json", "--pidfile", f"{file.parent}/pid"
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_file_counts_for_new_containers(configured: Daemon) -> None:
    code, out, errors = configured.run_container(
        "sh",
        "-c",
        "ulimit -n; ulimit -Hn; grep NoNewPrivs /proc/self/status; df -k /dev/shm | tail -n 1; "
        "cat /etc/resolv.conf; cat /sys/class/net/eth0/mtu; ip -4 addr show eth0",
        host={"NetworkMode": "bridge"},
    )
    assert code == 0, errors
    for words in (
        b"1000\n2000\n",
        b"NoNewPrivs:\t1",
        b" 8192 ",
        b"192.0.2.53",
        b"\n1400\n",
        b"inet 10.211.77.",
    ):
        assert words in out, out
    container = configured.create("true")
    host = configured.get(f"/containers/{container}/json")["HostConfig"]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
    assert (host["ShmSize"], host["SecurityOpt"]) == (8 << 20, ["no-new-privileges"])
    configured.remove_all()


def test_a_container_may_say_otherwise(configured: Daemon) -> None:
    host = {
        "Ulimits": [{"Name": "nofile", "Soft": 500, "Hard": 600}],
        "SecurityOpt": ["no-new-privileges=false"],
    }
    code, out, _ = configured.run_container(
        "sh", "-c", "ulimit -n; grep NoNewPrivs /proc/self/status", host=host
    )
    assert (code, out) == (0, b"500\nNoNewPrivs:\t0\n")


def test_the_daemon_itself(configured: Daemon, file: Path) -> None:
    assert configured.process is not None
    pid = configured.process.pid
    assert (file.parent / "pid").read_text() == f"{pid}\n"
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "100\n"
    found = os.stat(configured.socket)
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, 1)
    assert configured.get("/info")["Labels"] == ["kind=test"]
    for line in configured.log().splitlines():
        assert json.loads(line)["level"] in ("debug", "info"), line
    assert configured.get("/debug/vars")["pid"] == pid
    assert b"MainThread" in configured.request("GET", "/debug/threads")


def test_containers_do_not_inherit_the_daemons_signals_and_score(configured: Daemon) -> None:
    container = configured.create("sleep", "100", host={"NetworkMode": "none"})
    configured.post(f"/containers/{container}/start")
    _, out, _ = run_exec(configured, container, "cat", "/proc/1/oom_score_adj", "/proc/1/status")
    lines = out.decode().splitlines()
    assert lines[0] == "0"
    ignored = next(line.split()[1] for line in lines if line.startswith("SigIgn:"))
    assert int(ignored, 16) == 0
    configured.remove_all()


def test_metrics(configured: Daemon) -> None:
    configured.request("GET", "/metrics")  # events are counted from here on
    configured.run_container("true")
    page = configured.request("GET", "/metrics").decode()
    assert 'engine_daemon_container_actions_seconds_count{action="start"} ' in page
    assert 'engine_daemon_container_states_containers{state="running"} 0' in page
    assert 'carboy_http_requests_total{method="POST",path="/containers/create",status="201"}' in page
    events = next(line for line in page.splitlines() if line.startswith("engine_daemon_events_total"))
    assert int(events.split()[1]) >= 4
    for line in page.splitlines():
        assert line.startswith("#") or len(line.rsplit(" ", 1)) == 2


def test_metrics_at_an_address_of_their_own(configured: Daemon) -> None:
    assert configured.process is not None
    inodes = {
        os.readlink(one)[8:-1]
        for one in Path(f"/proc/{configured.process.pid}/fd").iterdir()
        if os.path.islink(one) and os.readlink(one).startswith("socket:")
    }
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ports = [int(row[1].split(":")[1], 16) for row in rows if row[9] in inodes and row[3] == "0A"]
    assert len(ports) == 1
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/metrics", timeout=40) as answer:
        assert b"engine_daemon_engine_info{" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/info", timeout=40)


def test_a_reload(configured: Daemon, file: Path) -> None:
    assert configured.process is not None
    begin = time.time_ns()
    write(file, labels=["kind=other"], mtu=1300, debug=True)
    configured.process.send_signal(signal.SIGHUP)
    wait_for(lambda: configured.get("/info")["Labels"] == ["kind=other"])
    assert configured.get("/info")["Debug"] is True
    wait_for(lambda: "these settings take a restart of the daemon: mtu" in configured.log())
    query = f"since={begin // 10**9}&until={time.time_ns() // 10**9 + 1}"
    found = configured.request("GET", f"/events?{query}").splitlines()
    event = json.loads(next(line for line in found if b'"reload"' in line))
    assert (event["Type"], event["Actor"]["ID"]) == ("daemon", configured.get("/info")["ID"])
    assert event["Actor"]["Attributes"]["labels"] == '["kind=other"]'
    # A wrong file changes nothing.
    file.write_text('{"labels": 3}')
    configured.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "the settings were not reloaded, the old ones stay" in configured.log())
    assert configured.get("/info")["Labels"] == ["kind=other"]
    write(file)
    configured.process.send_signal(signal.SIGHUP)
    wait_for(lambda: configured.get("/info")["Labels"] == ["kind=test"])


def test_validation(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    for text, code, words in (
        ("{}", 0, "configuration OK"),
        ('{"nonsense": 1}', 1, "don't match any configuration option: nonsense"),
        ('{"tls": "x"}', 1, "tls: expected true or false"),
    ):
        path.write_text(text)
        done = subprocess.run(
            [*COMMAND, "--config-file", path, "--validate"],
            env=ENVIRONMENT, capture_output=True, text=True, timeout=40, check=False,
        )  # fmt: skip
        assert (done.returncode, words in done.stdout + done.stderr) == (code, True), done
    done = subprocess.run(
        [*COMMAND, "--config-file", tmp_path / "none", "--validate"],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert "no such file" in done.stderr


def test_sockets_of_systemd_and_its_notices(tmp_path: Path) -> None:
    """fd:// with LISTEN_FDS, READY=1 and STOPPING=1 at NOTIFY_SOCKET."""
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notices.bind(str(tmp_path / "notify"))
    notices.settimeout(40)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "api.sock"))
    listening.listen()
    # systemd sets LISTEN_PID after its fork, as this shell does.
    script = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&"$LISTEN_FD"'
    process = subprocess.Popen(
        [
            "bash",
            "-c",
            script,
            "-",
            *COMMAND,
            f"--root={tmp_path}/root",
            f"--run={tmp_path}/run",
            "-H",
            "fd://",
        ],
        env={**ENVIRONMENT, "NOTIFY_SOCKET": str(tmp_path / "notify"), "LISTEN_FD": str(listening.fileno())},
        pass_fds=[listening.fileno()],
        stderr=subprocess.PIPE,
    )
    try:
        assert notices.recv(100) == b"READY=1"
        daemon = Daemon(str(tmp_path))
        daemon.socket = str(tmp_path / "api.sock")
        assert daemon.request("GET", "/_ping") == b"OK"
        daemon.request("POST", "/carboy/system/reset")
        assert notices.recv(100) == b"STOPPING=1"
        assert process.wait(40) == 0
        assert os.path.exists(tmp_path / "api.sock")  # systemd's
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
        notices.close()
        listening.close()


def test_names_are_utf8_whatever_the_locale_is(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "größe"
    # A locale of ASCII: with neither of these would Python take UTF-8 by itself.
    for variable, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(variable, value)
    for daemon in running_daemon():
        text = f"FROM {IMAGE}\nCOPY {name} /there/{name}\n"
        built = build(daemon, {"Dockerfile": text.encode(), name: b"here"})
        assert built.error == ""
        assert daemon.shell(f"cat /there/{name}; echo {name}", Image=built.id) == f"here{name}\n"
