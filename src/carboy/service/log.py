"""The daemon's own log: one line a record, as text or as JSON, bounded when nobody else rotates it.

    time="2026-11-21T08:00:00.123456Z" level=info msg="listening on unix:///run/carboy/carboy.sock"
    {"time":"…","level":"info","msg":"…","logger":"carboy.api","container":"4f2e…"}

On a terminal the text is shorter.  A record's fields are given as `extra={"host": …}`; the id
after "container %s" in a message becomes the field `container` by itself.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping

LIMIT = 8 << 20
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_NAMES = {number: name for name, number in LEVELS.items()}
_FIELDS = ("container", "host", "file")
"""The extra fields that records of ours may have."""


class TextFormatter(logging.Formatter):
    """key=value, quoted where needed."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows as further text of `msg`."""
        pairs = {
            "time": _time(record),
            "level": _level(record),
            "msg": _message(self, record),
            **_extra(record),
        }
        if record.levelno >= logging.WARNING:
            pairs["logger"] = record.name
        return " ".join(f"{name}={_quoted(value)}" for name, value in pairs.items())


class TerminalFormatter(logging.Formatter):
    """For people who watch."""

    def format(self, record: logging.LogRecord) -> str:
        """`08:00:00 warning: …`"""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        extra = "".join(f" {name}={value}" for name, value in _extra(record).items())
        level = "" if record.levelno == logging.INFO else f"{_level(record)}: "
        return f"{clock} {level}{_message(self, record)}{extra}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without exception."""
        return json.dumps(
            {
                "time": _time(record),
                "level": _level(record),
                "msg": _message(self, record),
                "logger": record.name,
                **_extra(record),
            },
            ensure_ascii=False,
        )


def _time(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.created % 1 * 1e6):06d}Z"


def _level(record: logging.LogRecord) -> str:
    return _NAMES.get(record.levelno, record.levelname.lower())


def _message(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text = f"{text}\n{formatter.formatException(record.exc_info)}"
    return text


def _extra(record: logging.LogRecord) -> Mapping[str, str]:
    fields = record.__dict__
    found = {name: str(fields[name]) for name in _FIELDS if name in fields}
    if "container" not in found and (named := _container(record)):
        found["container"] = named
    return found


def _container(record: logging.LogRecord) -> str:
    """The argument that belongs to "container %s"."""
    before, words, _ = str(record.msg).partition("container %s")
    index = before.replace("%%", "").count("%")
    if not words or not isinstance(record.args, tuple) or index >= len(record.args):
        return ""
    return str(record.args[index])


def _quoted(text: str) -> str:
    if text and text.isascii() and text.isprintable() and not set(text) & set(' "=\\'):
        return text
    return json.dumps(text, ensure_ascii=False)


class Bounded(logging.StreamHandler):  # type: ignore[type-arg]  # the stream is standard error
    """Starts the log again when it has grown too long: nobody else rotates it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write, then look at the length."""
        super().emit(record)
        try:
            if os.fstat(2).st_size > LIMIT:
                _rotate(self._path)
        except OSError:
            self.handleError(record)


def _rotate(path: str) -> None:
    try:
        os.rename(path, f"{path}.1")
    except FileNotFoundError:
        pass  # somebody has removed it: a new one is all that is missing
    fresh = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    for number in (1, 2):
        os.dup2(fresh, number)
    os.close(fresh)


def start(*, level: str, form: str, debug: bool, bounded: str = "") -> None:
    """Log to standard error; may be called again when the settings have changed.

    `bounded` is the file that standard error is, when nobody else looks after it.
    """
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(Bounded(bounded) if bounded else logging.StreamHandler())
    if form == "json":
        formatter: logging.Formatter = JsonFormatter()
    else:
        formatter = TerminalFormatter() if sys.stderr.isatty() else TextFormatter()
    for handler in root.handlers:
        handler.setFormatter(formatter)
    root.setLevel(logging.DEBUG if debug else LEVELS[level])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
