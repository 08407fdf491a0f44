"""Lines of the daemon's own log."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from carboy.service.log import JsonFormatter, TerminalFormatter, TextFormatter

if TYPE_CHECKING:
    from pathlib import Path


def record(text: str, *arguments: object, **extra: str) -> logging.LogRecord:
    made = logging.LogRecord("carboy.x", logging.WARNING, "f", 1, text, arguments, None)
    made.created = 1_700_000_000.25
    made.__dict__.update(extra)
    return made


def test_text_is_one_line_of_pairs() -> None:
    line = TextFormatter().format(record('a "%s"\nb', 1, container="4f2e"))
    assert line == (
        'time=2023-11-14T22:13:20.250000Z level=warn msg="a \\"1\\"\\nb" container=4f2e logger=carboy.x'
    )


def test_json_is_one_object() -> None:
    line = JsonFormatter().format(record("é%d", 1, container="4f2e"))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250000Z",
        "level": "warn",
        "msg": "é1",
        "logger": "carboy.x",
        "container": "4f2e",
    }
    assert "\n" not in line


def test_a_terminal_gets_a_short_form() -> None:
    assert TerminalFormatter().format(record("hello")).endswith("warn: hello")


def test_tracebacks_are_kept() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        made = record("oh")
        made.exc_info = (ValueError, error, error.__traceback__)
    assert "Traceback" in json.loads(JsonFormatter().format(made))["msg"]
    assert "\n" not in TextFormatter().format(made)


def test_the_container_of_a_message_is_a_field() -> None:
    line = JsonFormatter().format(record("%d%% of container %s: %s", 3, "4f2e", "x"))
    assert json.loads(line)["container"] == "4f2e"
    line = JsonFormatter().format(record("restart of container %s: %s", "4f2e", "x"))
    assert json.loads(line)["container"] == "4f2e"
    assert "container" not in json.loads(JsonFormatter().format(record("no container %s")))


LONG = """
import logging, os, sys
from carboy.service import log

path, what = sys.argv[1:]
log.LIMIT = 100
log.start(level="info", form="text", debug=False, bounded=path)
if what == "file":
    os.unlink(path)
elif what == "directory":
    os.rename(os.path.dirname(path), os.path.dirname(path) + ".gone")
logging.getLogger("carboy").info("x" * 200)
logging.getLogger("carboy").info("afterwards")
"""


@pytest.mark.parametrize("removed", ["nothing", "file", "directory"])
def test_a_log_that_is_long_or_gone_fails_nobody_who_logs(tmp_path: Path, removed: str) -> None:
    path = tmp_path / "run" / "daemon.log"
    path.parent.mkdir()
    with open(path, "ab") as file:
        command = [sys.executable, "-c", LONG, str(path), removed]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run(command, check=True, stdout=file, stderr=file, env=environment)
    if removed == "directory":
        assert "afterwards" in (tmp_path / "run.gone" / "daemon.log").read_text()
        return
    assert "afterwards" in path.read_text()
    assert "xxx" not in path.read_text()
    assert path.with_suffix(".log.1").exists() is (removed == "nothing")
