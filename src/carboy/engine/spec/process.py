"""The program: entrypoint and command, environment, working directory."""

from __future__ import annotations

import posixpath

from carboy.engine.spec.health import merge_health
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import ContainerConfig

_LONGEST_PATH = 4095
_LONGEST_NAME = 255
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def merge_image_config(config: ContainerConfig, image: ContainerConfig) -> None:
    """Fill in `config` what the image says and the request does not, by Docker's rules."""
    config.user = config.user or image.user
    config.working_dir = _clean(config.working_dir or image.working_dir)
    config.stop_signal = config.stop_signal or image.stop_signal
    config.exposed_ports = {**image.exposed_ports, **config.exposed_ports}
    config.volumes = {**image.volumes, **config.volumes}
    config.labels = {**image.labels, **config.labels}
    config.env = merge_env(image.env, config.env, defaults_only=True)
    if config.entrypoint is None or config.entrypoint == []:
        if config.cmd is None or config.cmd == []:
            config.cmd = image.cmd
        if config.entrypoint is None:
            config.entrypoint = image.entrypoint
    if config.entrypoint == [""]:
        config.entrypoint = None  # `--entrypoint ""` takes the image's away
    config.healthcheck = merge_health(config.healthcheck, image.healthcheck)
    if config.stop_timeout is None:
        config.stop_timeout = image.stop_timeout
    if config.shell is None:
        config.shell = image.shell


def merge_env(first: list[str], second: list[str], *, defaults_only: bool = False) -> list[str]:
    """`second` over `first`, by name; a name without `=` removes the variable unless `defaults_only`."""
    merged: dict[str, str | None] = {}
    for item in first:
        merged[item.partition("=")[0]] = item
    for item in second:
        name, equals, _ = item.partition("=")
        if not name:
            raise InvalidArgument(f"invalid environment variable: {item[:80]}")
        if equals or defaults_only:
            merged[name] = item
        else:
            merged.pop(name, None)
    return [item for item in merged.values() if item is not None]


def arguments(config: ContainerConfig) -> list[str]:
    """The words to execute; raises InvalidArgument when there are none."""
    words = [*(config.entrypoint or []), *(config.cmd or [])]
    if not words:
        raise InvalidArgument("no command specified")
    for word in words:
        if "\0" in word:
            raise InvalidArgument("invalid command: an argument holds a NUL byte")
    return words


def environment(config: ContainerConfig, *, hostname: str, home: str) -> list[str]:
    """The variables of the program: Docker's own, then the configured ones over them."""
    own = [f"PATH={DEFAULT_PATH}", f"HOSTNAME={hostname}"]
    if config.tty:
        own.append("TERM=xterm")
    merged = merge_env(own, config.env)
    if not any(item.startswith("HOME=") for item in merged):
        merged.append(f"HOME={home}")
    for item in merged:
        if "\0" in item:
            raise InvalidArgument("invalid environment variable: it holds a NUL byte")
    return merged


def _clean(path: str) -> str:
    """Without `.`, `..` and doubled slashes, as Docker stores it; a relative one is refused later."""
    return "/" + posixpath.normpath(path).lstrip("/") if path.startswith("/") else path


def working_directory(config: ContainerConfig) -> str:
    """An absolute path; `/` when none is set."""
    path = config.working_dir or "/"
    if not path.startswith("/"):
        raise InvalidArgument(
            f"the working directory '{path[:200]}' is invalid, it needs to be an absolute path"
        )
    if "\0" in path:
        raise InvalidArgument("the working directory is invalid: it holds a NUL byte")
    if len(path.encode("utf-8", "surrogateescape")) > _LONGEST_PATH or any(
        len(part.encode("utf-8", "surrogateescape")) > _LONGEST_NAME for part in path.split("/")
    ):
        raise InvalidArgument(f"the working directory '{path[:80]}...' is invalid: it is too long")
    return path
