"""What the daemon's settings say for containers that say nothing themselves.

Applied once, when a container is created, so that `inspect` shows what will be; a reload counts
for containers made after it.
"""

from __future__ import annotations

from carboy.formats.dockerapi.containers import HostConfig, Ulimit
from carboy.formats.settings.reading import Settings


def apply(settings: Settings, host: HostConfig) -> None:
    """Fill in what is absent of `host`."""
    _log(settings, host)
    named = {one.name for one in host.ulimits}
    for name, pair in settings.pairs("default-ulimits").items():
        if name not in named:
            soft, _, hard = pair.partition(":")
            host.ulimits.append(Ulimit(name=name, soft=int(soft), hard=int(hard)))
    joins_network = host.network_mode.startswith("container:")
    if not joins_network and host.network_mode != "host":
        host.dns = host.dns or settings.words("dns")
        host.dns_options = host.dns_options or settings.words("dns-opts")
        host.dns_search = host.dns_search or settings.words("dns-search")
    host.shm_size = host.shm_size or settings.size("default-shm-size")
    host.ipc_mode = host.ipc_mode or settings.text("default-ipc-mode")
    host.cgroupns_mode = host.cgroupns_mode or settings.text("default-cgroupns-mode")
    if host.init is None and settings.flag("init"):
        host.init = True
    if settings.flag("no-new-privileges") and not any(
        option.startswith("no-new-privileges") for option in host.security_opt
    ):
        host.security_opt = [*host.security_opt, "no-new-privileges"]


def _log(settings: Settings, host: HostConfig) -> None:
    """The driver, and its options when it is the default one."""
    default = settings.text("log-driver")
    host.log_config.type = host.log_config.type or default
    if host.log_config.type == default:
        host.log_config.config = {**settings.pairs("log-opts"), **host.log_config.config}
