"""Which daemon a command speaks to: flags, environment, contexts, settings, in Docker's order.

    --context ─ -H ─ CARBOY_HOST ─ DOCKER_HOST ─ DOCKER_CONTEXT ─ currentContext of config.json ─ default

The context `default` is Carboy's own socket (CARBOY_HOST and DOCKER_HOST change what it means).  A
context that `docker context use` chose counts here as well: both programs share one store, and
`context show` says which one is meant.
"""

from __future__ import annotations

import os

from carboy.client import address, config
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.client.address import Address, Home, Tls
    from carboy.client.config import UserConfig

DEFAULT = "default"


class Wish:
    """The global flags that choose a daemon; None: not given."""

    def __init__(
        self,
        *,
        hosts: list[str],
        context: str = "",
        config: str = "",
        tls: bool = False,
        verify: bool | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
    ) -> None:
        self.hosts = hosts
        self.context = context
        self.config = config
        self.tls = tls
        self.verify = verify
        self.ca = ca
        self.cert = cert
        self.key = key


class Endpoint:
    """The chosen address, its context, and whether it is our own daemon (which may be started)."""

    def __init__(self, address: Address, *, context: str, own: bool) -> None:
        self.address = address
        self.context = context
        self.own = own


def context_name(wish: Wish, environment: Mapping[str, str], settings: UserConfig) -> str:
    """The name of the context that counts."""
    if wish.context:
        return wish.context
    if wish.hosts or host_variable(environment):
        return DEFAULT
    return environment.get("DOCKER_CONTEXT") or settings.context or DEFAULT


def resolve(wish: Wish, environment: Mapping[str, str], settings: UserConfig, where: Home) -> Endpoint:
    """The daemon to speak to."""
    if wish.hosts and wish.context:
        raise InvalidArgument("conflicting options: cannot specify both --host and --context")
    if len(wish.hosts) > 1:
        raise InvalidArgument("specify only one -H")
    name = context_name(wish, environment, settings)
    if name != DEFAULT:
        from carboy.client import contexts

        try:
            found = contexts.load(settings.directory, name).address()
            return Endpoint(found, context=name, own=found.path == where.socket)
        except contexts.ContextNotFound as error:
            hint = ""
            if not wish.context and not environment.get("DOCKER_CONTEXT"):
                hint = (
                    f": {settings.directory}/{config.FILE} names it, `carboy context use default` undoes that"
                )
            raise InvalidArgument(f"unable to resolve docker endpoint: {error}{hint}") from error
    tls = _tls(wish, environment, settings)
    if wish.hosts:
        return Endpoint(address.parse(wish.hosts[0], tls), context=DEFAULT, own=False)
    found = address.parse(host_variable(environment) or "unix://" + where.socket, tls)
    return Endpoint(found, context=DEFAULT, own=found.path == where.socket)


def host_variable(environment: Mapping[str, str]) -> str:
    """The host that the environment names, "" for none."""
    return environment.get("CARBOY_HOST") or environment.get("DOCKER_HOST") or ""


def _tls(wish: Wish, environment: Mapping[str, str], settings: UserConfig) -> Tls | None:
    """TLS as the flags and DOCKER_TLS, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH want it."""
    verify = bool(environment.get("DOCKER_TLS_VERIFY")) if wish.verify is None else wish.verify
    if not (wish.tls or verify or wish.verify is not None or environment.get("DOCKER_TLS")):
        return None
    folder = environment.get("DOCKER_CERT_PATH") or settings.directory
    cert, key = _file(wish.cert, folder + "/cert.pem"), _file(wish.key, folder + "/key.pem")
    ca = (wish.ca if wish.ca is not None else folder + "/ca.pem") if verify else ""
    return address.Tls(ca=ca, cert=cert, key=key, verify=verify)


def _file(named: str | None, usual: str) -> str:
    """What a flag names; else the usual file, if there is one."""
    if named is not None:
        return named
    return usual if os.path.exists(usual) else ""
