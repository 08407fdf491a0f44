"""`top`: what ps may be asked, which of its rows are believed, and the columns without a ps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.engine.containers import top
from carboy.errors import InvalidArgument


def test_arguments_are_words_for_no_shell() -> None:
    assert top.check_arguments("") == ["-ef"]
    assert top.check_arguments("  ") == ["-ef"]
    assert top.check_arguments("-o pid,cmd") == ["-o", "pid,cmd"]
    assert top.check_arguments("aux; touch /x `id` $(id)") == ["aux;", "touch", "/x", "`id`", "$(id)"]


@pytest.mark.parametrize(
    "arguments",
    ["-o pid=", "-o user=PID,pid", "-o comm=PID", "-opid=,ppid=PID", "-o ppid= PID", "\0", "a" * 5000],
)
def test_columns_that_pretend_to_be_the_process_are_refused(arguments: str) -> None:
    with pytest.raises(InvalidArgument):
        top.check_arguments(arguments)


def test_rows_are_those_of_the_container_only() -> None:
    output = "UID  PID CMD\nroot 12 sleep  1000\nme 13 other\nroot 14 [x] <defunct>\nodd\n"
    found = top.select_rows(output, frozenset({12, 14}))
    assert found.titles == ["UID", "PID", "CMD"]
    assert found.processes == [["root", "12", "sleep  1000"], ["root", "14", "[x] <defunct>"]]
    with pytest.raises(InvalidArgument, match="Couldn't find PID field in ps output"):
        top.select_rows("USER\nroot\n", frozenset())
    with pytest.raises(InvalidArgument):
        top.select_rows("", frozenset())


def test_our_own_reading_has_the_columns_of_ps() -> None:
    found = top.read_processes([os.getpid(), 1 << 22])
    assert found.titles == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    (row,) = found.processes
    assert row[1:3] == [str(os.getpid()), str(os.getppid())]
    assert "py" in row[7]


def test_our_own_reading_agrees_with_ps() -> None:
    program = next((path for path in top.PLACES if os.path.exists(path)), None)
    if program is None:
        pytest.skip("needs procps")
    pid = os.getppid()
    theirs = top.select_rows(top.run_ps(program, ["-ef"], [pid]), frozenset([pid]))
    ours = top.read_processes([pid])
    assert ours.titles == theirs.titles
    for column in (0, 1, 2, 4, 5):
        assert ours.processes[0][column] == theirs.processes[0][column]
    with pytest.raises(InvalidArgument, match="ps: "):
        top.run_ps(program, ["--no-such-option"], [pid])


def test_processes_of_groups_below_count(tmp_path: Path) -> None:
    for name, text in ((".", "12\n13\n"), ("inner", "14\n"), ("inner/deeper", "")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "cgroup.procs").write_text(text)
    assert top.group_processes({"unified": str(tmp_path)}) == [12, 13, 14]
    assert top.group_processes({}) == []
