"""Builds and the daemon's life: its end, its settings, caches from elsewhere, contexts from afar."""

from __future__ import annotations

import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.archives import make_tar
from support.buildclient import Built, begin, build, directory, start
from support.daemon import IMAGE, Daemon, RequestError, daemon, running_daemon

__all__ = ["daemon"]

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(60)]


@contextmanager
def served(files: dict[str, bytes]) -> Iterator[str]:
    """An HTTP server on loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path)
            self.send_response(200 if data is not None else 404)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def config(daemon: Daemon, image: str) -> Any:
    return daemon.get(f"/images/{image}/json")["Config"]


def test_remote_contexts(daemon: Daemon) -> None:
    tar = make_tar({"Dockerfile": b"FROM scratch\nCOPY a /\nLABEL from=tar\n", "a": b"x"})
    with served({"/ctx.tar": tar, "/Dockerfile": b"FROM scratch\nLABEL from=text\n"}) as url:
        assert config(daemon, build(daemon, b"", remote=f"{url}/ctx.tar").id)["Labels"] == {"from": "tar"}
        assert config(daemon, build(daemon, b"", remote=f"{url}/Dockerfile").id)["Labels"] == {"from": "text"}
        with pytest.raises(RequestError) as caught:
            build(daemon, b"", remote=f"{url}/missing")
        assert "404" in caught.value.message
    with pytest.raises(RequestError):
        build(daemon, b"", remote="odd://x")


def test_several_targets_and_names(daemon: Daemon) -> None:
    text = b"FROM scratch AS a\nLABEL s=a\nFROM scratch AS b\nLABEL s=b\n"
    build_id = begin(daemon, Empty=True, Dockerfile=text, Targets=["a", "b"])
    built = build(daemon, b"", build=build_id, t=["named:a", "named:b"])
    assert [one["Names"] for one in built.trace("result")["Images"]] == [["named:a"], ["named:b"]]
    assert config(daemon, "named:a")["Labels"] == {"s": "a"}
    assert config(daemon, "named:b")["Labels"] == {"s": "b"}


def cached(built: Built) -> int:
    return len([one for one in built.traces if one["Kind"] == "cached"])


def test_caches_go_elsewhere_and_come_back(daemon: Daemon, tmp_path: Path) -> None:
    text = f"FROM {IMAGE}\nRUN head -c 9 /dev/urandom > /r\nRUN echo two > /two\n".encode()
    descriptor, _ = directory(tmp_path)
    place = {"Type": "local", "Descriptor": descriptor}
    try:
        first = build(daemon, b"", build=begin(daemon, Empty=True, Dockerfile=text, CacheTo=[place]))
        assert (tmp_path / "index.json").exists()
        daemon.request("DELETE", f"/images/{first.id}")
        daemon.post("/build/prune?all=1")
        again = build(daemon, b"", build=begin(daemon, Empty=True, Dockerfile=text, CacheFrom=[place]))
        assert again.id == first.id
        assert cached(again) == 2
    finally:
        os.close(descriptor)
    inline = begin(daemon, Empty=True, Dockerfile=text, CacheTo=[{"Type": "inline"}])
    made = build(daemon, b"", build=inline, t="with-cache")
    daemon.post("/build/prune?all=1")
    other = build(daemon, {"Dockerfile": text}, cachefrom=["with-cache"])
    assert other.text.count("Using cache") == 2
    assert made.id != other.id  # the cache is in the config
    absent = build(daemon, {"Dockerfile": b"FROM scratch\n"}, cachefrom=["not-here"])
    assert "not-here" in absent.text


def test_prunes_choose(daemon: Daemon) -> None:
    for number in range(3):
        build(daemon, f"FROM {IMAGE}\nRUN head -c 100000 /dev/zero > /z{number}\n")
    everything = daemon.get("/system/df")["BuildCache"]
    assert daemon.get("/v1.41/system/df")["BuilderSize"] <= sum(one["Size"] for one in everything)
    one = everything[-1]["ID"]
    filters = quote(json.dumps({"id": {one: True}}))
    assert daemon.post(f"/build/prune?all=1&filters={filters}")["CachesDeleted"] == [one]
    assert daemon.post("/build/prune?all=1&keep-storage=100000000000")["CachesDeleted"] is None
    hour = quote(json.dumps({"until": {"1h": True}}))
    assert daemon.post(f"/build/prune?all=1&filters={hour}")["CachesDeleted"] is None
    for nonsense in ('{"odd":{"x":true}}', '{"until":{"odd":true}}', '{"until":{"1h":true,"2h":true}}'):
        with pytest.raises(RequestError) as caught:
            daemon.post(f"/build/prune?filters={quote(nonsense)}")
        assert caught.value.status == 400
    assert daemon.post("/build/prune?all=1")["CachesDeleted"]
    assert daemon.get("/system/df")["BuildCache"] == []


def test_the_end_of_the_daemon_ends_builds() -> None:
    for running in running_daemon("--shutdown-timeout", "1"):
        text = f"FROM {IMAGE}\nRUN echo started; sleep 300\n"
        connection, response = start(running, {"Dockerfile": text.encode()})
        seen = b""
        while b"started\\n" not in seen:
            seen += response.readline()
        begun = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - begun < 8
        connection.close()
        assert not os.listdir(f"{running.root}/containers")
        assert "Traceback" not in running.log()


def test_the_cache_is_kept_within_its_bound() -> None:
    for running in running_daemon("--builder-gc-keep-storage", "300k"):
        ids = []
        for number in range(5):
            built = build(running, f"FROM {IMAGE}\nRUN head -c 100000 /dev/zero > /z; echo {number} >> /z\n")
            ids.append(built.id)
            running.request("DELETE", f"/images/{built.id}")
        limit = time.monotonic() + 10
        # The last one was its image's, too, when the bound was looked at.
        while sum(one["Size"] for one in running.get("/system/df")["BuildCache"]) > 410_000:
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert running.get("/system/df")["BuildCache"]


def test_proxies_of_the_daemon_reach_run_and_nothing_else() -> None:
    for running in running_daemon("--http-proxy", "http://user:word@proxy.example:1"):
        built = build(running, f"FROM {IMAGE}\nRUN echo [$http_proxy]\n")
        assert "[http://user:word@proxy.example:1]\n" in built.text
        assert "proxy.example" not in json.dumps(running.get(f"/images/{built.id}/json"))
        assert "word" not in Path(f"{running.root}/db.sqlite-wal").read_bytes().decode("latin-1")
