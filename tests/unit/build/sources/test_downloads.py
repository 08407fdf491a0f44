"""ADD https://…: one question in a warm build, nothing in one with a checksum."""

from __future__ import annotations

import dataclasses
import email.utils
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.build.graph import Http, Vertex
from carboy.build.operation import Filesystem
from carboy.build.operations.http import HttpStep
from carboy.build.progress import Console
from carboy.build.session import EPOCH, Session
from carboy.errors import CarboyError, InvalidArgument, NotFound, Unavailable
from carboy.formats.tar import TarEntry, scan
from support.building import Told, Workplace
from support.webserver import Asked, Reply, WebServer

DATA = b"some data\n" * 1000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    workplace.close()


def step_of(session: Session, url: str, *, checksum: str = "", filename: str = "data") -> HttpStep:
    operation = Http(url=url, filename=filename, checksum=checksum)
    return HttpStep(Vertex(index=0, operation=operation, name="[1/1] ADD"), session)


def run(session: Session, step: HttpStep) -> tuple[str, Filesystem, dict[str, str]]:
    """(key, value, record) as the solver gets them."""
    ingredients = step.ingredients(())
    result = step.run((), Console(session.reporter, step._vertex, session.cancellation))
    assert isinstance(result.value, Filesystem)
    return ingredients.key(), result.value, dict(result.record)


def members(place: Workplace, value: Filesystem) -> list[tuple[TarEntry, bytes]]:
    descriptor = place.layers.open_tar(value.layers[0])
    try:
        return [
            (entry, os.pread(descriptor, entry.size, entry.data_offset))
            for entry in scan(lambda offset, size: os.pread(descriptor, size, offset))
        ]
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("length", [True, False])
def test_a_download_is_a_layer_with_one_file(server: WebServer, place: Workplace, length: bool) -> None:
    server.answers["/x/data"] = Reply(DATA, length=length, headers={"ETag": '"1"'})
    session = place.session()
    _, value, record = run(session, step_of(session, f"{server.url}/x/data"))
    [(entry, data)] = members(place, value)
    assert (entry.unsafe_path, entry.mode, entry.uid, entry.mtime) == (b"data", 0o600, 0, EPOCH)
    assert data == DATA
    assert record["content"] == DIGEST
    assert record["etag"] == '"1"'
    assert server.paths() == ["/x/data"]


def test_the_layer_does_not_depend_on_how_it_came(server: WebServer, place: Workplace) -> None:
    server.answers["/a"] = Reply(DATA)
    server.answers["/b"] = Reply(
        DATA, length=False, headers={"Last-Modified": "Mon, 01 Jan 2001 00:00:00 GMT"}
    )
    session = place.session()
    later = dataclasses.replace(session, epoch=EPOCH + 5)
    first = run(session, step_of(session, f"{server.url}/a"))
    assert first[1] == run(later, step_of(later, f"{server.url}/b"))[1]


def test_an_empty_file_is_one(server: WebServer, place: Workplace) -> None:
    server.answers["/a"] = Reply(b"")
    session = place.session()
    [(entry, _)] = members(place, run(session, step_of(session, f"{server.url}/a"))[1])
    assert entry.size == 0


@pytest.mark.parametrize("validator", ["etag", "weak", "modified"])
def test_a_warm_build_asks_once_and_downloads_nothing(
    server: WebServer, place: Workplace, validator: str
) -> None:
    then = email.utils.formatdate(time.time() - 3600, usegmt=True)
    headers = {"etag": {"ETag": '"one"'}, "weak": {"ETag": 'W/"one"'}, "modified": {"Last-Modified": then}}[
        validator
    ]

    def answer(asked: Asked) -> Reply:
        matches = asked.headers.get("if-none-match") == headers.get("ETag", "-")
        since = asked.headers.get("if-modified-since") == headers.get("Last-Modified", "-")
        return Reply(status=304, headers=headers) if matches or since else Reply(DATA, headers=headers)

    server.answers["/a"] = answer
    session = place.session()
    first = step_of(session, f"{server.url}/a").ingredients(())
    again = step_of(session, f"{server.url}/a").ingredients(())
    assert again.key() == first.key()
    assert [len(asked.headers) for asked in server.asked][1] > len(server.asked[0].headers)
    told = session.reporter
    assert isinstance(told, Told)
    assert sum("progress" in event for event, _ in told.events) == 1


def test_a_server_that_ignores_the_question_and_says_the_same_etag_is_not_read(
    server: WebServer, place: Workplace
) -> None:
    server.answers["/a"] = Reply(DATA, headers={"ETag": '"one"'})
    session = place.session()
    first = step_of(session, f"{server.url}/a").ingredients(())
    server.answers["/a"] = Reply(b"a lie", headers={"ETag": '"one"'})
    assert step_of(session, f"{server.url}/a").ingredients(()).key() == first.key()


def test_a_file_that_was_modified_this_second_is_fetched_again(server: WebServer, place: Workplace) -> None:
    now = email.utils.formatdate(time.time(), usegmt=True)
    server.answers["/a"] = Reply(DATA, headers={"Last-Modified": now})
    session = place.session()
    step_of(session, f"{server.url}/a").ingredients(())
    step_of(session, f"{server.url}/a").ingredients(())
    assert "if-modified-since" not in server.asked[1].headers


def test_a_changed_file_has_another_key(server: WebServer, place: Workplace) -> None:
    session = place.session()
    keys = set()
    for data in (b"one", b"two"):
        server.answers["/a"] = Reply(data, headers={"ETag": f'"{data.decode()}"'})
        key, value, _ = run(session, step_of(session, f"{server.url}/a"))
        keys.add(key)
        assert members(place, value)[0][1] == data
    assert len(keys) == 2
    assert len(server.asked) == 2


def test_a_result_that_is_gone_is_fetched_again(server: WebServer, place: Workplace) -> None:
    server.answers["/a"] = Reply(DATA, headers={"ETag": '"one"'})
    session = place.session()
    _, value, _ = run(session, step_of(session, f"{server.url}/a"))
    place.layers.remove(value.layers[0])
    assert run(session, step_of(session, f"{server.url}/a"))[1] == value


def test_with_a_checksum_nothing_is_asked_for_the_key(server: WebServer, place: Workplace) -> None:
    session = place.session()
    step = step_of(session, f"{server.url}/a", checksum=DIGEST)
    assert step.ingredients(()).values["content"] == DIGEST
    assert server.asked == []
    server.answers["/a"] = Reply(DATA)
    assert run(session, step)[2]["content"] == DIGEST


def test_a_wrong_checksum_is_refused_and_leaves_nothing(server: WebServer, place: Workplace) -> None:
    server.answers["/a"] = Reply(b"evil")
    session = place.session()
    with pytest.raises(InvalidArgument, match=f"digest mismatch sha256:[0-9a-f]{{64}}: expected: {DIGEST}"):
        run(session, step_of(session, f"{server.url}/a", checksum=DIGEST))
    assert place.layers.list() == []
    assert os.listdir(place.paths.ingest) == []


def test_other_kinds_of_checksums_are_told(place: Workplace) -> None:
    with pytest.raises(InvalidArgument, match="only sha256"):
        step_of(place.session(), "http://127.0.0.1:1/a", checksum="md5:abc").ingredients(())


def test_a_transfer_that_breaks_leaves_nothing(server: WebServer, place: Workplace) -> None:
    server.answers["/a"] = Reply(DATA, cut=100)
    with pytest.raises(Unavailable, match="ended after 100 of"):
        step_of(place.session(), f"{server.url}/a").ingredients(())
    assert place.layers.list() == []
    assert os.listdir(place.paths.ingest) == []


def test_a_file_that_changes_while_it_is_fetched_is_not_kept_under_the_old_key(
    server: WebServer, place: Workplace
) -> None:
    server.answers["/a"] = Reply(DATA, headers={"ETag": '"one"'})
    session = place.session()
    run(session, step_of(session, f"{server.url}/a"))
    step = step_of(session, f"{server.url}/a")
    step.ingredients(())
    server.answers["/a"] = Reply(b"changed", headers={"ETag": '"two"'})
    with pytest.raises(Unavailable, match="changed while it was fetched"):
        step.run((), Console(session.reporter, step._vertex, session.cancellation))


def test_what_is_missing_is_not_found(server: WebServer, place: Workplace) -> None:
    with pytest.raises(NotFound, match="invalid response status 404"):
        step_of(place.session(), f"{server.url}/nothing").ingredients(())


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\0b", ".wh.a", "x" * 256])
def test_names_that_no_file_can_have_are_refused(server: WebServer, place: Workplace, name: str) -> None:
    server.answers["/a"] = Reply(DATA)
    with pytest.raises(InvalidArgument, match="file name"):
        step_of(place.session(), f"{server.url}/a", filename=name).ingredients(())


def test_credentials_are_nowhere(server: WebServer, place: Workplace) -> None:
    """buildkit 2023-26054: not in the key, the record, the progress, the database."""
    server.answers["/a"] = Reply(status=302, headers={"Location": "/b?X-Signature=hunter3"})
    server.answers["/b"] = Reply(DATA, headers={"ETag": '"one"'})
    session = place.session()
    step = step_of(session, f"http://someone:hunter2@127.0.0.1:{server.port}/a")
    ingredients = step.ingredients(())
    _, _, record = run(session, step)
    told = session.reporter
    assert isinstance(told, Told)
    with place.database.read() as connection:
        rows = connection.execute("SELECT * FROM build_downloads").fetchall()
    shown = f"{ingredients} {record} {told.events} {rows}"
    for secret in ("hunter2", "hunter3", "someone"):
        assert secret not in shown
    assert server.asked[0].headers["authorization"].startswith("Basic ")


def test_a_server_may_not_fill_the_table(server: WebServer, place: Workplace) -> None:
    server.answers["/a"] = Reply(DATA, headers={"ETag": '"' + "x" * 5000 + '"'})
    session = place.session()
    step_of(session, f"{server.url}/a").ingredients(())
    with place.database.read() as connection:
        [(etag,)] = connection.execute("SELECT etag FROM build_downloads").fetchall()
    assert etag == ""


def test_errors_are_ours(place: Workplace) -> None:
    for url in ("http://127.0.0.1:1/", "http://[bad/", "http://host:99999/", "https://"):
        with pytest.raises(CarboyError):
            step_of(place.session(), url).ingredients(())
