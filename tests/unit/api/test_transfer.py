"""Bodies between a thread and the event loop: nothing is lost at their end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest

from carboy.api.transfer import CAPACITY, Outbox

ROUNDS = 300


@pytest.fixture
def nervous() -> Iterator[None]:
    """Threads change places all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


async def _sent(pieces: list[bytes]) -> bytes:
    outbox = Outbox(asyncio.get_running_loop())

    def work() -> None:
        for piece in pieces:
            outbox.write(piece)
        outbox.end()

    running = asyncio.ensure_future(asyncio.to_thread(work))
    received = []
    while data := await outbox.take():
        received.append(data)
    await running
    return b"".join(received)


@pytest.mark.usefixtures("nervous")
def test_what_is_written_just_before_the_end_arrives() -> None:
    pieces = [b"head", b"body" * 1000, b"end"]

    async def often() -> list[int]:
        return [len(await _sent(pieces)) for _ in range(ROUNDS)]

    assert set(asyncio.run(often())) == {len(b"".join(pieces))}


def test_writing_nothing_is_not_the_end() -> None:
    async def taken() -> list[bytes]:
        outbox = Outbox(asyncio.get_running_loop())
        outbox.write(b"")
        waiting = asyncio.ensure_future(outbox.take())
        await asyncio.sleep(0)
        outbox.write(b"all the rest")
        outbox.end()
        return [await waiting, await outbox.take()]

    assert asyncio.run(taken()) == [b"all the rest", b""]


def test_a_client_that_stalls_keeps_little() -> None:
    """Large pieces go in slices: nothing of a size that the writer chooses is held, or sent at once."""

    async def taken() -> list[int]:
        outbox = Outbox(asyncio.get_running_loop())
        data = bytes(3 * CAPACITY)

        def work() -> None:
            outbox.write(data)
            outbox.end()

        running = asyncio.ensure_future(asyncio.to_thread(work))
        await asyncio.sleep(0.1)
        assert outbox._held <= CAPACITY
        sizes = []
        while piece := await outbox.take():
            sizes.append(len(piece))
        await running
        return sizes

    sizes = asyncio.run(taken())
    assert sum(sizes) == 3 * CAPACITY
    assert max(sizes) <= CAPACITY // 4
