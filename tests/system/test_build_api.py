"""`POST /build` and what is beside it, against a real daemon."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import tarfile
import threading
import time
from pathlib import Path

import pytest

from support.archives import Members, make_tar
from support.buildclient import begin, build, directory, query, start
from support.daemon import IMAGE, Daemon, RequestError, daemon, own_daemon

__all__ = ["daemon", "own_daemon"]

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(60)]


def inspect(daemon: Daemon, image: str) -> dict:  # type: ignore[type-arg]
    found: dict = daemon.get(f"/images/{image}/json")  # type: ignore[type-arg]
    return found


# Docker's own


def test_a_build_gives_a_tagged_image(daemon: Daemon) -> None:
    members: Members = {
        "Dockerfile": f"FROM {IMAGE}\nCOPY a /b\nRUN cat /b; echo done > /c\n".encode(),
        "a": b"data\n",
    }
    built = build(daemon, members, t=["first", "second:2"])
    assert "Step 1/3 : FROM" in built.text
    assert "data\n" in built.text
    assert f"Successfully built {built.id[7:19]}\n" in built.text
    assert "Successfully tagged first:latest\n" in built.text
    assert "Successfully tagged second:2\n" in built.text
    found = inspect(daemon, "second:2")
    assert found["Id"] == built.id
    assert sorted(found["RepoTags"]) == ["first:latest", "second:2"]
    assert daemon.shell("cat /b /c", Image=built.id) == "data\ndone\n"
    again = build(daemon, members)
    assert again.id == built.id
    assert again.text.count(" ---> Using cache\n") == 2


def test_thousands_of_arguments_fit_into_the_address(daemon: Daemon) -> None:
    """Servers in Go take a mebibyte of address and headers."""
    given = {f"ARGUMENT_{number}": "x" * 80 for number in range(6000)}
    built = build(daemon, f"FROM {IMAGE}\nARG ARGUMENT_5999\nLABEL found=$ARGUMENT_5999\n", buildargs=given)
    assert daemon.get(f"/images/{built.id}/json")["Config"]["Labels"] == {"found": "x" * 80}


def test_the_config_has_no_clock(daemon: Daemon) -> None:
    built = build(daemon, 'FROM scratch\nLABEL a=b\nCMD ["/x"]\nMAINTAINER me\n', labels={"c": "d"})
    found = inspect(daemon, built.id)
    assert found["Created"] == "1980-01-02T00:00:00Z"
    assert found["Config"]["Labels"] == {"a": "b", "c": "d"}
    assert found["Config"]["Cmd"] == ["/x"]
    assert found["Author"] == "me"
    assert found["Os"] == "linux"
    assert not found["DockerVersion"]
    assert found["RootFS"]["Layers"] == []
    epoch = build(daemon, "FROM scratch\n", buildargs={"SOURCE_DATE_EPOCH": "1000000000"})
    assert inspect(daemon, epoch.id)["Created"] == "2001-09-09T01:46:40Z"


@pytest.mark.parametrize(
    ("dockerfile", "words"),
    [
        ("FROM a\nRUNN x\n", "dockerfile parse error on line 2: unknown instruction: RUNN"),
        ("", "the Dockerfile cannot be empty"),
        ("RUN x\n", "line 1"),
    ],
)
def test_a_bad_dockerfile_is_a_bad_request(daemon: Daemon, dockerfile: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        build(daemon, {"Dockerfile": dockerfile.encode()})
    assert caught.value.status == 400
    assert words.lower() in caught.value.message.lower()


def test_a_failing_step_is_told_in_the_stream_with_its_exit_code(daemon: Daemon) -> None:
    built = build(daemon, f"FROM {IMAGE}\nRUN echo before; exit 7\n")
    assert "before\n" in built.text
    assert built.error == "The command '/bin/sh -c echo before; exit 7' returned a non-zero code: 7"
    assert built.code == 7
    quiet = build(daemon, f"FROM {IMAGE}\nRUN echo before; exit 7\n", q=1)
    assert "before\n" in quiet.text
    assert quiet.code == 7


def test_a_missing_image_is_told_in_the_stream(daemon: Daemon) -> None:
    built = build(daemon, "FROM nothing/here\n")
    assert built.error.startswith("pull access denied for nothing/here, repository does not exist or may")


def test_quiet_says_only_the_id(daemon: Daemon) -> None:
    built = build(daemon, f"FROM {IMAGE}\nRUN echo loud\n", q=1)
    assert built.text == f"{built.id}\n"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"squash": 1}, 501, "squash is not supported"),
        ({"version": 2, "session": "x"}, 501, "DOCKER_BUILDKIT=0"),
        ({"version": 7}, 400, "invalid version"),
        ({"buildargs": "{"}, 400, "invalid value of buildargs"),
        ({"labels": "[]"}, 400, "invalid value of labels"),
        ({"memory": "lots"}, 400, "invalid value of memory"),
        ({"t": "UPPER"}, 400, "invalid reference format"),
        ({"platform": "windows/amd64"}, 400, "windows"),
        ({"networkmode": "container:x"}, 501, "container"),
        ({"networkmode": "mine"}, 501, "mine"),
        ({"outputs": [{"Type": "odd"}]}, 400, "odd"),
        ({"outputs": [{"Type": "oci", "Attrs": {"compression": "lha"}}]}, 400, "lha"),
        ({"buildargs": {"SOURCE_DATE_EPOCH": "yesterday"}}, 400, "SOURCE_DATE_EPOCH"),
        ({"build": "../x"}, 400, "invalid build"),
        ({"build": "0" * 32}, 404, "No such build"),
        ({"target": "other"}, 400, "other"),
        ({"dockerfile": "../../etc/passwd"}, 400, "passwd"),
        ({"dockerfile": "missing"}, 404, "missing"),
    ],
)
def test_what_cannot_be_is_refused(
    daemon: Daemon, fields: dict[str, object], status: int, words: str
) -> None:
    with pytest.raises(RequestError) as caught:
        build(daemon, "FROM scratch\n", **fields)
    assert caught.value.status == status, caught.value.message
    assert words in caught.value.message


def test_an_empty_body_is_told(daemon: Daemon) -> None:
    with pytest.raises(RequestError) as caught:
        build(daemon, b"")
    assert caught.value.status == 400
    assert "empty" in caught.value.message


@pytest.mark.parametrize("damage", ["truncated", "noise", "whiteout", "escape"])
def test_hostile_contexts_are_refused(daemon: Daemon, damage: str) -> None:
    good = make_tar({"Dockerfile": b"FROM scratch\nCOPY . /\n", "a": bytes(100_000)})
    body = {
        "truncated": good[:20_000],
        "noise": gzip.compress(good)[:-20] + bytes(range(20)),
        "whiteout": make_tar({"Dockerfile": b"FROM scratch\nCOPY . /\n", ".wh.a": b""}),
        "escape": make_tar({"Dockerfile": b"FROM scratch\nCOPY x /\n", "x": ("->", "/etc/shadow")}),
    }[damage]
    if damage == "escape":
        assert "shadow" not in str(build(daemon, body).messages).replace("/etc/shadow", "")
        return
    with pytest.raises(RequestError) as caught:
        build(daemon, body)
    assert caught.value.status == 400


def test_contexts_may_be_compressed(daemon: Daemon) -> None:
    body = gzip.compress(make_tar({"Dockerfile": b"FROM scratch\nCOPY a /\n", "a": b"x"}))
    assert build(daemon, body).id


def test_arguments_limits_hosts_and_networks_reach_the_steps(daemon: Daemon) -> None:
    text = (
        f"FROM {IMAGE}\nARG A=1\nARG B=2\n"
        "RUN echo $A-$B; cat /etc/hosts; ulimit -n; ls /sys/class/net; true\n"
    )
    built = build(
        daemon,
        text,
        buildargs={"A": "x", "B": None, "UNUSED": "1"},
        extrahosts=["far:192.0.2.9"],
        ulimits=[{"Name": "nofile", "Soft": 77, "Hard": 99}],
        networkmode="none",
        memory=str(64 << 20),
        nocache=1,
    )
    assert "x-2\n" in built.text
    assert "192.0.2.9" in built.text
    assert "77\n" in built.text
    assert "eth0" not in built.text
    assert "UNUSED" in built.text
    assert "[Warning]" in built.text


def test_steps_are_told_in_order_although_they_run_at_once(daemon: Daemon) -> None:
    text = (
        f"FROM {IMAGE} AS one\nRUN sleep 0.4; echo from-one > /one; cat /one\n"
        f"FROM {IMAGE} AS two\nRUN echo from-two > /two; cat /two\n"
        "FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n"
    )
    built = build(daemon, text, nocache=1)
    assert 0 < built.text.index("from-one\n", built.text.index("Step 2/")) < built.text.rindex("from-two\n")


def test_proxies_enter_nothing(daemon: Daemon) -> None:
    text = f"FROM {IMAGE}\nRUN echo [$HTTP_PROXY] [$https_proxy]\n"
    built = build(daemon, text, buildargs={"HTTP_PROXY": "http://one:1", "https_proxy": "http://two:2"})
    assert "[http://one:1] [http://two:2]\n" in built.text
    without = build(daemon, text)
    assert without.id == built.id
    assert "Using cache" in without.text
    stored = json.dumps(inspect(daemon, built.id)) + json.dumps(daemon.get(f"/images/{built.id}/history"))
    assert "one:1" not in stored
    assert "two:2" not in stored


def test_events_tell_of_tags(daemon: Daemon) -> None:
    since = time.time()
    built = build(daemon, "FROM scratch\nLABEL event=1\n", t="evented")
    filters = '{"type":["image"]}'
    answer = daemon.request("GET", f"/events?since={since}&until={time.time()}&{query(filters=filters)}")
    actions = [json.loads(line) for line in answer.splitlines()]
    assert [(one["Action"], one["Actor"]["ID"]) for one in actions] == [("tag", built.id)]


# Ours


def test_a_directory_is_handed_over_and_traced(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY a /a\nRUN echo err >&2; cat /a\n")
    (tmp_path / "a").write_text("content\n")
    descriptor, context = directory(tmp_path)
    try:
        build_id = begin(daemon, Context=context, Explain=True)
        built = build(daemon, b"", build=build_id, t="handed")
    finally:
        os.close(descriptor)
    assert built.traces[0]["Kind"] == "vertices"
    names = [one["Name"] for one in built.traces[0]["Vertices"]]
    assert any("RUN echo err" in name for name in names)
    kinds = {one["Kind"] for one in built.traces}
    assert {"vertices", "started", "finished", "output", "result"} <= kinds
    assert not built.text
    result = built.trace("result")
    assert result["Images"][0]["Id"] == built.id
    assert result["Images"][0]["Names"] == ["handed:latest"]
    # The same as a tar: the same image.
    members: Members = {"Dockerfile": (tmp_path / "Dockerfile").read_bytes(), "a": b"content\n"}
    assert build(daemon, members).id == built.id


def test_a_failure_is_traced_with_its_lines(daemon: Daemon) -> None:
    build_id = begin(daemon, Empty=True, Dockerfile=f"FROM {IMAGE}\n# a\nRUN exit 3\nRUN true\n".encode())
    built = build(daemon, b"", build=build_id)
    failed = built.trace("failed")
    assert failed["Line"] == 3
    assert failed["ExitCode"] == 3
    assert "   3 | >>> RUN exit 3" in failed["Excerpt"]
    assert built.code == 3
    broken = build(daemon, b"", build=begin(daemon, Empty=True, Dockerfile=b"FROM a\nODD x\n"))
    assert broken.trace("failed")["Line"] == 2
    assert "unknown instruction" in broken.error


def test_named_contexts_secrets_and_tars_that_follow(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("of the directory\n")
    descriptor, other = directory(tmp_path)
    text = (
        f"FROM {IMAGE}\nCOPY --from=dir f /f\nCOPY --from=sent g /g\nCOPY h /h\n"
        "RUN --mount=type=secret,id=token cat /f /g /h /run/secrets/token\n"
    )
    try:
        build_id = begin(
            daemon,
            Context={"Kind": "archive"},
            Dockerfile=text.encode(),
            Contexts={"dir": other, "sent": {"Kind": "archive"}},
            Secrets={"token": b"hidden\n"},
        )
    finally:
        os.close(descriptor)
    daemon.request("PUT", f"/build/context?build={build_id}&name=sent", make_tar({"g": b"of the tar\n"}))
    daemon.request("PUT", f"/build/context?build={build_id}", make_tar({"h": b"of the main one\n"}))
    with pytest.raises(RequestError) as caught:
        daemon.request("PUT", f"/build/context?build={build_id}&name=sent", make_tar({}))
    assert caught.value.status == 409
    with pytest.raises(RequestError) as caught:
        daemon.request("PUT", f"/build/context?build={build_id}&name=other", make_tar({}))
    assert caught.value.status == 400
    built = build(daemon, b"", build=build_id)
    output = b"".join(_bytes(one["Data"]) for one in built.traces if one["Kind"] == "output")
    assert output == b"of the directory\nof the tar\nof the main one\nhidden\n"
    assert "hidden" not in json.dumps(inspect(daemon, built.id))
    with pytest.raises(RequestError) as caught:
        build(daemon, b"", build=build_id)
    assert caught.value.status == 404


def test_a_descriptor_of_another_user_or_kind_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    for context in ({"Kind": "odd"}, {"Kind": "archive"}, {"Kind": "directory"}):
        build_id = begin(daemon, Context=context, Dockerfile=b"FROM scratch\n")
        assert "the build context" in build(daemon, b"", build=build_id).error
    with pytest.raises(RequestError) as caught:
        begin(daemon, Context={"Kind": "directory", "Descriptor": 999})
    assert caught.value.status == 400
    file = os.open(tmp_path / "plain", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.raises(RequestError) as caught:
            begin(daemon, Context={"Kind": "directory", "Descriptor": file, "Path": "/x"})
        assert caught.value.status == 400
    finally:
        os.close(file)


def exported(daemon: Daemon, dockerfile: str, *outputs: dict[str, object], **fields: object) -> list[bytes]:
    build_id = begin(daemon, Empty=True, Dockerfile=dockerfile.encode(), Outputs=list(outputs))
    built = build(daemon, b"", build=build_id, **fields)
    assert not built.error, built.error
    told = built.trace("result")["Outputs"]
    assert [one["Type"] for one in told] == [one["Type"] for one in outputs]
    return [
        daemon.request("GET", f"/build/output?build={build_id}&index={index}")
        for index in range(len(outputs))
    ]


def test_tar_and_local_hold_the_files(daemon: Daemon) -> None:
    text = "FROM scratch\nCOPY <<EOF /dir/file\nhello\nEOF\nWORKDIR /made\nCOPY <<EOF /dir/other\nx\nEOF\n"
    flat, local = exported(daemon, text, {"Type": "tar"}, {"Type": "local"})
    assert flat == local
    with tarfile.open(fileobj=io.BytesIO(flat)) as tar:
        found = {one.name: one for one in tar}
        assert sorted(found) == ["dir", "dir/file", "dir/other", "made"]
        file = tar.extractfile("dir/file")
        assert file is not None
        assert file.read() == b"hello\n"
        # Directories that a layer only implies have no time of their own.
        assert {one.mtime for one in found.values()} <= {315_619_200, 0}
    assert [flat] == exported(daemon, text, {"Type": "tar"}, nocache=1)


def test_archives_can_be_loaded_again(daemon: Daemon) -> None:
    text = f"FROM {IMAGE}\nRUN echo archived > /a\n"
    outputs: list[dict[str, object]] = [
        {"Type": kind, "Attributes": {"name": f"arch:{kind}-{form}", "compression": form}}
        for kind in ("oci", "docker")
        for form in ("uncompressed", "gzip", "zstd")
    ]
    archives = exported(daemon, text, *outputs)
    assert archives == exported(daemon, text, *outputs)
    image_id = build(daemon, text).id
    for output, archive in zip(outputs, archives, strict=True):
        name = output["Attributes"]["name"]  # type: ignore[index]
        assert f"Loaded image: {name}" in daemon.request("POST", "/images/load", archive).decode()
        assert inspect(daemon, name)["Id"] == image_id
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            has_manifest = "manifest.json" in tar.getnames()
        assert has_manifest == (output["Type"] == "docker")


def test_an_output_is_there_once(daemon: Daemon) -> None:
    build_id = begin(daemon, Empty=True, Dockerfile=b"FROM scratch\n", Outputs=[{"Type": "tar"}])
    build(daemon, b"", build=build_id)
    path = f"/build/output?build={build_id}"
    assert daemon.request("GET", path)
    for index in (0, 1):
        with pytest.raises(RequestError) as caught:
            daemon.request("GET", f"{path}&index={index}")
        assert caught.value.status == 404


# Ends


def slow() -> Members:
    return {"Dockerfile": f"FROM {IMAGE}\nRUN echo started; sleep 300\n".encode()}


def until_started(response: object) -> None:
    seen = b""
    while b"started\\n" not in seen:
        seen += response.readline()  # type: ignore[attr-defined]


def wait_for_none(daemon: Daemon) -> None:
    limit = time.monotonic() + 10
    names: list[str] = []
    while time.monotonic() < limit:
        folders = (f"{daemon.root}/containers", f"{daemon.run}/containers", f"{daemon.root}/ingest")
        names = [name for folder in folders for name in os.listdir(folder)]
        if not names:
            return
        time.sleep(0.02)
    raise AssertionError(f"still there: {names}")


def test_a_client_that_goes_ends_its_build(daemon: Daemon) -> None:
    connection, response = start(daemon, slow(), nocache=1)
    until_started(response)
    response.close()
    connection.close()
    wait_for_none(daemon)


def test_a_build_can_be_cancelled(daemon: Daemon) -> None:
    connection, response = start(daemon, slow(), nocache=1, buildid="mine")
    until_started(response)
    with pytest.raises(RequestError) as caught:
        build(daemon, "FROM scratch\n", buildid="mine")
    assert caught.value.status == 409
    daemon.request("POST", "/build/cancel?id=mine")
    assert "cancelled" in json.loads(response.read().splitlines()[-1])["error"]
    connection.close()
    wait_for_none(daemon)
    daemon.request("POST", "/build/cancel?id=mine")


def test_a_client_that_goes_while_it_sends_leaves_nothing(daemon: Daemon) -> None:
    before = len(daemon.descriptors())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(daemon.socket)
        client.sendall(b"POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(5000))
        time.sleep(0.1)
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        if len(daemon.descriptors()) <= before:
            break
        time.sleep(0.02)
    else:
        raise AssertionError("descriptors are left open")
    assert not os.listdir(f"{daemon.root}/ingest")


def test_builds_run_at_once_and_share_what_is_the_same(daemon: Daemon) -> None:
    text = f"FROM {IMAGE}\nRUN sleep 0.3; head -c 8 /dev/urandom > /r\n"
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(build(daemon, text).id)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1


@pytest.mark.parametrize("when", [0.0, 0.15, 0.5])
def test_a_killed_daemon_leaves_nothing_behind(own_daemon: Daemon, when: float) -> None:
    daemon = own_daemon
    text = f"FROM {IMAGE}\nRUN head -c 3000000 /dev/zero > /z; echo started; sleep 0.2\nRUN sleep 300\n"
    connection, response = start(daemon, {"Dockerfile": text.encode()})
    if when:
        until_started(response)
    time.sleep(when)
    daemon.kill()
    connection.close()
    daemon.start()
    wait_for_none(daemon)
    built = build(daemon, text.replace("RUN sleep 300", "RUN echo end"), t="after")
    assert daemon.shell("stat -c %s /z", Image=built.id) == "3000000\n"


# The cache


def test_the_cache_is_listed_and_pruned(own_daemon: Daemon) -> None:
    daemon = own_daemon
    text = f"FROM {IMAGE}\nRUN head -c 100000 /dev/zero > /a\nRUN echo b > /b\n"
    image_id = build(daemon, text).id
    cache = daemon.get("/system/df")["BuildCache"]
    assert len(cache) >= 2
    assert sum(one["Size"] for one in cache) > 100_000
    daemon.request("DELETE", f"/images/{image_id}")
    layers = len(os.listdir(f"{daemon.root}/layers/sha256"))
    pruned = daemon.post("/build/prune?all=1")
    assert len(pruned["CachesDeleted"]) == len(cache)
    assert pruned["SpaceReclaimed"] > 100_000
    assert len(os.listdir(f"{daemon.root}/layers/sha256")) == layers - 2
    assert daemon.get("/system/df")["BuildCache"] == []
    assert "Using cache" not in build(daemon, text).text


def test_layers_of_sent_contexts_are_collected(own_daemon: Daemon) -> None:
    daemon = own_daemon
    before = set(os.listdir(f"{daemon.root}/layers/sha256"))
    build(daemon, {"Dockerfile": b"FROM scratch\nLABEL a=b\n", "data": bytes(100_000)})
    assert set(os.listdir(f"{daemon.root}/layers/sha256")) == before


def _bytes(text: str) -> bytes:
    import base64

    return base64.b64decode(text)
