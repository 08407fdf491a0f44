"""The content store: resumable, verified, whole or nothing."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from carboy.digest import Digest
from carboy.errors import Corrupt, InvalidArgument, NotFound, Unavailable
from carboy.store.content import ContentStore


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    (tmp_path / "ingest").mkdir()
    return ContentStore(str(tmp_path / "blobs"), str(tmp_path / "ingest"))


def test_put_and_read(store: ContentStore) -> None:
    blob = store.put(b"hello")
    assert blob.digest == Digest.of(b"hello")
    assert store.read(blob.digest) == b"hello"
    assert [(found.digest, found.size) for found in store.walk()] == [(blob.digest, 5)]
    assert store.put(b"hello") == blob


def test_nothing_is_left_in_ingest(store: ContentStore, tmp_path: Path) -> None:
    store.put(b"hello")
    assert list((tmp_path / "ingest").iterdir()) == []


def test_an_ingest_continues_where_it_ended(store: ContentStore) -> None:
    with store.ingest("layer") as ingest:
        ingest.write(b"first ")
    with store.ingest("layer") as ingest:
        assert ingest.offset == 6
        ingest.write(b"second")
        blob = ingest.commit(expected=Digest.of(b"first second"), size=12)
    assert store.read(blob.digest) == b"first second"


def test_a_sender_that_cannot_continue_restarts(store: ContentStore) -> None:
    with store.ingest("layer") as ingest:
        ingest.write(b"first ")
    with store.ingest("layer") as ingest:
        ingest.restart()
        assert ingest.offset == 0
        ingest.write(b"x")
        assert ingest.commit().digest == Digest.of(b"x")


def test_wrong_bytes_are_discarded(store: ContentStore, tmp_path: Path) -> None:
    with store.ingest("a") as ingest, pytest.raises(Corrupt, match="not the expected"):
        ingest.write(b"evil")
        ingest.commit(expected=Digest.of(b"good"))
    with store.ingest("a") as ingest, pytest.raises(Corrupt, match="4 bytes, not the 5"):
        ingest.write(b"evil")
        ingest.commit(size=5)
    assert list(store.walk()) == []
    assert list((tmp_path / "ingest").iterdir()) == []


def test_two_cannot_receive_the_same_ref(store: ContentStore) -> None:
    with store.ingest("a"), pytest.raises(Unavailable, match="received already"):
        store.ingest("a")
    store.ingest("a").close()


def test_a_hostile_ref_stays_inside(store: ContentStore, tmp_path: Path) -> None:
    with store.ingest("../../../etc/passwd\0") as ingest:
        ingest.write(b"x")
    assert [path.name[:8] for path in (tmp_path / "ingest").iterdir()] == ["content-"]


def test_concurrent_ingests_of_one_digest_agree(store: ContentStore, tmp_path: Path) -> None:
    data = os.urandom(1 << 16)
    errors: list[BaseException] = []

    def receive(number: int) -> None:
        try:
            with store.ingest(f"ref{number}") as ingest:
                ingest.write(data)
                ingest.commit(expected=Digest.of(data))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=receive, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.read(Digest.of(data)) == data
    assert list((tmp_path / "ingest").iterdir()) == []


def test_damage_on_the_disk_is_seen(store: ContentStore) -> None:
    blob = store.put(b"hello")
    Path(store.path(blob.digest)).write_bytes(b"jello")
    with pytest.raises(Corrupt, match="damaged"):
        store.read(blob.digest)


def test_a_blob_too_large_is_not_read(store: ContentStore) -> None:
    blob = store.put(b"x" * 100)
    with pytest.raises(InvalidArgument, match="more than 10"):
        store.read(blob.digest, limit=10)


def test_delete_says_what_it_freed(store: ContentStore) -> None:
    blob = store.put(b"hello")
    assert store.delete(blob.digest) == 5
    assert store.delete(blob.digest) == 0
    with pytest.raises(NotFound):
        store.open(blob.digest)


def test_sweep_leaves_what_is_being_written(store: ContentStore, tmp_path: Path) -> None:
    (tmp_path / "ingest" / "somebody-elses").mkdir()
    with store.ingest("dead") as ingest:
        ingest.write(b"x")
    with store.ingest("alive") as ingest:
        ingest.write(b"y")
        store.sweep()
        assert len(list((tmp_path / "ingest").iterdir())) == 2
        ingest.commit()
    assert [path.name for path in (tmp_path / "ingest").iterdir()] == ["somebody-elses"]


_CHILD = """
import os, signal, sys
from carboy.store.content import ContentStore
steps = int(sys.argv[3])
def trace(event, arguments):
    global steps
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"):
        steps -= 1
        if steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)
store = ContentStore(sys.argv[1], sys.argv[2])
sys.addaudithook(trace)
with store.ingest("r") as ingest:
    if ingest.offset == 0:
        ingest.write(b"a" * 100000)
    ingest.write(b"b" * (200000 - ingest.offset))
    ingest.commit(size=200000)
"""


def test_killed_at_any_step_it_is_whole_or_not_there(tmp_path: Path) -> None:
    expected = Digest.of(b"a" * 100000 + b"b" * 100000)
    for step in range(40):
        root = tmp_path / str(step)
        (root / "ingest").mkdir(parents=True)
        arguments = [
            sys.executable, "-c", _CHILD, str(root / "blobs"), str(root / "ingest"), str(step)
        ]  # fmt: skip
        pid = os.posix_spawn(sys.executable, arguments, {**os.environ, "PYTHONPATH": ":".join(sys.path)})
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        store = ContentStore(str(root / "blobs"), str(root / "ingest"))
        names = [blob.digest for blob in store.walk()]
        assert names in ([], [expected])
        if names:
            assert len(store.read(expected)) == 200000
        store.sweep()
        assert list((root / "ingest").iterdir()) == []
        if status == 0:
            assert names == [expected]
            assert step > 5
            return
        assert status == -signal.SIGKILL
    raise AssertionError("the child never came to its end")
