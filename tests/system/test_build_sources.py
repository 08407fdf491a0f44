"""Downloads, repositories and remote contexts in real builds."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archives import make_tar
from support.buildclient import build
from support.commands import Home, home
from support.daemon import IMAGE, Daemon, RequestError, daemon
from support.gitserver import TIME, GitServer, Repository
from support.webserver import Asked, Reply, WebServer

__all__ = ["daemon", "home"]

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(60)]

DATA = b"downloaded\n"
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


def repository() -> tuple[Repository, str]:
    made = Repository()
    commit = made.commit(
        {
            "Dockerfile": f"FROM {IMAGE}\nCOPY . /src\n".encode(),
            "app/Dockerfile": f"FROM {IMAGE}\nCOPY . /app\n".encode(),
            "app/run": (0o100755, b"#!/bin/sh\necho from git\n"),
            "link": ("link", "app/run"),
        }
    )
    made.tag("v1", commit)
    return made, commit


def test_add_of_an_address(daemon: Daemon, web: WebServer) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.headers.get("if-none-match") == '"1"':
            return Reply(status=304)
        return Reply(DATA, headers={"ETag": '"1"'})

    web.answers["/some/data.txt"] = answer
    text = f"FROM {IMAGE}\nADD {web.url}/some/data.txt /d/\nADD --chmod=644 {web.url}/some/data.txt /e\n"
    built = build(daemon, text)
    assert daemon.shell("cat /d/data.txt; stat -c '%a %u %Y' /d/data.txt /e", Image=built.id) == (
        "downloaded\n600 0 315619200\n644 0 315619200\n"
    )
    full = len([asked for asked in web.asked if "if-none-match" not in asked.headers])
    again = build(daemon, text)
    assert again.id == built.id
    assert len([asked for asked in web.asked if "if-none-match" not in asked.headers]) == full
    # Another time for everything, and still nothing is fetched.
    build(daemon, text, buildargs={"SOURCE_DATE_EPOCH": "1000000000"})
    assert len([asked for asked in web.asked if "if-none-match" not in asked.headers]) == full


def test_names_of_addresses_are_no_patterns(daemon: Daemon, web: WebServer) -> None:
    names = {"data[1].txt": "data%5B1%5D.txt", "*": "%2A", "a?b": "a%3Fb", "back\\slash": "back%5Cslash"}
    for escaped in names.values():
        web.answers[f"/{escaped}"] = Reply(DATA)
    addresses = " ".join(f"{web.url}/{escaped}" for escaped in names.values())
    built = build(daemon, f"FROM {IMAGE}\nADD {addresses} /d/\n")
    assert built.error == ""
    assert daemon.shell("ls /d", Image=built.id).split() == sorted(names)


def test_add_with_a_checksum_asks_nobody_when_it_is_cached(daemon: Daemon, web: WebServer) -> None:
    web.answers["/data"] = Reply(DATA)
    good = f"FROM scratch\nADD --checksum={DIGEST} {web.url}/data /\n"
    first = build(daemon, good)
    asked = len(web.asked)
    assert asked == 1
    assert build(daemon, good).id == first.id
    assert len(web.asked) == asked
    bad = build(daemon, f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {web.url}/data /\n")
    assert "digest mismatch" in bad.error


def test_add_of_what_is_missing_is_a_clear_error(daemon: Daemon, web: WebServer) -> None:
    url = web.url.replace("http://", "http://me:hunter2@")
    built = build(daemon, f"FROM scratch\nADD {url}/none /\n")
    assert "invalid response status 404" in built.error
    assert "hunter2" not in str(built.messages)


def test_credentials_enter_no_image(daemon: Daemon, web: WebServer) -> None:
    """buildkit 2023-26054."""
    web.answers["/data"] = Reply(DATA)
    url = web.url.replace("http://", "http://someone:hunter2@")
    built = build(daemon, f"FROM scratch\nADD {url}/data /\n")
    history = daemon.get(f"/images/{built.id}/history")
    found = daemon.get(f"/images/{built.id}/json")
    assert "hunter2" not in f"{history} {found} {built.messages}"
    broken = build(daemon, f"FROM scratch\nADD {url}/data /\nRUN false\nADD {url}/none /\n")
    assert broken.error
    assert "hunter2" not in str(broken.messages)
    with sqlite3.connect(f"file:{daemon.root}/db.sqlite?mode=ro", uri=True) as database:
        dump = "\n".join(database.iterdump())
    database.close()
    # Documents are blobs, and those are dumped in hexadecimal.
    assert b"FROM scratch".hex().upper() in dump.upper()
    assert b"hunter2".hex().upper() not in dump.upper()
    assert "hunter2" not in dump


def test_add_of_a_repository(daemon: Daemon) -> None:
    made, commit = repository()
    with GitServer({"p.git": made}) as server:
        text = (
            f"FROM {IMAGE}\nADD {server.url}/p.git#v1 /all\nADD {server.url}/p.git#{commit}:app /app\n"
            f"ADD --keep-git-dir=true {server.url}/p.git /kept\n"
        )
        built = build(daemon, text)
        assert daemon.shell("/app/run; /all/link; ls /app; cat /kept/.git/HEAD", Image=built.id) == (
            f"from git\nfrom git\nDockerfile\nrun\n{commit}\n"
        )
        assert build(daemon, text).id == built.id
        made.commit({"app/run": b"another"})
        assert build(daemon, text).id != built.id
        escaped = build(daemon, f"FROM scratch\nADD {server.url}/p.git#v1:link /\n")
        assert "symbolic link" in escaped.error


def test_a_repository_as_the_context(daemon: Daemon) -> None:
    made, _ = repository()
    with GitServer({"p.git": made}) as server:
        built = build(daemon, remote=f"{server.url}/p.git#v1")
        below = build(daemon, remote=f"{server.git_url}/p.git#v1:app")
        for bad in ("#nothing", "#v1:../..", "#v1:nothing"):
            with pytest.raises(RequestError) as caught:
                raise_error(build(daemon, remote=f"{server.url}/p.git{bad}").error)
            assert caught.value.message
    assert daemon.shell("stat -c %Y /src/Dockerfile; /src/link", Image=built.id) == f"{TIME}\nfrom git\n"
    assert daemon.get(f"/images/{built.id}/json")["Created"].startswith("2023-11-14T22:13:20")
    assert daemon.shell("/app/run", Image=below.id) == "from git\n"


def raise_error(message: str) -> None:
    """A failure of either kind: before the stream, or in it."""
    if message:
        raise RequestError(400, message.encode())


def test_an_address_as_the_context(daemon: Daemon, web: WebServer) -> None:
    web.answers["/c.tar"] = Reply(make_tar({"Dockerfile": f"FROM {IMAGE}\nCOPY a /\n".encode(), "a": b"a\n"}))
    web.answers["/Dockerfile"] = Reply(f"FROM {IMAGE}\nRUN echo lone > /x\n".encode())
    assert daemon.shell("cat /a", Image=build(daemon, remote=f"{web.url}/c.tar").id) == "a\n"
    assert daemon.shell("cat /x", Image=build(daemon, remote=f"{web.url}/Dockerfile").id) == "lone\n"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git, to make work trees with")
def test_a_clean_work_tree_gives_the_build_its_time(home: Home, tmp_path: Path) -> None:
    context = tmp_path / "c"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /\n")
    (context / "a").write_text("a\n")
    date = "1700000000 +0000"
    who = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **who, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", *arguments], cwd=context, check=True, env=environment)
    created = ["image", "inspect", "-f", "{{.Created}}"]
    clean = home.text("build", "-q", str(context)).strip()
    assert home.text(*created, clean).strip() == "2023-11-14T22:13:20Z"
    copy = tmp_path / "copy"
    shutil.copytree(context, copy)
    assert home.text("build", "-q", str(copy)).strip() == clean
    (context / "a").write_text("b\n")
    dirty = home.text("build", "-q", str(context)).strip()
    assert home.text(*created, dirty).strip() == "1980-01-02T00:00:00Z"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git, for its server")
def test_the_real_git_server(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "base" / "p.git"
    source.mkdir(parents=True)
    (source / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    text = "".join(f"line {number}\n" for number in range(20_000))
    for number in range(10):
        (source / f"f{number}").write_text(text + str(number))
    who = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["tag", "-am", "t", "v1"]):
        subprocess.run(["git", *arguments], cwd=source, check=True, env={**os.environ, **who})
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=source, check=True, capture_output=True, text=True
    )
    (source / "Dockerfile").write_text("FROM scratch\n")
    subprocess.run(["git", "commit", "-qam", "y"], cwd=source, check=True, env={**os.environ, **who})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = subprocess.Popen(
        [
            "git",
            "daemon",
            "--export-all",
            "--reuseaddr",
            "--listen=127.0.0.1",
            f"--port={port}",
            "--verbose",
            f"--base-path={tmp_path}/base",
            f"{tmp_path}/base",
        ],
        stderr=subprocess.PIPE,
    )
    try:
        assert server.stderr is not None
        while b"Ready to rumble" not in server.stderr.readline():
            pass
        url = f"git://127.0.0.1:{port}/p.git"
        commit = head.stdout.strip()
        ids = {home.text("build", "-q", f"{url}#{ref}").strip() for ref in ("v1", commit, commit[:10])}
        assert len(ids) == 1
        assert home.text("build", "-q", url).strip() not in ids
    finally:
        server.terminate()
        server.communicate()
