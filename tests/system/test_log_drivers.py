"""Log drivers and the logs endpoint, as clients meet them."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, RequestError, Unix, daemon, demultiplex

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["daemon"]


@pytest.fixture(autouse=True)
def nothing_left(daemon: Daemon) -> Iterator[None]:
    yield
    daemon.remove_all()


def create(
    daemon: Daemon, script: str, driver: str, options: dict[str, str] | None = None, **more: Any
) -> str:
    host = {
        "NetworkMode": "none",
        "LogConfig": {"Type": driver, "Config": options or {}},
        **more.pop("host", {}),
    }
    return daemon.create("sh", "-c", script, host=host, **more)


def run(daemon: Daemon, script: str, driver: str, options: dict[str, str] | None = None, **more: Any) -> str:
    container = create(daemon, script, driver, options, **more)
    daemon.post(f"/containers/{container}/start")
    assert daemon.wait(container) == 0
    return container


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        size = int.from_bytes(data[4:8], "big")
        found.append((data[0], data[8 : 8 + size]))
        data = data[8 + size :]
    return found


def logs(daemon: Daemon, container: str, query: str = "") -> list[tuple[int, bytes]]:
    return frames(daemon.request("GET", f"/containers/{container}/logs?stdout=1&stderr=1{query}"))


def error(daemon: Daemon, method: str, path: str) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        daemon.request(method, path)
    return caught.value.status, caught.value.message


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_a_frame_is_a_line(daemon: Daemon, driver: str) -> None:
    script = r"printf 'one\ntwo\n\nend'; printf 'bad\n' >&2; head -c 20000 /dev/zero | tr '\0' x; echo"
    found = logs(daemon, run(daemon, script, driver))
    assert [text for stream, text in found if stream == 2] == [b"bad\n"]
    out = [text for stream, text in found if stream == 1]
    assert out[:3] == [b"one\n", b"two\n", b"\n"]
    assert b"".join(out[3:]) == b"end" + b"x" * 20000 + b"\n"
    assert max(map(len, out)) <= 16384


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_timestamps_details_and_tail(daemon: Daemon, driver: str) -> None:
    options = {"labels": "b,a", "env": "X", "tag": "{{.Name}}"}
    container = run(
        daemon, "seq 5", driver, options, Labels={"a": "1 2", "b": "é", "c": "3"}, Env=["X=y,z", "Y=1"]
    )
    name = daemon.get(f"/containers/{container}/json")["Name"][1:]
    details = f"X=y%2Cz,a=1+2,b=%C3%A9,tag={name} ".encode()
    assert logs(daemon, container, "&details=1&tail=2") == [(1, details + b"4\n"), (1, details + b"5\n")]
    stamped = [text.split(b" ") for _, text in logs(daemon, container, "&timestamps=1&tail=1")]
    assert [(len(moment), text) for moment, text in stamped] == [(30, b"5\n")]
    assert logs(daemon, container, "&tail=0") == []
    assert len(logs(daemon, container, "&tail=all")) == len(logs(daemon, container, "&tail=-1")) == 5


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_since_and_until(daemon: Daemon, driver: str) -> None:
    container = run(daemon, "echo 1; usleep 50000; echo 2; usleep 50000; echo 3", driver)
    moments = [text.split(b" ")[0].decode() for _, text in logs(daemon, container, "&timestamps=1")]

    def texts(query: str) -> list[bytes]:
        return [text for _, text in logs(daemon, container, query)]

    assert texts(f"&since={moments[1]}") == [b"2\n", b"3\n"]
    assert texts(f"&until={moments[1]}") == [b"1\n", b"2\n"]
    assert texts(f"&since={moments[1]}&until={moments[1]}") == [b"2\n"]
    assert texts("&since=4102444800.5") == texts("&until=1.5") == []
    assert len(texts("&since=1h")) == 3


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_a_slow_follower_gets_100000_lines(daemon: Daemon, driver: str) -> None:
    options = {"max-size": "400k", "max-file": "40"}
    container = create(daemon, "seq 100000", driver, options)
    daemon.post(f"/containers/{container}/start")
    connection = Unix(daemon.socket)
    connection.request("GET", f"/containers/{container}/logs?stdout=1&follow=1")
    response = connection.getresponse()
    data = response.read(100)
    time.sleep(0.5)  # the program ends long before its reader
    while piece := response.read(50_000):
        data += piece
    connection.close()
    assert demultiplex(data)[1] == b"".join(b"%d\n" % number for number in range(1, 100_001))


def test_following_ends_with_the_run(daemon: Daemon) -> None:
    host = {"RestartPolicy": {"Name": "always"}}
    container = create(daemon, "echo once; usleep 200000; exit 1", "json-file", host=host)
    daemon.post(f"/containers/{container}/start")
    assert daemon.output(container, query="&follow=1") == b"once\n"  # not those of the next runs
    assert daemon.output(container, query="&follow=1&tail=1").startswith(b"once\n")


def test_following_what_does_not_run_ends(daemon: Daemon) -> None:
    for driver in ("json-file", "local"):
        container = create(daemon, "echo x", driver)
        assert logs(daemon, container, "&follow=1") == []
        daemon.post(f"/containers/{container}/start")
        daemon.wait(container)
        assert logs(daemon, container, "&follow=1") == [(1, b"x\n")]


def test_the_local_log_is_dockers(daemon: Daemon) -> None:
    container = run(daemon, "seq 3000", "local", {"max-size": "20k", "max-file": "3"})
    folder = Path(daemon.root) / "containers" / container / "local-logs"
    assert sorted(path.name for path in folder.iterdir()) == [
        "container.log",
        "container.log.1.gz",
        "container.log.2.gz",
    ]
    assert (folder / "container.log").stat().st_mode & 0o777 == 0o640
    assert folder.stat().st_mode & 0o077 == 0
    size = int.from_bytes((folder / "container.log").read_bytes()[:4], "big")
    assert (folder / "container.log").read_bytes()[4 + size : 8 + size] == size.to_bytes(4, "big")
    lines = [text for _, text in logs(daemon, container)]
    assert lines == [b"%d\n" % number for number in range(3001 - len(lines), 3001)]
    assert daemon.get(f"/containers/{container}/json")["LogPath"] == ""


def test_compressed_json(daemon: Daemon) -> None:
    container = run(
        daemon, "seq 3000", "json-file", {"max-size": "30k", "max-file": "30", "compress": "true"}
    )
    assert [text for _, text in logs(daemon, container)] == [b"%d\n" % number for number in range(1, 3001)]
    folder = Path(daemon.root) / "containers" / container
    assert len(list(folder.glob("*-json.log.*.gz"))) > 5


def test_syslog_gets_every_line(daemon: Daemon, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(tmp_path / "log"))
        service.settimeout(40)
        options = {
            "syslog-address": f"unixgram://{tmp_path}/log",
            "tag": "{{.Name}}/{{.ID}}",
            "syslog-facility": "user",
        }
        container = create(daemon, "seq 2000; echo bad >&2", "syslog", options)
        daemon.post(f"/containers/{container}/start")
        got = [service.recv(9999) for _ in range(2001)]
        assert daemon.wait(container) == 0
    name = daemon.get(f"/containers/{container}/json")["Name"][1:]
    out = [line for line in got if line.startswith(b"<14>")]
    assert [line.rsplit(b": ", 1)[1] for line in out] == [b"%d\n" % number for number in range(1, 2001)]
    assert f" {name}/{container[:12]}[".encode() in out[0]
    assert next(line for line in got if line.startswith(b"<11>")).endswith(b": bad\n")
    message = "configured logging driver does not support reading"
    assert error(daemon, "GET", f"/containers/{container}/logs?stdout=1") == (501, message)
    assert daemon.get(f"/containers/{container}/json")["LogPath"] == ""


def test_a_stuck_syslog_does_not_stop_a_container_that_need_not_wait(daemon: Daemon, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as service:
        service.bind(str(tmp_path / "log"))
        service.listen()
        options = {
            "syslog-address": f"unix://{tmp_path}/log",
            "mode": "non-blocking",
            "max-buffer-size": "64k",
        }
        container = create(daemon, "seq 200000; echo done > /tmp/x; sleep 100", "syslog", options)
        daemon.post(f"/containers/{container}/start")
        deadline, state = time.monotonic() + 40, {"ExitCode": -1}
        while time.monotonic() < deadline:
            found = daemon.post(
                f"/containers/{container}/exec", {"Cmd": ["cat", "/tmp/x"], "AttachStdout": True}
            )
            daemon.post(f"/exec/{found['Id']}/start", {"Detach": True})
            while (state := daemon.get(f"/exec/{found['Id']}/json"))["Running"]:
                time.sleep(0.01)
            if state["ExitCode"] == 0:
                break
        assert state["ExitCode"] == 0
        daemon.request("DELETE", f"/containers/{container}?force=1")


def test_a_service_that_is_missing_is_an_error_of_the_start(daemon: Daemon, tmp_path: Path) -> None:
    if not Path("/run/systemd/journal/socket").exists():
        container = create(daemon, "true", "journald")
        status, message = error(daemon, "POST", f"/containers/{container}/start")
        assert status == 500
        assert message.endswith("failed to initialize logging driver: journald is not enabled on this host")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    container = create(daemon, "true", "syslog", {"syslog-address": f"tcp://{address}"})
    status, message = error(daemon, "POST", f"/containers/{container}/start")
    assert status == 500
    words = f"failed to initialize logging driver: dial tcp {address}: Connection refused"
    assert message.endswith(words)
    assert daemon.get(f"/containers/{container}/json")["State"]["Status"] == "created"


def test_what_create_refuses(daemon: Daemon) -> None:
    for driver, options, words in (
        ("nix", {}, "logger: no log driver named 'nix' is registered"),
        ("json-file", {"x": "1"}, "unknown log opt 'x' for json-file log driver"),
        ("json-file", {"max-buffer-size": "1m"}, "max-buffer-size option is only supported"),
    ):
        with pytest.raises(RequestError, match=words) as caught:
            create(daemon, "true", driver, options)
        assert caught.value.status == 400


def test_the_wrong_questions(daemon: Daemon) -> None:
    container = run(daemon, "echo x", "json-file")
    path = f"/containers/{container}/logs"
    assert error(daemon, "GET", path) == (400, "Bad parameters: you must choose at least one stream")
    assert error(daemon, "GET", path + "?stdout=1&since=x")[0] == 400
    assert error(daemon, "GET", "/containers/nix/logs?stdout=1")[0] == 404
    connection = Unix(daemon.socket)
    connection.request("GET", f"/v1.41{path}?stdout=1")
    response: http.client.HTTPResponse = connection.getresponse()
    assert response.getheader("Content-Type") == "application/vnd.docker.raw-stream"
    response.read()
    connection.close()


def test_the_engine_lists_its_drivers(daemon: Daemon) -> None:
    assert {"json-file", "local", "syslog", "journald"} <= set(daemon.get("/info")["Plugins"]["Log"])
    assert json.dumps(daemon.get("/info")["LoggingDriver"]) == '"json-file"'
