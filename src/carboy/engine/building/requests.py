"""What a client asked for, in Docker's words and ours, as a BuildRequest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import UNSET

from carboy.build.executor import StepLimits
from carboy.build.exporters.encoders import parse_encoder
from carboy.build.request import (
    AnyContext,
    BuildRequest,
    CacheLocation,
    ImageContext,
    LocalContext,
    Output,
    RemoteContext,
    TarContext,
)
from carboy.engine.images.configs import parse_platform
from carboy.errors import InvalidArgument, Unsupported
from carboy.formats.dockerapi.build import BuildContext, BuildOptions, BuildOutput, BuildQuery
from carboy.formats.reference import Reference, parse

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
LATEST = 253_402_300_799
"""The last second of the year 9999: no later time can be written into an image."""
_EPOCH = "SOURCE_DATE_EPOCH"
_MOST_DESCRIPTORS = 256
_OUTPUTS = {
    "image": {"name", "push", "dest"},
    "local": set(),
    "tar": set(),
    "oci": {"name", "tar", "annotation"},
    "docker": {"name", "tar", "annotation", "context"},
}
_EVERY_OUTPUT = {
    "dest", "rewrite-timestamp", "compression", "compression-level", "force-compression", "oci-mediatypes",
    "platform-split", "unpack", "store", "buildinfo", "attestation-prefix", "name-canonical",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Copies of the client's descriptors, by its own numbers."""

    by_number: Mapping[int, int]

    def take(self, number: int, what: str) -> int:
        """Ours, for its number."""
        if number not in self.by_number:
            raise InvalidArgument(f"the descriptor of {what} was not handed over")
        return self.by_number[number]


def named_descriptors(options: BuildOptions) -> list[tuple[int, bool]]:
    """The client's descriptors that the options name, and whether each is of a directory."""
    contexts = list(options.contexts.values())
    if options.context is not UNSET:
        contexts.append(options.context)
    found = [(each.descriptor, each.kind == "directory") for each in contexts if each.descriptor >= 0]
    found += [
        (each.descriptor, True) for each in (*options.cache_from, *options.cache_to) if each.descriptor >= 0
    ]
    if len({number for number, _ in found}) > _MOST_DESCRIPTORS:
        raise InvalidArgument(f"more than {_MOST_DESCRIPTORS} descriptors cannot be handed over for a build")
    return found


def context_of(
    given: BuildContext, name: str, descriptors: Descriptors, sent: Mapping[str, int]
) -> AnyContext:
    """A context that the options name; `sent` are tars that came by themselves."""
    shown = f"the context {name}" if name else "the build context"
    if given.kind == "directory":
        return LocalContext(root=descriptors.take(given.descriptor, shown), path=given.path)
    if given.kind == "archive":
        if given.descriptor >= 0:
            return TarContext(descriptor=descriptors.take(given.descriptor, shown))
        if name not in sent:
            raise InvalidArgument(f"{shown} was announced as a tar, and was not sent")
        return TarContext(descriptor=sent[name])
    if given.kind == "remote":
        return RemoteContext(url=given.url)
    if given.kind == "image":
        return ImageContext(reference=given.reference)
    raise InvalidArgument(f"{shown} is of the unknown kind {given.kind[:40]!r}")


def build_request(
    query: BuildQuery,
    options: BuildOptions,
    *,
    context: AnyContext | None,
    contexts: Mapping[str, AnyContext],
    descriptors: Descriptors,
) -> BuildRequest:
    """Everything together; raises InvalidArgument for what makes no sense."""
    network, allow = _network(query.network, tuple(options.allow))
    limits = StepLimits(
        memory=query.memory,
        memory_swap=query.memory_swap,
        cpu_shares=query.cpu_shares,
        cpu_period=query.cpu_period,
        cpu_quota=query.cpu_quota,
        cpuset_cpus=query.cpuset_cpus,
        cpuset_mems=query.cpuset_mems,
        shm_size=query.shm_size,
        cgroup_parent=query.cgroup_parent,
        ulimits=query.ulimits,
    )
    cache_from = [CacheLocation(type="inline", attributes={"ref": ref}) for ref in query.cache_from]
    for each in options.cache_from:
        cache_from.append(_location(each.type, each.attributes, each.descriptor, descriptors))
    cache_to = [
        _location(each.type, each.attributes, each.descriptor, descriptors) for each in options.cache_to
    ]
    return BuildRequest(
        context=context,
        dockerfile_name=query.dockerfile or options.dockerfile_path,
        dockerfile=None if options.dockerfile is UNSET else options.dockerfile,
        ignore=None if options.ignore is UNSET else options.ignore,
        contexts=contexts,
        arguments=query.arguments,
        labels=query.labels,
        tags=tuple(dict.fromkeys(parse_tag(tag).familiar for tag in query.tags)),
        targets=tuple(options.targets) or ((query.target,) if query.target else ()),
        platforms=tuple(dict.fromkeys(_platform(one) for one in (*options.platforms, *query.platforms))),
        no_cache=query.no_cache,
        no_cache_filter=tuple(options.no_cache_filter),
        pull=query.pull,
        network=network,
        extra_hosts=query.extra_hosts,
        limits=limits,
        secrets=options.secrets,
        agents=options.agents,
        allow=allow,
        outputs=tuple(_output(each) for each in (*options.outputs, *query.outputs)) or (Output(),),
        cache_from=tuple(cache_from),
        cache_to=tuple(cache_to),
        cache_ttl=options.cache_ttl,
        explain=options.explain,
        reproducible=options.reproducible,
        host_ca=options.host_ca,
        epoch=_epoch(query, options),
    )


def parse_tag(unsafe_tag: str) -> Reference:
    """A name to give; raises InvalidArgument."""
    reference = parse(unsafe_tag)
    if reference.digest is not None:
        raise InvalidArgument(f"invalid tag {unsafe_tag[:200]!r}: a name with a digest cannot be given")
    return reference.tagged()


def proxies_of(query: BuildQuery, options: BuildOptions, own: Mapping[str, str]) -> dict[str, str]:
    """Proxy variables for RUN: the daemon's, then the client's, then build arguments; both spellings."""
    found: dict[str, str] = {}
    for source in (own, options.proxies, query.arguments):
        for name, value in source.items():
            if name.upper() in PROXIES:
                found[name.upper()] = value
                found[name.lower()] = value
    for source in (options.proxies, query.arguments):
        found.update({name: value for name, value in source.items() if name.upper() in PROXIES})
    return {name: value for name, value in sorted(found.items()) if value}


def _network(mode: str, allow: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    if mode in ("", "default", "bridge"):
        return "default", allow
    if mode == "none":
        return mode, allow
    if mode == "host":  # to ask for it is to allow it, as with Docker
        return mode, tuple(dict.fromkeys((*allow, "network.host")))
    if mode.startswith("container:"):
        raise Unsupported("building in the network of a container is not supported by Carboy")
    raise Unsupported(f"network {mode[:80]!r} is not supported for builds: use default, none or host")


def _platform(unsafe_platform: str) -> str:
    platform = parse_platform(unsafe_platform)
    return "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))


def _location(
    kind: str, attributes: Mapping[str, str], descriptor: int, descriptors: Descriptors
) -> CacheLocation:
    if kind == "local":
        return CacheLocation(
            type=kind,
            attributes=attributes,
            directory=descriptors.take(descriptor, "a cache's directory"),
        )
    if kind in ("inline", "registry") and (kind == "inline" or "ref" in attributes):
        return CacheLocation(type="inline", attributes=attributes)
    raise Unsupported(f"cache of type {kind[:40]!r} is not supported by Carboy: use local or inline")


def _output(given: BuildOutput) -> Output:
    kind = {"": "image", "registry": "image", "moby": "image"}.get(given.type, given.type)
    if given.type == "registry" or given.attributes.get("push", "").lower() in ("1", "true"):
        raise Unsupported("pushing is not supported by Carboy yet: build, then copy the image by `save`")
    if kind == "cacheonly":
        return Output(type=kind)
    if kind not in _OUTPUTS:
        raise InvalidArgument(
            f"exporter {kind[:40]!r} could not be found: use image, local, tar, oci, docker or cacheonly"
        )
    known = _OUTPUTS[kind] | _EVERY_OUTPUT
    for name in given.attributes:
        if name not in known and not name.startswith("annotation"):
            raise InvalidArgument(f"the output {kind} has no attribute {name[:80]!r}")
    parse_encoder(given.attributes)
    return Output(type=kind, attributes=given.attributes)


def _epoch(query: BuildQuery, options: BuildOptions) -> int | None:
    if options.epoch is not UNSET:
        return _moment(str(options.epoch))
    given = query.arguments.get(_EPOCH)
    return None if given is None or not given.strip() else _moment(given.strip())


def _moment(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 12 and int(text) <= LATEST):
        raise InvalidArgument(f"invalid {_EPOCH} {text[:40]!r}: it must be a number of seconds since 1970")
    return int(text)
