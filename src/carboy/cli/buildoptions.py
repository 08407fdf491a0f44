"""The flags of `build` as the two halves of a request: the query that every Docker knows, and the rest."""

from __future__ import annotations

import os

from carboy.cli import units, values
from carboy.cli.buildcontext import encoded
from carboy.cli.flags import UsageError
from carboy.client import document
from carboy.errors import InvalidArgument, NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.cli.flags import Parsed
    from carboy.client.document import Json

    Query = tuple[tuple[str, str], ...]

MAX_SECRET = 500 << 10
_SIZES = (("memory", "memory"), ("shm-size", "shmsize"))
_NUMBERS = (("cpu-shares", "cpushares"), ("cpu-period", "cpuperiod"), ("cpu-quota", "cpuquota"))
_TEXTS = (
    ("cgroup-parent", "cgroupparent"),
    ("cpuset-cpus", "cpusetcpus"),
    ("cpuset-mems", "cpusetmems"),
    ("isolation", "isolation"),
    ("network", "networkmode"),
)
_TIMES = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def query(parsed: Parsed, environment: Mapping[str, str]) -> Query:
    """What `POST /build` has always had."""
    found: list[tuple[str, str]] = [("t", tag) for tag in parsed.list("tag")]
    found += [(key, parsed.text(flag)) for flag, key in _TEXTS if parsed.given(flag)]
    found += [(key, str(parsed.number(flag))) for flag, key in _NUMBERS if parsed.given(flag)]
    found += [
        (key, str(units.parse_size(parsed.text(flag), f"--{flag}")))
        for flag, key in _SIZES
        if parsed.given(flag)
    ]
    if parsed.given("memory-swap"):
        text = parsed.text("memory-swap")
        found.append(("memswap", "-1" if text == "-1" else str(units.parse_size(text, "--memory-swap"))))
    found += [("nocache", "1")] * parsed.flag("no-cache") + [("pull", "1")] * parsed.flag("pull")
    found += [("squash", "1")] * parsed.flag("squash") + [("rm", "1"), ("forcerm", "1")]
    targets, platforms = several(parsed, "target"), several(parsed, "platform")
    found += [("target", one) for one in targets[-1:]] + [("platform", one) for one in platforms[:1]]
    if arguments := _given_here(parsed.list("build-arg"), environment):
        found.append(("buildargs", document.encode(arguments).decode()))
    if parsed.list("label"):
        labels = values.pairs(parsed.list("label"), "label")
        found.append(("labels", document.encode(labels).decode()))
    if parsed.list("ulimit"):
        limits = [values.ulimit(one) for one in parsed.list("ulimit")]
        found.append(("ulimits", document.encode(limits).decode()))
    for item in parsed.list("add-host"):
        found.append(("extrahosts", _extra_host(item)))
    return tuple(found)


def options(parsed: Parsed, environment: Mapping[str, str], *, near: bool) -> Json:
    """What only Carboy knows, as fields of `POST /build/begin`."""
    found: Json = {
        "Allow": _allowed(list_of(parsed, "allow")),
        "NoCacheFilter": list_of(parsed, "no-cache-filter"),
        "Targets": several(parsed, "target"),
        "Platforms": several(parsed, "platform"),
        "Secrets": {name: encoded(data) for name, data in map(secret, parsed.list("secret"))},
        "Agents": dict(agent(one, environment, near=near) for one in parsed.list("ssh")),
        "CacheTtl": duration(parsed.text("cache-ttl"), "--cache-ttl") if parsed.given("cache-ttl") else 0.0,
        "Explain": parsed.flag("explain"),
        "Reproducible": parsed.flag("reproducible"),
        "HostCa": parsed.flag("host-ca"),
    }
    epoch = environment.get("SOURCE_DATE_EPOCH", "")
    if epoch:
        if not (epoch.isascii() and epoch.isdecimal() and len(epoch) <= 11):
            raise InvalidArgument(f"invalid SOURCE_DATE_EPOCH {epoch!r}: write seconds since 1970")
        found["Epoch"] = int(epoch)
    return {key: value for key, value in found.items() if value or key == "Epoch"}


def _given_here(given: list[str], environment: Mapping[str, str]) -> dict[str, str | None]:
    """NAME=VALUE, or NAME with the value that it has here; one that has none is not given."""
    found: dict[str, str | None] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name:
            raise InvalidArgument(f'invalid --build-arg "{one}": write NAME=VALUE')
        if equals:
            found[name] = value
        elif name in environment:
            found[name] = environment[name]
    return found


def several(parsed: Parsed, name: str) -> list[str]:
    """`--target a,b` and `--target a --target b`."""
    given = parsed.list(name) or ([parsed.text(name)] if parsed.text(name) else [])
    return [one.strip() for text in given for one in text.split(",") if one.strip()]


def list_of(parsed: Parsed, name: str) -> list[str]:
    """A list whose values may hold several, with commas."""
    return several(parsed, name)


def _extra_host(text: str) -> str:
    """NAME:IP, or NAME=IP; IPv6 addresses may stand in brackets."""
    cut = min((at for at in (text.find("="), text.find(":")) if at > 0), default=-1)
    address = text[cut + 1 :]
    if cut < 0 or not address:
        why = f'bad format for add-host: "{text}"'
        raise UsageError(f'invalid argument "{text}" for "--add-host" flag: {why}')
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return f"{text[:cut]}:{address}"


def secret(text: str) -> tuple[str, bytes]:
    """`id=NAME[,src=FILE|,env=VARIABLE][,type=file|env]`: its name and content."""
    fields = settings(text, "secret", ("id", "src", "source", "env", "type"))
    name, kind = fields.get("id", ""), fields.get("type", "")
    if kind not in ("", "file", "env"):
        raise InvalidArgument(f'unsupported secret type "{kind}": write type=file or type=env')
    path, variable = fields.get("src", fields.get("source", "")), fields.get("env", "")
    if kind == "env" and not variable:
        variable, path = path or name, ""
    name = name or os.path.basename(path) or variable
    if not name:
        raise InvalidArgument(f'invalid --secret "{text}": write id=NAME,src=FILE, or id=NAME,env=VARIABLE')
    if not path and not variable:
        variable, path = (name, "") if kind != "file" and name in os.environ else ("", name)
    if variable:
        if variable not in os.environ:
            raise NotFound(f"secret {name}: the variable {variable} is not set")
        return name, os.fsencode(os.environ[variable])
    return name, _secret_file(name, os.path.expanduser(path))


def _secret_file(name: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SECRET + 1)
    except OSError as error:
        raise NotFound(f"secret {name}: cannot read {path}: {(error.strerror or '').lower()}") from error
    if len(data) > MAX_SECRET:
        raise InvalidArgument(f"secret {name}: {path} is larger than {MAX_SECRET >> 10} kB")
    return data


def agent(text: str, environment: Mapping[str, str], *, near: bool) -> tuple[str, str]:
    """`default`, `ID` or `ID=SOCKET`: the id and the path of an agent's socket."""
    name, _, path = text.partition("=")
    path = path or environment.get("SSH_AUTH_SOCK", "")
    if not near:
        raise Unsupported(f"--ssh {text}: an ssh agent can be reached from this machine's daemon only")
    if not path:
        raise InvalidArgument(
            f'invalid empty ssh agent socket for "{name}": start ssh-agent, or write ID=SOCKET'
        )
    path = os.path.abspath(os.path.expanduser(path))
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise NotFound(f"--ssh {text}: {path}: {(error.strerror or '').lower()}") from error
    if mode & 0o170000 != 0o140000:
        raise Unsupported(f"--ssh {text}: {path} is no agent's socket: `ssh-add` keys to an agent instead")
    return name, path


def _allowed(given: list[str]) -> list[str]:
    for text in given:
        if text not in ("network.host", "security.insecure") and text.partition("=")[0] != "device":
            raise InvalidArgument(
                f'invalid --allow "{text}": write network.host, security.insecure or device=NAME'
            )
    return given


def cache_locations(given: list[str], flag: str) -> tuple[list[Json], list[Json]]:
    """`--cache-from`, `--cache-to`: (locations, those of them that are directories: dest or src)."""
    found: list[Json] = []
    for text in given:
        if "=" not in text.partition(",")[0]:
            found += [{"Type": "inline", "Attributes": {"ref": one}} for one in text.split(",") if one]
            continue
        fields = settings(text, flag, ())
        kind = fields.pop("type", "")
        if kind not in ("local", "inline"):
            raise Unsupported(
                f"--{flag} {text}: type={kind or '?'} is not there yet: write type=local, or inline"
            )
        key = "src" if flag == "cache-from" else "dest"
        if kind == "local" and not fields.get(key):
            raise InvalidArgument(f'invalid --{flag} "{text}": {key}=DIRECTORY is missing')
        found.append({"Type": kind, "Attributes": fields})
    return found, [one for one in found if one["Type"] == "local"]


def settings(text: str, what: str, known: tuple[str, ...]) -> dict[str, str]:
    """`a=b,c=d`, with quotes as in CSV; `known` () takes any key."""
    found: dict[str, str] = {}
    for field in values.csv(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            raise InvalidArgument(f"invalid field '{field}' of --{what}: must be a key=value pair")
        if known and key not in known:
            raise InvalidArgument(
                f"unexpected key '{key}' in '{field}' of --{what}: {', '.join(known)} are known"
            )
        found[key] = value
    return found


def duration(text: str, flag: str) -> float:
    """`90s`, `24h`, `7d`, `1h30m`: seconds."""
    total, digits = 0.0, ""
    for one in text:
        if one.isdigit() or one == ".":
            digits += one
        elif one in _TIMES and digits and digits.count(".") < 2:
            total, digits = total + float(digits) * _TIMES[one], ""
        else:
            raise UsageError(f'invalid argument "{text}" for "{flag}" flag: write a time as 24h or 7d')
    if digits or not text:
        raise UsageError(f'invalid argument "{text}" for "{flag}" flag: write a time with its unit, as 24h')
    return total
