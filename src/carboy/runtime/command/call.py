"""One call of the command: its flags, its containers' directory, its log."""

from __future__ import annotations

import json
import os
import sys

from carboy.errors import CarboyError, InvalidArgument
from carboy.runtime import command
from carboy.runtime.command.flags import Flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.state import Container


class Call:
    """What a command needs to know; errors and warnings leave through it."""

    def __init__(self, options: Flags) -> None:
        self.root = os.path.abspath(options.text("root") or command.default_root())
        self.flags = Flags()
        self.arguments: list[str] = []
        self._log = options.text("log")
        self._json = options.text("log-format") == "json"
        self._debug = options.flag("debug")

    @property
    def seccomp_cache(self) -> str:
        """Compiled filters, shared by all containers of this root."""
        return f"{self.root}/.seccomp"

    def container_id(self, *, more: int = 0) -> str:
        """The first argument; `more`: how many may follow, -1 for any number."""
        if not self.arguments:
            raise InvalidArgument("the container's id is missing")
        if 0 <= more < len(self.arguments) - 1:
            raise InvalidArgument(f"unexpected argument {self.arguments[more + 1]!r}")
        return self.arguments[0]

    def container(self, *, more: int = 0) -> Container:
        """The container that the first argument names."""
        from carboy.runtime import state

        return state.Container.load(self.root, self.container_id(more=more))

    def warn(self, text: str) -> None:
        """To the log."""
        self._write("warning", text)

    def fail(self, name: str, error: Exception) -> None:
        """An error that ends the command: to the log file, and one line for people."""
        text = str(error)
        if isinstance(error, OSError) and error.filename is not None:
            text = f"{os.fsdecode(error.filename)}: {error.strerror}"
        if self._debug and not isinstance(error, CarboyError):
            import traceback  # costs 5 ms, when somebody asked

            traceback.print_exception(error)
        if self._log:
            self._write("error", text)
        sys.stderr.write(f"carboy-runtime {name}: {text}\n")

    def _write(self, level: str, text: str) -> None:
        from carboy.runtime.state import now

        if self._json:
            line = json.dumps({"level": level, "msg": text, "time": now()})
        else:
            line = f'time="{now()}" level={level} msg={json.dumps(text)}'
        if not self._log:
            sys.stderr.write(line + "\n")
            return
        fd = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.write(fd, line.encode() + b"\n")
        finally:
            os.close(fd)
