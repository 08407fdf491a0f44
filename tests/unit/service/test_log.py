"""Lines of the daemon's own log."""

from __future__ import annotations

import json
import logging

from carboy.service.log import JsonFormatter, TerminalFormatter, TextFormatter


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
