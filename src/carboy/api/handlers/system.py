"""The daemon itself."""

from __future__ import annotations

from msgspec import UNSET

from carboy.api import versions
from carboy.api.call import Call
from carboy.api.reply import EMPTY, Answer, Reply, json_reply
from carboy.api.versions import Version
from carboy.formats.dockerapi.system import Info


async def ping(call: Call) -> Answer:
    """`GET` and `HEAD /_ping`: facts in headers."""
    facts = call.backends.system.ping()
    return Reply(
        body=b"OK",
        content_type="text/plain; charset=utf-8",
        headers=(
            ("Builder-Version", facts.builder_version),
            ("Cache-Control", "no-cache, no-store, must-revalidate"),
            ("Pragma", "no-cache"),
            ("Swarm", "inactive"),
        ),
    )


async def version(call: Call) -> Answer:
    """`GET /version`"""
    document = await call.run(call.backends.system.version)
    document.api_version = document.api_version or versions.text(versions.MAXIMUM)
    document.min_api_version = document.min_api_version or versions.text(versions.MINIMUM)
    for component in document.components[:1]:  # the engine, where Docker's client looks for them
        component.details["ApiVersion"] = document.api_version
        component.details["MinAPIVersion"] = document.min_api_version
    return json_reply(document)


async def info(call: Call) -> Answer:
    """`GET /info`"""
    document = await call.run(call.backends.system.info)
    _as_of(document, call.version)
    return json_reply(document)


def _as_of(info: Info, version: Version) -> None:
    """Leave out what an older client does not know, put in what it expects."""
    if version >= (1, 42):
        info.kernel_memory = UNSET
    if version < (1, 44):
        info.cdi_spec_dirs = UNSET
        for runtime in info.runtimes.values():
            runtime.status = UNSET
    if version < (1, 49):
        info.firewall_backend = UNSET
        for commit in (info.containerd_commit, info.runc_commit, info.init_commit):
            commit.expected = commit.id
    if version < (1, 50):
        info.discovered_devices = UNSET
    else:
        info.bridge_nf_iptables = info.bridge_nf_ip6tables = UNSET


async def disk_usage(call: Call) -> Answer:
    """`GET /system/df`"""
    kinds = call.query.all("type") if call.version >= (1, 42) else []
    usage = await call.run_slow(lambda: call.backends.system.disk_usage(kinds))
    if call.version >= (1, 42):
        usage.builder_size = UNSET
    if call.version >= (1, 44):
        for image in usage.images or ():
            image.virtual_size = UNSET
    return json_reply(usage)


async def reset(call: Call) -> Answer:
    """`POST /carboy/system/reset`: remove everything Carboy made, then end."""
    await call.run_slow(call.backends.system.reset)
    call.services.stop()
    return EMPTY
