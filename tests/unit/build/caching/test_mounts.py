"""Cache mounts: who gets which directory, who waits, and that an id is no path."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.build.caching.mounts import CacheMounts, HeldMount
from carboy.build.progress import Cancellation
from carboy.errors import Cancelled, InvalidArgument
from carboy.store.metadata import Database
from carboy.store.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(str(tmp_path / "root"), str(tmp_path / "run"))
    paths.create()
    return paths


@pytest.fixture
def database(paths: Paths) -> Iterator[Database]:
    database = Database(paths.db)
    yield database
    database.close()


@pytest.fixture
def mounts(paths: Paths, database: Database) -> CacheMounts:
    return CacheMounts(paths, database)


def acquire(mounts: CacheMounts, unsafe_id: str, sharing: str) -> HeldMount:
    return mounts.acquire_all([(unsafe_id, sharing)], Cancellation())[0]


def take(mounts: CacheMounts, unsafe_id: str = "pip", sharing: str = "shared") -> HeldMount:
    held = acquire(mounts, unsafe_id, sharing)
    held.filled()
    return held


class Waiting:
    """Somebody who takes a mount in a thread of its own."""

    def __init__(self, mounts: CacheMounts, unsafe_id: str, sharing: str) -> None:
        self.cancellation = Cancellation()
        self.held: HeldMount | None = None
        self.error: Exception | None = None
        self._mounts = mounts
        self._wanted = (unsafe_id, sharing)
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        try:
            (self.held,) = self._mounts.acquire_all([self._wanted], self.cancellation)
        except Exception as error:
            self.error = error

    def waits(self) -> bool:
        self._thread.join(0.05)
        return self._thread.is_alive()

    def join(self) -> HeldMount:
        self._thread.join(10)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        assert self.held is not None
        return self.held


def test_what_is_written_is_there_next_time(mounts: CacheMounts) -> None:
    held = acquire(mounts, "pip", "shared")
    assert held.fresh
    Path(held.path, "wheel").write_text("x")
    held.filled()
    held.release()
    held.release()
    again = acquire(mounts, "pip", "shared")
    assert not again.fresh
    assert Path(again.path, "wheel").read_text() == "x"
    again.release()


def test_it_outlives_the_daemon(mounts: CacheMounts, paths: Paths, database: Database) -> None:
    path = take(mounts).path
    again = acquire(CacheMounts(paths, database), "pip", "shared")
    assert (again.path, again.fresh) == (path, False)


def test_a_filling_that_was_broken_off_is_begun_again(
    mounts: CacheMounts, paths: Paths, database: Database
) -> None:
    held = acquire(mounts, "pip", "shared")
    Path(held.path, "half").write_text("x")
    again = acquire(CacheMounts(paths, database), "pip", "shared")
    assert again.fresh
    assert list(Path(again.path).iterdir()) == []


@pytest.mark.parametrize(
    "unsafe_id", ["../../../etc", "/", "", ".", "..", "a/b", "x" * 10_000, "\udcff\n", "a\0b"]
)
def test_an_id_is_no_path(mounts: CacheMounts, paths: Paths, unsafe_id: str) -> None:
    held = take(mounts, unsafe_id)
    assert Path(held.path).parent == Path(paths.build_cache_mounts)
    assert len(Path(held.path).name) == 64
    held.release()
    assert len(mounts.list()) == 1


def test_shared_is_with_others(mounts: CacheMounts) -> None:
    one, two = take(mounts), take(mounts)
    assert one.path == two.path


def test_private_is_another_when_the_first_is_taken(mounts: CacheMounts) -> None:
    one, two = take(mounts, sharing="private"), take(mounts, sharing="private")
    assert one.path != two.path
    one.release()
    assert take(mounts, sharing="private").path == one.path


def test_shared_keeps_away_from_what_is_private(mounts: CacheMounts) -> None:
    assert take(mounts, sharing="private").path != take(mounts).path


def test_locked_waits(mounts: CacheMounts) -> None:
    one = take(mounts, sharing="locked")
    two = Waiting(mounts, "pip", "locked")
    assert two.waits()
    one.release()
    assert two.join().path == one.path


def test_locked_waits_for_all_who_share(mounts: CacheMounts) -> None:
    one, two = take(mounts), take(mounts)
    three = Waiting(mounts, "pip", "locked")
    one.release()
    assert three.waits()
    two.release()
    three.join()


def test_who_shares_waits_for_the_filling(mounts: CacheMounts) -> None:
    one = acquire(mounts, "pip", "shared")
    two = Waiting(mounts, "pip", "shared")
    assert two.waits()
    one.filled()
    held = two.join()
    assert (held.path, held.fresh) == (one.path, False)


def test_when_the_filling_fails_the_next_one_fills(mounts: CacheMounts) -> None:
    one = acquire(mounts, "pip", "shared")
    two = Waiting(mounts, "pip", "shared")
    one.release()
    assert two.join().fresh


def test_waiting_can_be_cancelled(mounts: CacheMounts) -> None:
    take(mounts, sharing="locked")
    two = Waiting(mounts, "pip", "locked")
    assert two.waits()
    two.cancellation.cancel("enough")
    with pytest.raises(Cancelled, match="enough"):
        two.join()


def test_several_are_taken_in_one_order(mounts: CacheMounts) -> None:
    """Two steps that want the same two locks, the other way round, many times: nobody waits for ever."""

    def work(wanted: list[tuple[str, str]]) -> None:
        for _ in range(30):
            for held in mounts.acquire_all(wanted, Cancellation()):
                held.filled()
                held.release()

    wanted = [("a", "locked"), ("b", "locked")]
    threads = [threading.Thread(target=work, args=(order,)) for order in (wanted, wanted[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
        assert not thread.is_alive()


def test_an_id_twice_in_a_step_is_one_directory(mounts: CacheMounts) -> None:
    one, two = mounts.acquire_all([("a", "shared"), ("a", "locked")], Cancellation())
    assert one.path == two.path
    assert (one.fresh, two.fresh) == (True, False)
    one.filled()
    one.release()
    other = Waiting(mounts, "a", "locked")
    assert other.waits()
    two.release()
    other.join()


def test_when_one_of_several_cannot_be_had_none_is_held(mounts: CacheMounts) -> None:
    held = take(mounts, "b", "locked")
    cancellation = Cancellation()
    thread = threading.Timer(0.05, cancellation.cancel, ["enough"])
    thread.start()
    with pytest.raises(Cancelled):
        mounts.acquire_all([("a", "locked"), ("b", "locked")], cancellation)
    thread.join()
    take(mounts, "a", "locked").release()
    held.release()


def test_unknown_sharing(mounts: CacheMounts) -> None:
    with pytest.raises(InvalidArgument, match="sharing=odd"):
        acquire(mounts, "a", "odd")


def test_what_is_used_is_not_removed(mounts: CacheMounts) -> None:
    held = take(mounts)
    Path(held.path, "deep").mkdir()
    Path(held.path, "deep", "file").write_bytes(b"x" * 1000)
    (usage,) = mounts.list()
    assert (usage.id, usage.size, usage.in_use) == ("pip", 1000, True)
    assert mounts.remove([usage.name, "../../db.sqlite"]) == set()
    held.release()
    assert mounts.remove([usage.name]) == {usage.name}
    assert not Path(held.path).exists()
    assert mounts.list() == []


def test_removing_does_not_follow_links(mounts: CacheMounts, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "sentinel").write_text("x")
    held = take(mounts)
    Path(held.path, "link").symlink_to(outside)
    held.release()
    mounts.remove([usage.name for usage in mounts.list()])
    assert (outside / "sentinel").exists()


def test_a_directory_without_a_row_is_listed(mounts: CacheMounts, paths: Paths) -> None:
    Path(paths.build_cache_mounts, "f" * 64).mkdir()
    (usage,) = mounts.list()
    assert usage.name == "f" * 64
    assert mounts.remove([usage.name]) == {usage.name}
