"""What is drawn on terminals only: colours, progress; and the width of characters."""

from __future__ import annotations

import os
import pty

import pytest

from carboy.cli import completionwords, events, paint, printable, progress, table
from carboy.cli.session import for_people

EVENT = {
    "Type": "container",
    "Action": "die",
    "Actor": {"ID": "abc", "Attributes": {"image": "x", "label": "\033[2Jclear"}},
    "timeNano": 1,
}


def test_colours_need_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    reading, writing = os.pipe()
    try:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert paint.wanted(theirs)
        assert not paint.wanted(writing)
        monkeypatch.setenv("NO_COLOR", "1")
        assert not paint.wanted(theirs)
        monkeypatch.delenv("NO_COLOR")
        monkeypatch.setenv("TERM", "dumb")
        assert not paint.wanted(theirs)
    finally:
        for descriptor in (ours, theirs, reading, writing):
            os.close(descriptor)


def test_events_are_coloured_and_harmless() -> None:
    shown = events.coloured(EVENT)
    assert "\033[31mdie\033[0m abc (image=x, label=" in shown
    assert "\033[2J" not in shown


def test_commands_of_execs_in_events_are_harmless() -> None:
    shown = events.coloured({**EVENT, "Action": "exec_create: sh -c \033]0;x\a\n"})
    assert "]0;x" in shown
    assert "\033]" not in shown
    assert "\n" not in shown


@pytest.mark.parametrize("text", ["\033[2J", "\x9b2J", "\a", "\u202egnp.exe", "a\0b", "\udc9b"])
def test_what_others_wrote_commands_no_terminal(text: str) -> None:
    assert printable.harmless(f"a{text}b\tc\nd").isprintable() is False
    shown = printable.harmless(text)
    assert not set(shown) & set("\033\x9b\a\u202e\0\udc9b")
    assert printable.quoted(text).isprintable()


def test_quotes_are_gos() -> None:
    assert printable.quoted('a"b\\\033\n\u2028ü') == '"a\\"b\\\\\\x1b\\n\\u2028ü"'


def test_only_a_terminal_is_spared() -> None:
    ours, theirs = pty.openpty()
    reading, writing = os.pipe()
    try:
        assert "\033" not in for_people(theirs, "a\033[2Jb")
        assert for_people(theirs, "a\tb\nü") == "a\tb\nü"
        assert for_people(writing, "a\033[2Jb") == "a\033[2Jb"
    finally:
        for descriptor in (ours, theirs, reading, writing):
            os.close(descriptor)


def test_names_of_a_hostile_daemon_are_no_words_for_a_shell() -> None:
    names = ["web", "$(reboot)", "`id`", "a;b", "a b", "*", "x\ny", "reg:5000/a/b@sha256", "", "~root", "a'b"]
    assert completionwords._plain(names) == ["web", "reg:5000/a/b@sha256"]


def test_the_progress_line() -> None:
    assert progress.line("Loading", 50_000_000, 100_000_000, 2.0) == (
        "Loading  [############            ]   50%  50MB / 100MB  25MB/s".replace("   50%", "   50%")
    )
    assert progress.line("Saving", 3_000_000, 0, 1.0) == "Saving  3MB  3MB/s"
    assert progress.line("Importing", 0, 100, 3.2) == "Importing  100B  3s"
    assert "100%" in progress.line("Loading", 200, 100, 1.0)


def test_progress_is_silent_away_from_terminals(capfd: pytest.CaptureFixture[str]) -> None:
    shown = progress.Progress("x", 10)
    assert not shown.active
    assert list(shown.count([b"a", b"b"])) == [b"a", b"b"]
    shown.finish()
    assert capfd.readouterr() == ("", "")


def test_wide_characters_take_two_columns() -> None:
    assert table.width("abc") == 3
    assert table.width("数据") == 4
    assert table.width("é…") == 2
    assert table.width("e\u0301") == 1
    lines = table.align([["NAME", "X"], ["数据数据数据", "1"], ["a", "2"]])
    assert [table.width(line) for line in lines] == [16, 16, 16]
