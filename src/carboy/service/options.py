"""What a daemon is started with: its command line, its environment, its configuration file.

flags      --data-root … (formats/settings/table.py), and those below
home       --root and --run: where the command line that starts us on demand expects us
file       /etc/carboy/daemon.json; a home of one's own reads a file only when it is named
"""

from __future__ import annotations

import os

from carboy.client.address import home
from carboy.errors import InvalidArgument
from carboy.formats.settings.reading import MAX_FILE, Settings, from_flags, merge, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.formats.settings.table import Value


class Options:
    """A daemon's command line, before the file is read."""

    def __init__(self, texts: Mapping[str, str], lists: Mapping[str, list[str]]) -> None:
        where = home(os.environ, os.geteuid())
        default = home({key: os.environ[key] for key in _HOME_ENVIRONMENT if key in os.environ}, os.geteuid())
        self.flags: dict[str, Value] = from_flags(texts, lists)
        self.home_root = texts.get("root") or where.root
        self.home_run = texts.get("run") or where.run
        self.on_demand = texts.get("on-demand") == "true"
        self.validate = texts.get("validate") == "true"
        self.ready = int(texts["ready-fd"]) if "ready-fd" in texts else None
        self.expected_hosts: list[str] = []
        if self.on_demand:
            # What starts us waits at this socket; that is no wish to listen nowhere else.
            self.expected_hosts = lists.get("host", [])
            self.flags.pop("hosts", None)
        run = self.flags.get("exec-root", self.home_run)
        self._named_file = "config-file" in texts
        self.file = texts.get("config-file", "")
        if not self._named_file and run == default.run:
            self.file = _default_file()

    def load(self) -> Settings:
        """The settings of the flags and the file; raises InvalidArgument."""
        return merge(self.flags, self._read_file(), self.file)

    def _read_file(self) -> dict[str, Value]:
        if not self.file:
            return {}
        try:
            with open(self.file, "rb") as file:
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            if not self._named_file:
                return {}
            raise InvalidArgument(
                f"unable to configure the Carboy daemon with file {self.file}: no such file or directory"
            ) from None
        except OSError as error:
            raise InvalidArgument(
                f"unable to configure the Carboy daemon with file {self.file}: {error.strerror}"
            ) from error
        if len(data) > MAX_FILE:
            raise InvalidArgument(
                f"unable to configure the Carboy daemon with file {self.file}: it is too large"
            )
        return read_file(data, self.file)


_HOME_ENVIRONMENT = ("HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")


def _default_file() -> str:
    if os.geteuid() == 0:
        return "/etc/carboy/daemon.json"
    base = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("HOME", "") + "/.config"
    return f"{base}/carboy/daemon.json"
