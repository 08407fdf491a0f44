"""The build cache on a real daemon: sound after any death, shared by builds, handed on, explained."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.archives import Members
from support.buildclient import Built, begin, build, directory, start
from support.daemon import IMAGE, Daemon, daemon, own_daemon

__all__ = ["daemon", "own_daemon"]

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(90)]


def built_with(daemon: Daemon, text: str, files: dict[str, bytes] | None = None, **options: Any) -> Built:
    """A build through `begin`, so that it may have all options."""
    members: Members = {"Dockerfile": text.encode(), **(files or {})}
    return build(daemon, members, build=begin(daemon, **options))


def cached(built: Built) -> list[str]:
    """The steps that were not run."""
    names = names_of(built)
    return [names[one["Vertex"]] for one in built.traces if one["Kind"] == "cached"]


def reasons(built: Built) -> dict[str, list[str]]:
    """Why, by step."""
    names = names_of(built)
    return {names[one["Vertex"]]: one["Reasons"] for one in built.traces if one["Kind"] == "explained"}


def names_of(built: Built) -> dict[int, str]:
    return {one["Index"]: one["Name"] for one in built.trace("vertices")["Vertices"]}


@contextmanager
def handed(path: Path) -> Iterator[dict[str, Any]]:
    descriptor, context = directory(path)
    try:
        yield {"Type": "local", "Descriptor": context["Descriptor"], "Attributes": {"mode": "max"}}
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("messages", [3, 6, 9, 12])
def test_whenever_the_daemon_is_killed_what_was_done_is_not_done_again(
    own_daemon: Daemon, messages: int
) -> None:
    daemon = own_daemon
    steps = [f"RUN head -c 200000 /dev/urandom > /f{number} && echo made {number}\n" for number in range(5)]
    text = f"FROM {IMAGE}\n" + "".join(steps)
    connection, response = start(daemon, {"Dockerfile": text.encode()})
    read = b""
    for _ in range(messages):
        read += response.readline()
    daemon.kill()
    connection.close()
    daemon.start()
    done = read.count(b" ---> ") and sum(f"made {number}\\n".encode() in read for number in range(5))
    again = build(daemon, text)
    # What was told as made may be in the middle of being kept: all but the last is there.
    assert again.text.count(" ---> Using cache\n") >= done - 1
    assert build(daemon, text).id == again.id
    layers = daemon.get(f"/images/{again.id}/json")["RootFS"]["Layers"]
    for layer in layers:
        tar = Path(daemon.root, "layers/sha256", layer[7:], "layer.tar").read_bytes()
        assert hashlib.sha256(tar).hexdigest() == layer[7:]


def test_the_second_does_it_when_the_client_of_the_first_goes(daemon: Daemon) -> None:
    text = f"FROM {IMAGE}\nRUN echo begun; sleep 1; head -c 8 /dev/urandom > /gone\n"
    connection, response = start(daemon, {"Dockerfile": text.encode()})
    while b"begun" not in response.readline():
        pass
    built: list[Built] = []
    thread = threading.Thread(target=lambda: built.append(build(daemon, text)))
    thread.start()
    time.sleep(0.3)  # it waits for the first by now; when it does not yet, the test is only easier
    response.close()
    connection.close()
    thread.join(60)
    assert built[0].id


def test_a_removed_image_can_be_had_again_from_the_cache(daemon: Daemon) -> None:
    text = f"FROM {IMAGE}\nRUN head -c 8 /dev/urandom > /again\n"
    image_id = build(daemon, text).id
    daemon.request("DELETE", f"/images/{image_id}")
    assert build(daemon, text).id == image_id


def test_the_history_of_an_image_gives_nobody_a_cache(daemon: Daemon) -> None:
    """moby 2024-24557: an image with the same history, but other bytes, is no cached step."""
    text = f"FROM {IMAGE}\nRUN echo honest > /honest\n"
    honest = build(daemon, text)
    container = daemon.create("sh", "-c", "echo poison > /honest")
    daemon.post(f"/containers/{container}/start")
    daemon.wait(container)
    daemon.post(
        f"/commit?container={container}&repo=poison&changes=&comment=RUN+echo+honest+%3E+%2Fhonest", {}
    )
    daemon.post("/build/prune?all=1")
    again = build(daemon, text, cachefrom=["poison"])
    assert again.id == honest.id
    assert daemon.shell("cat /honest", Image=again.id) == "honest\n"


def test_cache_mounts_stay_are_listed_and_pruned(own_daemon: Daemon) -> None:
    daemon = own_daemon
    mount = "--mount=type=cache,target=/c,id=../../../../tmp/evil"
    build(daemon, f"FROM {IMAGE}\nRUN {mount} head -c 100000 /dev/zero > /c/kept\n")
    second = build(daemon, f"FROM {IMAGE}\nRUN {mount} stat -c %s /c/kept\n")
    assert "100000\n" in second.text
    (found,) = [one for one in daemon.get("/system/df")["BuildCache"] if one["Type"] == "exec.cachemount"]
    assert found["Size"] == 100_000
    assert "../../../../tmp/evil" in found["Description"]
    assert [len(name) for name in os.listdir(f"{daemon.root}/cache/mounts")] == [64]
    filters = json.dumps({"type": ["exec.cachemount"]}).replace('"', "%22").replace(" ", "")
    pruned = daemon.post(f"/build/prune?filters={filters}")
    assert pruned == {"CachesDeleted": [found["ID"]], "SpaceReclaimed": 100_000}
    assert os.listdir(f"{daemon.root}/cache/mounts") == []


def test_explanations(daemon: Daemon) -> None:
    text = f"FROM {IMAGE}\nARG VERSION=1\nCOPY . /src\nRUN echo explained $VERSION > /v\n"
    options = {"Explain": True}
    first = reasons(built_with(daemon, text, {"a": b"1", "b": b"1"}, **options))
    assert {tuple(why) for why in first.values()} == {("not cached: never built here",)}
    second = reasons(built_with(daemon, text, {"a": b"1", "b": b"1"}, **options))
    assert all(why[0].startswith("cached: nothing it depends on changed") for why in second.values())
    third = reasons(built_with(daemon, text, {"a": b"1", "b": b"2", "c": b""}, **options))
    copy = next(name for name in third if "COPY" in name)
    run = next(name for name in third if "RUN" in name)
    assert third[copy] == ["b changed", "c added"]
    assert third[run] == [f"base changed: {copy} above it gave another layer"]
    fourth = reasons(
        built_with(daemon, text.replace("=1", "=2"), {"a": b"1", "b": b"2", "c": b""}, **options)
    )
    assert "variable VERSION: 1 → 2" in fourth[next(name for name in fourth if "RUN" in name)]


def test_secrets_are_in_no_key_and_no_explanation(daemon: Daemon) -> None:
    text = f"FROM {IMAGE}\nRUN --mount=type=secret,id=pip wc -c < /run/secrets/pip > /n\n"
    one = built_with(daemon, text, Secrets={"pip": b"hunter2-one"}, Explain=True)
    two = built_with(daemon, text, Secrets={"pip": b"hunter2-two-other"}, Explain=True)
    assert len(cached(two)) == 1
    assert "hunter2" not in json.dumps([one.messages, two.messages])
    with sqlite3.connect(f"{daemon.root}/db.sqlite") as connection:
        dump = "\n".join(str(row) for table in tables(connection) for row in rows(connection, table))
    connection.close()
    assert "hunter2" not in dump


def tables(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]


def rows(connection: sqlite3.Connection, table: str) -> list[Any]:
    found = connection.execute(f"SELECT * FROM {table}").fetchall()
    if table == "build_ingredients":
        return [(key, zlib.decompress(document)) for key, document in found]
    return found


def test_a_directory_hands_the_cache_on(daemon: Daemon, own_daemon: Daemon, tmp_path: Path) -> None:
    text = f"FROM {IMAGE}\nRUN head -c 8 /dev/urandom > /random\nRUN true\nRUN echo > /b\n"
    with handed(tmp_path) as place:
        one = built_with(daemon, text, CacheTo=[place])
    with handed(tmp_path) as place:
        two = built_with(own_daemon, text, CacheFrom=[place])
    assert len(cached(two)) == 3
    assert two.id == one.id
    # Who does not name the directory does not believe what is in it.
    assert cached(built_with(own_daemon, text)) == []


def test_a_directory_that_is_no_cache_is_a_warning(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"manifests": [[[[')
    with handed(tmp_path) as place:
        built = built_with(daemon, f"FROM {IMAGE}\nRUN echo > /warned\n", CacheFrom=[place])
    assert built.id
    assert "no build cache that can be read" in json.dumps(built.messages)


def test_an_image_hands_the_cache_on(own_daemon: Daemon) -> None:
    daemon = own_daemon
    text = f"FROM {IMAGE}\nRUN head -c 8 /dev/urandom > /inline\n"
    members: Members = {"Dockerfile": text.encode()}
    inline = [{"Type": "inline"}]
    one = build(daemon, members, build=begin(daemon, CacheTo=inline), t="with-cache")
    assert build(daemon, members, build=begin(daemon, CacheTo=inline)).id == one.id
    daemon.post("/build/prune?all=1")
    two = built_with(daemon, text, CacheFrom=[{"Type": "inline", "Attributes": {"ref": "with-cache"}}])
    assert len(cached(two)) == 1


def test_builds_are_recorded(own_daemon: Daemon) -> None:
    daemon = own_daemon
    text = f"FROM {IMAGE}\nCOPY a /a\nRUN cat /a\n"
    built = build(daemon, {"Dockerfile": text.encode(), "a": b"x"}, buildargs={"TOKEN": "hunter2"})
    record: dict[str, Any] = {}
    for _ in range(100):
        with sqlite3.connect(f"{daemon.root}/db.sqlite") as connection:
            found = connection.execute("SELECT document FROM build_records").fetchall()
        connection.close()
        if found:
            record = json.loads(found[0][0])
            break
        time.sleep(0.05)
    assert record["status"] == "succeeded"
    assert record["images"][0]["id"] == built.id
    assert record["bases"][0]["reference"].endswith(IMAGE)
    assert [step["operation"] for step in record["steps"]].count("Run") == 1
    assert all(step["key"].startswith("sha256:") for step in record["steps"] if step["operation"] == "Run")
    assert "hunter2" not in json.dumps(record)
