"""The user's own settings, shared with Docker: ~/.docker/config.json.

    DIRECTORY   --config, else DOCKER_CONFIG, else ~/.docker
    read        currentContext, detachKeys, HttpHeaders, proxies, psFormat and the other formats
    written     currentContext only (`context use`): every other member is kept as it is

A file that cannot be read is warned about and taken as empty, as Docker does.
"""

from __future__ import annotations

import os

from carboy.client import document
from carboy.errors import CarboyError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.client.document import Json

FILE = "config.json"
MAX_FILE = 16 << 20
FORMATS = {
    "ps": "psFormat",
    "images": "imagesFormat",
    "volume ls": "volumesFormat",
    "network ls": "networksFormat",
    "stats": "statsFormat",
}
"""Commands whose --format has a default in the file."""

_PROXIES = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "noProxy": "NO_PROXY",
    "ftpProxy": "FTP_PROXY",
    "allProxy": "ALL_PROXY",
}


class UserConfig:
    """The settings of one user; `warning` says why the file was not read."""

    def __init__(self, directory: str, data: Json, warning: str = "") -> None:
        self.directory = directory
        self.data = data
        self.warning = warning

    @property
    def context(self) -> str:
        """The context that `context use` chose."""
        return document.text(self.data, "currentContext")

    @property
    def detach_keys(self) -> str:
        return document.text(self.data, "detachKeys")

    def format_of(self, command: str) -> str:
        """The default of a command's --format."""
        name = FORMATS.get(command)
        return document.text(self.data, name) if name else ""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """HTTP headers that go with every request; a header that would break the request is refused."""
        found = document.child(self.data, "HttpHeaders")
        for name, value in found.items():
            if not isinstance(value, str) or any(mark in name + value for mark in "\r\n\0") or not name:
                raise InvalidArgument(f"{self.directory}/{FILE}: the HTTP header {name!r} is not valid")
        return tuple(item for item in found.items() if item[0].lower() != "user-agent")

    def proxies(self, host: str) -> dict[str, str]:
        """Variables that new containers of a daemon get: those of its host, else the default ones."""
        table = document.child(self.data, "proxies")
        chosen = document.child(table, host) or document.child(table, "default")
        found: dict[str, str] = {}
        for key, name in _PROXIES.items():
            value = document.text(chosen, key)
            if value:
                found[name] = found[name.lower()] = value
        return found


def add_proxies(environment: list[str], proxies: dict[str, str]) -> list[str]:
    """A container's variables with those of `UserConfig.proxies`, where they are not set already."""
    given = {item.partition("=")[0] for item in environment}
    return [*environment, *(f"{name}={value}" for name, value in proxies.items() if name not in given)]


def directory(environment: Mapping[str, str], flag: str = "") -> str:
    """Where the settings and the contexts of this user are."""
    return flag or environment.get("DOCKER_CONFIG") or (environment.get("HOME") or "/root") + "/.docker"


def load(folder: str) -> UserConfig:
    """The settings in a directory; empty when there are none."""
    path = folder + "/" + FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return UserConfig(folder, {})
    except OSError as error:
        return UserConfig(folder, {}, f"Error loading config file: open {path}: {error.strerror}")
    try:
        data = os.read(descriptor, MAX_FILE)
        found = document.as_object(document.decode(data)) if data.strip() else {}
    except OSError as error:
        return UserConfig(folder, {}, f"Error loading config file: {path}: {error.strerror}")
    except CarboyError:
        return UserConfig(folder, {}, f"Error parsing config file ({path}): it is not a JSON object")
    finally:
        os.close(descriptor)
    return UserConfig(folder, found)


def set_context(folder: str, name: str) -> None:
    """Make a context the current one ("": the default); the file is replaced whole."""
    config = load(folder)
    if config.warning:
        raise InvalidArgument(f"{config.warning}: mend it first, nothing was changed")
    data = dict(config.data)
    if name:
        data["currentContext"] = name
    elif data.pop("currentContext", None) is None:
        return
    os.makedirs(folder, 0o700, exist_ok=True)
    path = os.path.realpath(folder + "/" + FILE)  # a link stays one: its target is replaced
    mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o600
    replace(path, (document.pretty(data, "\t") + "\n").encode("utf-8", "surrogateescape"), mode)


def replace(path: str, data: bytes, mode: int) -> None:
    """A file appears whole or not at all."""
    partial = f"{path}.{os.getpid()}.partial"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
