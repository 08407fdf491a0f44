"""Values that flags carry: key=value lists, environment and label files, ulimits, devices, ports, mounts."""

from __future__ import annotations

import os

from carboy.cli.units import parse_size
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.client.document import Json

MAX_TEXT = 4 << 20


def pairs(items: list[str], what: str, *, bare: bool = True) -> dict[str, str]:
    """`["a=b", "c"]` as a mapping; `bare` allows a name alone."""
    result: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not name or (not equals and not bare):
            raise InvalidArgument(f"invalid {what} {item!r}: write NAME=VALUE")
        result[name] = value
    return result


def environment(items: list[str], files: list[str], ours: Mapping[str, str]) -> list[str]:
    """Variables for the container: files first, then flags; a name alone takes our value.

    Where we have none, a file's name is left out, and a flag's takes the image's variable away.
    """
    result: list[str] = []
    from_files = [line for path in files for line in read_lines(path)]
    for position, item in enumerate([*from_files, *items]):
        name, equals, _value = item.partition("=")
        if not name:
            raise InvalidArgument(f"invalid environment variable: {item}: write NAME=VALUE")
        if equals:
            result.append(item)
        elif name in ours:
            result.append(f"{name}={ours[name]}")
        elif position >= len(from_files):
            result.append(name)
    return result


def read_lines(path: str) -> list[str]:
    """The lines of an environment or label file: comments and empty lines left out."""
    lines = [line.lstrip().rstrip("\r") for line in read_text(path).split("\n")]
    kept = [line for line in lines if line and not line.startswith("#")]
    for line in kept:
        if any(space in line.partition("=")[0] for space in " \t"):
            raise InvalidArgument(f"{path}: the variable name in {line!r} contains a space")
    return kept


def read_text(path: str) -> str:
    """A small text file of the user's; bytes that are no UTF-8 are kept."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        text = file.read(MAX_TEXT + 1)
    if len(text) > MAX_TEXT or "\0" in text:
        raise InvalidArgument(f"{path}: this is not a text file of at most {MAX_TEXT >> 20} MiB")
    return text


def ulimit(text: str) -> Json:
    """`nofile=1024:2048`."""
    name, equals, limits = text.partition("=")
    soft, _colon, hard = limits.partition(":")
    try:
        if not equals or not name:
            raise ValueError
        soft_value = int(soft)
        hard_value = int(hard) if hard else soft_value
    except ValueError as error:
        raise bad("--ulimit", text, f"invalid ulimit argument: {text}: write NAME=SOFT[:HARD]") from error
    if hard_value != -1 and (soft_value > hard_value or soft_value == -1):
        why = "ulimit soft limit must be less than or equal to hard limit"
        raise bad("--ulimit", text, f"{why}: {soft_value} > {hard_value}")
    return {"Name": name, "Soft": soft_value, "Hard": hard_value}


def throttle(text: str, flag: str) -> Json:
    """`/dev/sda:1mb`, `/dev/sda:500`."""
    path, colon, rate = text.rpartition(":")
    if not colon:
        raise bad(f"--{flag}", text, f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise bad(f"--{flag}", text, f"bad format for device path: {text}")
    if flag == "blkio-weight-device":
        if not rate.isdigit() or not (int(rate) == 0 or 10 <= int(rate) <= 1000):
            raise bad(f"--{flag}", text, f"invalid weight for device: {text}")
        return {"Path": path, "Weight": int(rate)}
    in_bytes = flag.endswith("-bps")
    try:
        return {"Path": path, "Rate": parse_size(rate, f"--{flag}") if in_bytes else _count(rate)}
    except (InvalidArgument, ValueError) as error:
        form = "<device-path>:<number>[<unit>]. Number must be a positive integer."
        form += " Unit is optional and can be kb, mb, or gb" if in_bytes else ""
        if not in_bytes:
            form = form.replace("[<unit>]", "")
        raise bad(
            f"--{flag}", text, f"invalid rate for device: {text}. The correct format is {form}"
        ) from error


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError(text)
    return int(text)


def restart_policy(text: str) -> Json:
    """`on-failure:3`."""
    name, colon, count = text.partition(":")
    if not name and colon:
        raise InvalidArgument("invalid restart policy format: no policy provided before colon")
    if colon and not (count.isascii() and count.isdigit() and len(count) < 10):
        raise InvalidArgument("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def bind(text: str) -> tuple[str, str]:
    """A -v value as (bind, "") or ("", anonymous volume's path); a relative source becomes absolute."""
    source, colon, rest = text.partition(":")
    if not text:
        raise InvalidArgument("invalid empty volume spec")
    if not colon:
        return "", text
    if not source or not rest:
        raise InvalidArgument(f"invalid spec: {text}: empty section between colons")
    if source in (".", "..", "~") or source.startswith(("./", "../", "~/")):
        source = os.path.abspath(os.path.expanduser(source))
    return f"{source}:{rest}", ""


def tmpfs(items: list[str]) -> dict[str, str]:
    """`/path:size=1m` as a mapping from path to options."""
    return {path: options for path, _colon, options in (item.partition(":") for item in items)}


def bad(flag: str, text: str, why: str) -> InvalidArgument:
    """A wrong value, in Docker's words."""
    return InvalidArgument(f'invalid argument "{text}" for "{flag}" flag: {why}')


def boolean(text: str) -> bool:
    """True or false as Go reads it; ValueError for anything else."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(text)


def csv(text: str) -> list[str]:
    """The fields of one line of comma-separated values; quotes protect commas."""
    fields, field, quoted = [], "", False
    for character in text:
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            fields.append(field)
            field = ""
        else:
            field += character
    return [*fields, field]
