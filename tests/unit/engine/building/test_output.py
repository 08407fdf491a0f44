"""The output of a step: streamed, bounded, its end kept."""

from __future__ import annotations

from carboy.build.graph import Run, Vertex
from carboy.build.progress import Cancellation, Console
from carboy.engine.building.output import TAIL, Output
from carboy.formats.stdcopy import frame
from support.steps import Notes

VERTEX = Vertex(index=0, operation=Run(args=("x",)), name="RUN")


def console() -> tuple[Notes, Console]:
    notes = Notes()
    return notes, Console(notes, VERTEX, Cancellation())


def test_both_streams_in_pieces() -> None:
    notes, target = console()
    output = Output(target)
    data = frame(1, b"one\n") + frame(2, b"two\n")
    for position in range(len(data)):
        output.feed(data[position : position + 1])
    output.finish()
    assert (notes.out, notes.err) == ("one\n", "two\n")


def test_the_middle_is_left_out() -> None:
    notes, target = console()
    output = Output(target, limit=100)
    for number in range(20000):
        output.feed(frame(1 + number % 2, b"%09d\n" % number))
    output.finish()
    told = len(notes.printed[1]) + len(notes.printed[2])
    assert told < 100 + 2 * TAIL + 200
    assert notes.out.endswith("000019998\n")
    assert notes.err.endswith("000019999\n")
    assert "output clipped" in notes.err
    assert notes.out.startswith("000000000\n000000002\n")


def test_what_just_fits_the_tail_is_all_told() -> None:
    notes, target = console()
    output = Output(target, limit=10)
    output.feed(frame(1, b"0123456789abc"))
    output.finish()
    assert (notes.out, notes.err) == ("0123456789abc", "")


def test_no_limit() -> None:
    notes, target = console()
    output = Output(target, limit=0)
    for _ in range(100):
        output.feed(frame(1, b"x" * 100_000))
    output.finish()
    assert len(notes.printed[1]) == 10_000_000
    assert not notes.err
