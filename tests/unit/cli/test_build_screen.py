"""How a build is drawn on a terminal: what fits, what was cut off, what is left after an interruption."""

from __future__ import annotations

import base64
import os
import pty
import time
from typing import TYPE_CHECKING

import pytest

from carboy.cli import buildscreen, buildshow, table

if TYPE_CHECKING:
    from collections.abc import Callable

WIDE = "日本語" * 40
CUT = "…"
STEPS = {
    "Kind": "vertices",
    "Vertices": [
        {"Index": 0, "Name": "[1/2] FROM debian:12"},
        {"Index": 1, "Name": f"[2/2] RUN echo {WIDE}"},
    ],
}
STARTED = {"Kind": "started", "Vertex": 1, "Time": 0.0}
OUTPUT = {
    "Kind": "output",
    "Vertex": 1,
    "Time": 0.1,
    "Data": base64.b64encode(f"{WIDE}\nplain {'x' * 200}\n".encode()).decode(),
}


class Impatient(buildscreen.Screen):
    """Draws at once."""

    interval = 0.0


@pytest.fixture
def drawn(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """The lines drawn since the last time, without escape sequences."""

    def lines() -> list[str]:
        return [buildshow.without_colours(line) for line in capfd.readouterr().err.split("\n")]

    return lines


@pytest.fixture
def screen() -> buildscreen.Screen:
    shown = Impatient()
    shown.take(STEPS)
    return shown


def test_no_line_is_wider_than_the_terminal(
    screen: buildscreen.Screen, drawn: Callable[[], list[str]]
) -> None:
    screen.take(STARTED)
    screen.take(OUTPUT)
    screen.take({"Kind": "finished", "Vertex": 1, "Time": 1.0, "Seconds": 1.0})
    screen.close()
    lines = drawn()
    assert any("日本語" in line for line in lines)
    assert any("xxx" in line for line in lines)
    assert max(table.width(line) for line in lines) <= 80


def test_what_ran_at_an_interruption_stays_visible(
    screen: buildscreen.Screen, drawn: Callable[[], list[str]]
) -> None:
    screen.take(STARTED)
    drawn()
    screen.interrupted()
    screen.close()
    last = [line for line in drawn() if line.strip()]
    assert any("[2/2] RUN echo" in line and line.endswith("canceled") for line in last)
    assert not any("steps" in line for line in last[-1:])


def output(data: bytes) -> dict[str, object]:
    return {"Kind": "output", "Vertex": 1, "Time": 0.1, "Data": base64.b64encode(data).decode()}


def test_tabs_become_blanks(screen: buildscreen.Screen, drawn: Callable[[], list[str]]) -> None:
    """A terminal jumps over what stood there before."""
    screen.take(
        {"Kind": "vertices", "Vertices": [{"Index": 1, "Name": "[2/2] RUN a  && \tb"}]},
    )
    screen.take(STARTED)
    screen.take(output(b"\tfar\n"))
    screen.take({"Kind": "finished", "Vertex": 1, "Time": 1.0, "Seconds": 1.0})
    lines = drawn()
    assert any(line.strip() == "far" for line in lines)
    assert not any("\t" in line for line in lines)
    assert max(map(table.width, lines)) <= 80


def test_a_bar_that_writes_over_itself_is_seen(
    screen: buildscreen.Screen, drawn: Callable[[], list[str]]
) -> None:
    screen.take(STARTED)
    screen.take(output(b"Collecting\n 10%\r 20%"))
    screen.take(output(b"\r 30%"))
    assert [line.strip() for line in drawn()].count("30%") == 1
    screen.take(output(b"\rdone\n"))
    assert [line.strip() for line in drawn()][-4:-2] == ["Collecting", "done"]


def test_what_waits_says_so_until_it_begins(
    screen: buildscreen.Screen, drawn: Callable[[], list[str]]
) -> None:
    screen.take(STARTED)
    screen.take({"Kind": "progress", "Vertex": 1, "Text": "waiting for another step to end"})
    assert any(line.strip() == "waiting for another step to end" for line in drawn())
    screen.take({"Kind": "progress", "Vertex": 1})
    screen.tick()
    assert not any("waiting" in line for line in drawn())


def test_a_state_is_no_transfer(drawn: Callable[[], list[str]]) -> None:
    plain = buildshow.Plain()
    plain.take(STEPS)
    plain.take({**STARTED, "Vertex": 0})
    plain.take({"Kind": "progress", "Vertex": 0, "Text": "waiting", "Current": 1, "Total": 1})
    assert drawn() == ["#1 [1/2] FROM debian:12", "#1 waiting", ""]


def test_plain_says_what_was_interrupted(drawn: Callable[[], list[str]]) -> None:
    plain = buildshow.Plain()
    plain.take(STEPS)
    plain.take({**STARTED, "Vertex": 0})
    plain.interrupted()
    assert drawn() == ["#1 [1/2] FROM debian:12", "#1 CANCELED", "", ""]


def test_the_output_of_the_step_that_failed_is_shown_not_that_of_canceled_ones() -> None:
    display = buildshow.Display()
    display.take(STEPS)
    display.take({**STARTED, "Vertex": 0})
    display.take(STARTED)
    display.take({"Kind": "finished", "Vertex": 1, "Time": 1.0, "Text": "exit code: 1"})
    display.take({"Kind": "finished", "Vertex": 0, "Time": 1.1, "Text": "cancelled"})
    assert display.failed_step is display.steps[1]
    assert display.steps[0].state == "canceled"


def test_a_warning_says_so_once(drawn: Callable[[], list[str]]) -> None:
    plain = buildshow.Plain()
    plain.take({"Kind": "warning", "Text": "[Warning] One or more build-args [V] were not consumed"})
    assert drawn() == ["WARNING: One or more build-args [V] were not consumed", ""]


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("short", 5, "short"),
        ("too long", 5, "too " + CUT),
        ("日本語", 6, "日本語"),
        ("日本語日本語", 6, "日本" + CUT),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("", 0, ""),
        ("abc", 0, CUT),
    ],
)
def test_texts_are_cut_by_columns(text: str, columns: int, expected: str) -> None:
    assert table.cut(text, columns, CUT) == expected


def test_a_low_terminal_has_the_names_of_all_steps(
    drawn: Callable[[], list[str]],
) -> None:
    """What they say takes the room that is left."""

    class Low(Impatient):
        def size(self) -> tuple[int, int]:
            return 12, 80

    screen = Low()
    screen.take({"Kind": "vertices", "Vertices": [{"Index": n, "Name": f"RUN {n}"} for n in range(3)]})
    for number in range(3):
        screen.take({**STARTED, "Vertex": number})
    drawn()
    for number in range(3):
        screen.take({**output(b"1\n2\n3\n4\n"), "Vertex": number})
    lines = [line.strip() for line in drawn()]
    last = lines[-11:]
    assert [number for number in range(3) if any(f"● RUN {number}" in line for line in last)] == [0, 1, 2]
    assert [line for line in last if len(line) == 1] == ["3", "4"] * 3


def test_an_interruption_while_the_first_rows_are_written_leaves_no_hidden_cursor(
    screen: buildscreen.Screen, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(buildscreen, "write_all", interrupted)
        screen.take(STARTED)
    screen.close()
    assert capfd.readouterr().err.rpartition("\x1b[?25")[2][:1] == "h"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\x1b[31mb\x1b[0mc", "abc"),
        ("\x1b[2J\x1b[?25lx", "x"),
        ("\x1b]0;x\a", "0;x\N{REPLACEMENT CHARACTER}"),
        ("\x1b\x1b[2Jx\x1b", "x"),
        ("\x1b[\x1b[2Jx", "x"),
    ],
)
def test_escape_sequences_are_left_out(text: str, left: str) -> None:
    assert buildshow.without_colours(text) == left


def test_a_text_of_nothing_but_escapes_takes_no_time() -> None:
    began = time.process_time()
    assert buildshow.without_colours("\x1ba" * 500_000) == ""
    assert time.process_time() - began < 2


def test_plain_progress_commands_no_terminal() -> None:
    """Names of files in a context and words of a Dockerfile come back in warnings, errors and states."""
    hostile = "a\x1b]0;x\a\x1b]52;c;aGk=\x1b\\b"
    ours, theirs = pty.openpty()
    kept = os.dup(2)
    os.dup2(theirs, 2)
    try:
        plain = buildshow.Plain()
        plain.take({"Kind": "vertices", "Vertices": [{"Index": 0, "Name": hostile}]})
        plain.take({"Kind": "warning", "Text": hostile})
        plain.take({"Kind": "started", "Vertex": 0, "Time": 0.0})
        plain.take({"Kind": "warning", "Vertex": 0, "Text": hostile})
        progress = {"Kind": "progress", "Vertex": 0, "Text": hostile, "Current": 2, "Total": 2}
        plain.take(progress)
        plain.take({"Kind": "finished", "Vertex": 0, "Time": 1.0, "Text": hostile})
        plain.close()
    finally:
        os.dup2(kept, 2)
        seen = b""
        while not seen.endswith(b"\r\n\r\n"):  # a terminal hands over what it has, bit by bit
            seen += os.read(ours, 1 << 16)
        for descriptor in (ours, theirs, kept):
            os.close(descriptor)
    assert seen.count(b"aGk=") == 5
    assert b"ERROR: a" in seen
    assert not set(seen) & {0x1B, 0x07}
