"""The query of `POST /build`: Docker's forms; wrong values are refused before anything is read."""

from __future__ import annotations

import string
from typing import TypeVar

import msgspec

from carboy.api.query import Query
from carboy.errors import InvalidArgument, Unsupported
from carboy.formats.dockerapi import wire
from carboy.formats.dockerapi.build import BuildOutput, BuildQuery, CachePruneOptions

T = TypeVar("T")

_ID_LETTERS = frozenset(string.ascii_letters + string.digits + "_.-")
_LONGEST_JSON = 1 << 20


class _Ulimit(wire.Document, kw_only=True):
    name: str = ""
    soft: int = 0
    hard: int = 0


class _Output(wire.Document, kw_only=True):
    type: str = ""
    attrs: dict[str, str] = msgspec.field(default_factory=dict)


def read_build_query(query: Query) -> BuildQuery:
    """Read it all; raises InvalidArgument, Unsupported."""
    _refuse(query)
    return BuildQuery(
        build=_identity(query, "build"),
        build_id=_identity(query, "buildid"),
        dockerfile=query.text("dockerfile"),
        tags=tuple(tag for tag in query.all("t") if tag),
        remote=query.text("remote"),
        quiet=query.boolean("q"),
        no_cache=query.boolean("nocache"),
        pull=query.boolean("pull"),
        arguments=_arguments(query),
        labels=_json(query, "labels", dict[str, str]),
        cache_from=tuple(_json(query, "cachefrom", list[str])),
        target=query.text("target"),
        platforms=tuple(one.strip() for one in query.text("platform").split(",") if one.strip()),
        network=query.text("networkmode"),
        extra_hosts=tuple(
            host for value in query.all("extrahosts") for host in value.split(",") if host.strip()
        ),
        outputs=tuple(_outputs(query)),
        memory=_size(query, "memory"),
        memory_swap=_size(query, "memswap", lowest=-1),
        cpu_shares=_size(query, "cpushares"),
        cpu_period=_size(query, "cpuperiod"),
        cpu_quota=_size(query, "cpuquota", lowest=-1),
        cpuset_cpus=query.text("cpusetcpus"),
        cpuset_mems=query.text("cpusetmems"),
        shm_size=_size(query, "shmsize"),
        cgroup_parent=query.text("cgroupparent"),
        ulimits=tuple((one.name, one.soft, one.hard) for one in _json(query, "ulimits", list[_Ulimit])),
        warnings=tuple(_warnings(query)),
    )


def read_prune_options(query: Query) -> CachePruneOptions:
    """The query of `POST /build/prune`, less its filters; `keep-storage` is the old `reserved-space`."""
    reserved = query.integer("reserved-space")
    return CachePruneOptions(
        everything=query.boolean("all"),
        reserved_space=query.integer("keep-storage") if reserved is None else reserved,
        max_used_space=query.integer("max-used-space"),
        min_free_space=query.integer("min-free-space"),
    )


def _refuse(query: Query) -> None:
    if query.boolean("squash"):
        raise Unsupported(
            "squash is not supported by Carboy: build in several stages and COPY --from what should stay"
        )
    version = query.text("version")
    if version not in ("", "1", "2"):
        raise InvalidArgument(f"invalid version {version[:20]!r}: the builder is version 1")
    if version == "2":
        raise Unsupported(
            "BuildKit's session protocol is not supported by Carboy yet: set DOCKER_BUILDKIT=0, or use"
            " `carboy build`, which has everything of it that Dockerfiles need"
        )
    isolation = query.text("isolation")
    if isolation not in ("", "default"):
        raise InvalidArgument(f"Unsupported isolation: {isolation[:40]!r}")


def _warnings(query: Query) -> list[str]:
    found = []
    if query.text("securityopt"):
        found.append("security options do not apply to building: they are ignored")
    if not query.boolean("rm", default=True) and not query.boolean("forcerm"):
        found.append("containers of steps are never kept: --rm=false is ignored")
    return found


def _identity(query: Query, name: str) -> str:
    value = query.text(name)
    if len(value) > 128 or not _ID_LETTERS.issuperset(value):
        raise InvalidArgument(
            f"invalid {name}: use at most 128 letters, digits, dots, dashes and underscores"
        )
    return value


def _size(query: Query, name: str, *, lowest: int = 0) -> int:
    value = query.integer(name) or 0
    if value < lowest:
        raise InvalidArgument(f"invalid value of {name}: {value} is less than {lowest}")
    return value


def _arguments(query: Query) -> dict[str, str]:
    try:
        found = msgspec.json.decode(query.text("buildargs").strip() or "{}", type=dict[str, str | None])
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise InvalidArgument(f"invalid value of buildargs: {error}") from error
    # null is a client's word for a variable that it does not have itself: the default counts.
    return {name: value for name, value in (found or {}).items() if value is not None}


def _outputs(query: Query) -> list[BuildOutput]:
    return [
        BuildOutput(type=one.type, attributes=one.attrs) for one in _json(query, "outputs", list[_Output])
    ]


def _json(query: Query, name: str, kind: type[T]) -> T:
    text = query.text(name).strip()
    if not text:
        return kind()
    if len(text) > _LONGEST_JSON:
        raise InvalidArgument(f"invalid value of {name}: it is longer than {_LONGEST_JSON} characters")
    try:
        return wire.decode(text.encode("utf-8"), kind)[0]
    except (InvalidArgument, UnicodeEncodeError) as error:
        raise InvalidArgument(f"invalid value of {name}: {error}") from error
