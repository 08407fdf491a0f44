"""Log drivers and their options: what create refuses, what a monitor is told, where a log lies.

Option names, defaults and wording are Docker's.  Everything is resolved here (attributes, tag,
addresses), so that the monitor gets plain values.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from carboy.errors import InvalidArgument, Unavailable, Unsupported
from carboy.formats import logmessage
from carboy.formats.dockerapi.containers import LogConfig
from carboy.formats.linearpattern import Pattern

Message = dict[str, Any]

DEFAULT = "json-file"
READABLE = frozenset({"json-file", "local"})

_ATTRIBUTES = ("labels", "labels-regex", "env", "env-regex", "tag")
_FILES = ("max-size", "max-file", "compress")
OPTIONS: dict[str, tuple[str, ...]] = {
    "json-file": (*_FILES, *_ATTRIBUTES),
    "local": (*_FILES, *_ATTRIBUTES),
    "syslog": ("syslog-address", "syslog-facility", "syslog-format", *_ATTRIBUTES),
    "journald": _ATTRIBUTES,
    "none": (),
}
_TLS = ("syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify")
_COMMON = ("mode", "max-buffer-size")

_LOCAL_SIZE, _LOCAL_FILES = 20_000_000, 5
_BUFFER = 1 << 20
_MOST_FILES = 9999
_LONGEST_TEMPLATE = 4096
_LONGEST_TAG = 1024
_MOST_ATTRIBUTES = 4096
"""Characters: each line of the log carries them all, and labels may be a hostile image's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a log may tell of its container."""

    id: str
    name: str
    image_id: str
    image_name: str
    command: str
    env: Iterable[str]
    labels: dict[str, str]


def check(config: LogConfig) -> None:
    """Raise InvalidArgument for a driver, an option or a value that there is not, in Docker's words."""
    driver, options = config.type or DEFAULT, config.config
    if driver == "none":
        return
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidArgument(f"logger: logging mode not supported: {mode[:40]}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        _size(options["max-buffer-size"], "error parsing option max-buffer-size", unit=1024)
    known = OPTIONS.get(driver)
    if known is None:
        raise InvalidArgument(f"logger: no log driver named '{driver[:40]}' is registered")
    for option in options:
        if option in _TLS and driver == "syslog":
            raise Unsupported(f"{option}: syslog over TLS is not supported: send to a local relay instead")
        if option not in known and option not in _COMMON:
            where = f"log driver {driver}" if driver == "local" else f"{driver} log driver"
            raise InvalidArgument(f"unknown log opt '{option[:40]}' for {where}")
    _check_values(driver, options)


def _check_values(driver: str, options: dict[str, str]) -> None:
    if driver in READABLE:
        _files(driver, options)
    if driver == "syslog":
        logmessage.facility_number(options.get("syslog-facility", ""))
        if options.get("syslog-format", "") not in logmessage.FORMATS:
            raise InvalidArgument("Invalid syslog format")
        _parse_address(options.get("syslog-address", ""))
    for option in ("labels-regex", "env-regex"):
        _pattern(options, option)
    if options.get("tag"):
        render_tag(options["tag"], _NOBODY)


def launch_fields(config: LogConfig, subject: Subject, directory: str) -> Message:
    """The `log` of a launch; `directory` is the container's."""
    driver, options = config.type or DEFAULT, config.config
    if driver == "none":
        return {"driver": "none"}
    common: Message = {
        "driver": driver,
        "non_blocking": options.get("mode") == "non-blocking",
        "buffer": _size(options.get("max-buffer-size", ""), "max-buffer-size", unit=1024) or _BUFFER,
    }
    attributes = _attributes(options, subject)
    match driver:
        case "syslog":
            return common | _syslog(options, subject)
        case "journald":
            return common | {"fields": _journal_fields(options, subject)}
        case _:
            if options.get("tag"):
                attributes["tag"] = render_tag(options["tag"], subject)
            size, files, compress = _files(driver, options)
            return {
                "driver": driver,
                "path": log_path(config, subject.id, directory),
                "max_size": size,
                "max_file": files,
                "compress": compress,
                "attrs": attributes,
            }


def log_path(config: LogConfig, container_id: str, directory: str) -> str:
    """The newest file of a log that can be read; empty for other drivers."""
    match config.type or DEFAULT:
        case "json-file":
            return f"{directory}/{container_id}-json.log"
        case "local":
            return f"{directory}/local-logs/container.log"
        case _:
            return ""


# -- files


def _files(driver: str, options: dict[str, str]) -> tuple[int, int, bool]:
    """(bytes of a file or 0, number of files, whether rotated ones are compressed)."""
    local = driver == "local"
    size_text = options.get("max-size", "")
    size = 0 if size_text in ("", "-1") else _size(size_text, "invalid value for max-size", unit=1000)
    if size_text not in ("", "-1") and not size:
        raise InvalidArgument("max-size must be a positive number")
    text = options.get("max-file", "")
    if text and not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 9):
        raise InvalidArgument(f"invalid value for max-file: {text[:40]}: expected a number")
    files = int(text) if text else _LOCAL_FILES if local else 1
    if files < 1:
        raise InvalidArgument("max-file cannot be less than 1")
    if files > _MOST_FILES:
        raise InvalidArgument(f"max-file cannot be more than {_MOST_FILES}")
    compress = _boolean(options["compress"]) if "compress" in options else local
    if compress and local and files < 2:
        raise InvalidArgument("compression cannot be enabled when max file count is 1")
    if compress and not local and (files < 2 or not size):
        raise InvalidArgument("compress cannot be true when max-file is less than 2 or max-size is not set")
    return size or (_LOCAL_SIZE if local else 0), files, compress


def _boolean(text: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise InvalidArgument(f"invalid boolean value for compress: {text[:40]!r}: write true or false")


_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?) ?([kmgtp]?)(?:i?b)?", re.ASCII | re.IGNORECASE)


def _size(text: str, what: str, *, unit: int) -> int:
    """Bytes in `10m`, `1.5k`, or 0 for nothing."""
    if not text:
        return 0
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"{what}: invalid size: '{text[:40]}'")
    number, suffix = match.groups()
    return int(float(number) * unit ** " kmgtp".index(suffix.lower() or " "))


# -- what a log tells of its container


def _attributes(
    options: dict[str, str], subject: Subject, rename: Callable[[str], str] = str
) -> dict[str, str]:
    env = dict(item.split("=", 1) for item in subject.env if "=" in item)
    found: dict[str, str] = {}
    for values, name in ((subject.labels, "labels"), (env, "env")):
        for key in filter(None, options.get(name, "").split(",")):
            if key in values:
                found[rename(key)] = values[key]
        pattern = _pattern(options, f"{name}-regex")
        if pattern is not None:
            found |= {rename(key): value for key, value in values.items() if pattern.found_in(key)}
    size = sum(len(key) + len(value) for key, value in found.items())
    if size > _MOST_ATTRIBUTES:
        raise InvalidArgument(
            f"the labels and variables for its log have {size} characters, and each line would carry them:"
            f" name fewer with --log-opt, {_MOST_ATTRIBUTES} are possible"
        )
    return found


def _pattern(options: dict[str, str], name: str) -> Pattern | None:
    if not options.get(name):
        return None
    try:
        return Pattern(options[name])
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid {name}: {error}") from error


_ACTION = re.compile(r"\{\{-?\s*(?:(lower|upper|title|json)\s+)?\.([A-Za-z]+)\s*-?\}\}", re.ASCII)


_TAG_FUNCTIONS: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
    "json": '"{}"'.format,
}


def render_tag(template: str, subject: Subject) -> str:
    """A tag like `{{.ImageName}}/{{.Name}}`: fields, and lower, upper, title, json of one.

    It is one short line, whatever the fields hold: a command cannot begin a record of its own.
    """
    if len(template) > _LONGEST_TEMPLATE:
        raise InvalidArgument(f"invalid log tag: it is longer than {_LONGEST_TEMPLATE} characters")
    fields = _tag_fields(subject)

    def replace(match: re.Match[str]) -> str:
        function, name = match.groups()
        if name == "Hostname":
            return os.uname().nodename
        if name not in fields:
            raise InvalidArgument(f"template: log-tag: can't evaluate field {name} in type *logger.Info")
        field = fields[name][:_LONGEST_TAG]
        return _TAG_FUNCTIONS[function](field) if function else field

    if "{{" in _ACTION.sub("", template):
        raise InvalidArgument(
            f"invalid log tag {template[:80]!r}: only {{{{.Field}}}}, and lower, upper, title, json of one,"
            " are known"
        )
    rendered = _ACTION.sub(replace, template)[:_LONGEST_TAG]
    return "".join(one if one.isprintable() else " " for one in rendered)


def _tag_fields(subject: Subject) -> dict[str, str]:
    return {
        "ID": subject.id[:12],
        "FullID": subject.id,
        "Name": subject.name,
        "ImageID": subject.image_id[:12],
        "ImageFullID": subject.image_id,
        "ImageName": subject.image_name,
        "Command": subject.command,
        "DaemonName": "docker",
        "ContainerID": subject.id,
        "ContainerName": f"/{subject.name}",
        "ContainerImageID": subject.image_id,
        "ContainerImageName": subject.image_name,
    }


_NOBODY = Subject(id="", name="", image_id="", image_name="", command="", env=(), labels={})


# -- services


_OURS = ("MESSAGE", "PRIORITY", "SYSLOG_TIMESTAMP", "CONTAINER_PARTIAL_MESSAGE")
"""Fields that each message gets by itself."""


def _journal_fields(options: dict[str, str], subject: Subject) -> dict[str, str]:
    tag = render_tag(options.get("tag") or "{{.ID}}", subject)
    fields = {
        "CONTAINER_ID": subject.id[:12],
        "CONTAINER_ID_FULL": subject.id,
        "CONTAINER_NAME": subject.name,
        "CONTAINER_TAG": tag,
        "IMAGE_NAME": subject.image_name,
        "SYSLOG_IDENTIFIER": tag,
    }
    extra = _attributes(options, subject, logmessage.journal_name)
    # Ours come last: a label of an image cannot speak for another container, or for us.
    return {name: value for name, value in extra.items() if name and name not in _OURS} | fields


def _syslog(options: dict[str, str], subject: Subject) -> Message:
    transport, host, port, path = _parse_address(options.get("syslog-address", ""))
    fields: Message = {
        "transport": transport,
        "facility": logmessage.facility_number(options.get("syslog-facility", "")),
        "format": options.get("syslog-format", ""),
        "tag": render_tag(options.get("tag") or "{{.ID}}", subject),
    }
    if path:
        return fields | {"path": path, "shown": path}
    if not host:
        return fields
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(host, port, type=kind)
    except (OSError, UnicodeError) as error:
        raise Unavailable(
            f"failed to initialize logging driver: dial {transport}: lookup {host[:100]}: no such host"
        ) from error
    addresses = [[str(one[4][0]), int(one[4][1])] for one in found][:8]
    return fields | {"addresses": addresses, "shown": f"{host}:{port}"}


def _parse_address(unsafe_text: str) -> tuple[str, str, int, str]:
    """(transport, host, port, path) of `udp://host[:514]`, `tcp://…`, `unix:///path`, `unixgram:///path`."""
    if not unsafe_text:
        return "", "", 0, ""
    wrong = f"syslog-address should be in form proto://address, got {unsafe_text[:100]}"
    try:
        parts = urlsplit(unsafe_text)
        host, port = parts.hostname or "", parts.port or 514
    except ValueError as error:
        raise InvalidArgument(wrong) from error
    match parts.scheme:
        case "unix" | "unixgram":
            if not parts.path.startswith("/") or "\0" in parts.path or len(parts.path) > 107:
                raise InvalidArgument(wrong)
            if not os.path.exists(parts.path):
                raise InvalidArgument(f"stat {parts.path}: no such file or directory")
            return parts.scheme, "", 0, parts.path
        case "tcp" | "udp":
            if not host:
                raise InvalidArgument(wrong)
            return parts.scheme, host, port, ""
        case "tcp+tls":
            raise Unsupported("syslog over TLS is not supported: send to a local relay instead")
        case _:
            raise InvalidArgument(wrong)
