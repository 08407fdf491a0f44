"""The one thread that takes everybody's figures: when it lives, whom it tells what."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.engine.stats import Sampler, Subject
from carboy.formats.dockerapi.stats import ContainerStats
from carboy.formats.dockerapi.times import ZERO_TIME
from support.commands import until
from unit.engine.test_statsreader import V2, lay

Frames = queue.Queue[ContainerStats | None]


class World:
    """Containers that are looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.subjects: dict[str, Subject] = {}
        self.sampler = Sampler(self.subjects.get, interval=0.05)

    def run(self, name: str, started_at: int = 1) -> None:
        group = lay(self.path / name / "group", V2)
        lay(self.path / name, {"monitor.json": f'{{"cgroup": {{"unified": "{group}"}}}}'})
        self.subjects[name] = Subject(
            name=name,
            pid=1,
            started_at=started_at,
            run_directory=str(self.path / name),
            own_network=False,
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.sampler.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "stats"]


def test_the_thread_lives_while_somebody_watches(world: World) -> None:
    world.run("a")
    frames: Frames = queue.Queue()
    states = [world.sampler.awake]
    cancel = world.sampler.watch("a", frames.put)
    states.append(world.sampler.awake)
    assert states == [False, True]
    cancel()
    cancel()
    until(lambda: not world.sampler.awake)


def test_a_frame_at_once_then_with_the_one_before(world: World) -> None:
    world.run("a")
    frames: Frames = queue.Queue()
    cancel = world.sampler.watch("a", frames.put)
    first, second = frames.get(timeout=40), frames.get(timeout=40)
    assert first is not None
    assert second is not None
    assert first.preread == ZERO_TIME
    assert second.preread == first.read
    assert second.precpu_stats == first.cpu_stats
    assert second.memory_stats.usage == 1_000_000
    cancel()


def test_one_frame_only(world: World) -> None:
    world.run("a")
    frames: Frames = queue.Queue()
    world.sampler.watch("a", frames.put, once=True)
    found = frames.get(timeout=40)
    assert found is not None
    assert found.preread != ZERO_TIME
    until(lambda: not world.sampler.awake)
    assert frames.empty()
    shot = world.sampler.one_shot("a")
    assert shot is not None
    assert shot.preread == ZERO_TIME
    assert world.sampler.one_shot("none") is None


def test_what_does_not_run_is_empty_and_what_is_removed_ends(world: World) -> None:
    world.subjects["a"] = Subject(name="a")
    frames: Frames = queue.Queue()
    world.sampler.watch("a", frames.put)
    first = frames.get(timeout=40)
    assert first == ContainerStats(name="/a", id="a")
    world.run("a")
    until(lambda: (found := frames.get(timeout=40)) is not None and found.pids_stats.current == 3)
    del world.subjects["a"]
    until(lambda: frames.get(timeout=40) is None)
    until(lambda: not world.sampler.awake)


def test_a_restart_opens_other_files(world: World) -> None:
    world.run("a")
    frames: Frames = queue.Queue()
    cancel = world.sampler.watch("a", frames.put)
    frames.get(timeout=40)
    world.run("b", started_at=2)
    (world.path / "b" / "group" / "pids.current").write_text("9\n")
    world.subjects["a"] = world.subjects["b"]
    until(lambda: (found := frames.get(timeout=40)) is not None and found.pids_stats.current == 9)
    cancel()


def test_many_watch_one_and_one_that_fails_disturbs_nobody(world: World) -> None:
    world.run("a")
    frames: Frames = queue.Queue()

    def broken(frame: ContainerStats | None) -> None:
        if frame is not None and frame.preread != ZERO_TIME:
            raise RuntimeError("its loop has ended")

    cancels = [world.sampler.watch("a", broken), world.sampler.watch("a", frames.put)]
    for _ in range(4):
        assert frames.get(timeout=40) is not None
    for cancel in cancels:
        cancel()
    until(lambda: not world.sampler.awake)
