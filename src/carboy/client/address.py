"""Where the daemon is: hosts as URLs, and the two directories of a home.

CARBOY_HOST, else DOCKER_HOST, else unix://<run>/carboy.sock
root: /var/lib/carboy, or $XDG_DATA_HOME/carboy           (CARBOY_ROOT)
run:  /run/carboy, or $XDG_RUNTIME_DIR/carboy             (CARBOY_RUN)
"""

from __future__ import annotations

from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET_NAME = "carboy.sock"


class Home:
    """The root and run directories that this user's daemon uses."""

    def __init__(self, root: str, run: str) -> None:
        self.root = root
        self.run = run

    @property
    def socket(self) -> str:
        return self.run + "/" + SOCKET_NAME


class Address:
    """A parsed host: a unix socket's path, or a tcp host and port."""

    def __init__(self, url: str, *, path: str = "", host: str = "", port: int = 0) -> None:
        self.url = url
        self.path = path
        self.host = host
        self.port = port


def home(environment: Mapping[str, str], uid: int) -> Home:
    """The directories of the daemon that belongs to this user and environment."""
    if uid == 0:
        root, run = "/var/lib/carboy", "/run/carboy"
    else:
        base = environment.get("HOME") or "/"
        root = (environment.get("XDG_DATA_HOME") or base.rstrip("/") + "/.local/share") + "/carboy"
        run = (environment.get("XDG_RUNTIME_DIR") or f"/tmp/carboy-{uid}") + "/carboy"
    root, run = environment.get("CARBOY_ROOT") or root, environment.get("CARBOY_RUN") or run
    for name, path in (("CARBOY_ROOT", root), ("CARBOY_RUN", run)):
        if not path.startswith("/"):
            raise InvalidArgument(f"{name}={path} is not an absolute path: write it in full")
    return Home(root.rstrip("/") or "/", run.rstrip("/") or "/")


def choose(environment: Mapping[str, str], where: Home, host_flag: str | None) -> tuple[Address, bool]:
    """The address to speak to, and whether it is our own (so that the daemon may be started)."""
    own = "unix://" + where.socket
    if host_flag:
        return parse(host_flag), False
    address = parse(environment.get("CARBOY_HOST") or environment.get("DOCKER_HOST") or own)
    return address, address.path == where.socket


def parse(url: str) -> Address:
    """A host URL: unix:///path, or tcp://host:port."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise InvalidArgument(f"invalid host {url!r}: write unix:///path/to/socket or tcp://host:port")
    if scheme == "unix":
        if not rest.startswith("/"):
            raise InvalidArgument(f"invalid host {url!r}: the socket's path must be absolute")
        return Address(url, path=rest)
    if scheme == "tcp":
        host, port = _split_port(rest.partition("/")[0])
        if not host or port is None:
            raise InvalidArgument(f"invalid host {url!r}: write tcp://host:port")
        return Address(url, host=host, port=port)
    raise InvalidArgument(f"host {url!r} uses {scheme}://, which is not supported: use unix:// or tcp://")


def _split_port(unsafe_text: str) -> tuple[str, int | None]:
    host, colon, port = unsafe_text.rpartition(":")
    if not colon:
        return unsafe_text, 2375
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        return host, None
    return host.strip("[]"), int(port)
