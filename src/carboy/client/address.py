"""Where a daemon is: hosts as URLs, and the two directories of a home.

unix:///path/to/socket    tcp://host[:port]    ssh://[user@]host[:port][/path/to/socket]

Which of them a command speaks to is decided in `endpoint.py`.

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


class Tls:
    """How to speak TLS: files of the authority, our certificate and its key ("": none)."""

    def __init__(self, *, ca: str = "", cert: str = "", key: str = "", verify: bool = True) -> None:
        self.ca = ca
        self.cert = cert
        self.key = key
        self.verify = verify


class Address:
    """A parsed host: a unix socket's path, a tcp host and port (perhaps with TLS), or a host reached by ssh.

    With ssh, `path` stays empty (it is no file of ours) and `socket` is the far daemon's, if named.
    """

    def __init__(
        self,
        url: str,
        *,
        path: str = "",
        host: str = "",
        port: int = 0,
        ssh: bool = False,
        user: str = "",
        socket: str = "",
    ) -> None:
        self.url = url
        self.path = path
        self.host = host
        self.port = port
        self.ssh = ssh
        self.user = user
        self.socket = socket
        self.tls: Tls | None = None


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


def parse(url: str, tls: Tls | None = None) -> Address:
    """A host URL; a host without a scheme is tcp, as for Docker. `tls` is for tcp only."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "tcp", url
    if scheme == "unix":
        if not rest.startswith("/"):
            raise InvalidArgument(f"invalid host {url!r}: the socket's path must be absolute")
        return Address(url, path=rest)
    if scheme == "tcp":
        host, port = _split_port(rest.partition("/")[0], 2376 if tls else 2375)
        if not host or port is None or (not separator and host == rest and not _is_name(host)):
            raise InvalidArgument(f"invalid host {url!r}: write unix:///path, tcp://host:port or ssh://host")
        address = Address(url if separator else "tcp://" + url, host=host, port=port)
        address.tls = tls
        return address
    if scheme == "ssh":
        return _parse_ssh(url, rest)
    raise InvalidArgument(
        f"host {url!r} uses {scheme}://, which is not supported: use unix://, tcp:// or ssh://"
    )


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@%:")


def _parse_ssh(url: str, unsafe_rest: str) -> Address:
    """Every part becomes an argument of ssh or a word of the far shell: only plain characters pass."""
    place, slash, path = unsafe_rest.partition("/")
    user, at, target = place.rpartition("@")
    if ":" in user:
        raise InvalidArgument(
            "invalid host: ssh URLs hold no passwords: use a key, or ssh's own configuration"
        )
    host, port = _split_port(target, 0)
    if not host or port is None or (at and not user):
        raise InvalidArgument(f"invalid host {url!r}: write ssh://[user@]host[:port][/path/to/socket]")
    for part in (user, host, *path.split("/")):
        if part[:1] == "-" or not _PLAIN.issuperset(part):
            raise InvalidArgument(f"invalid host {url!r}: {part!r} cannot be passed to ssh")
    return Address(url, host=host, port=port, ssh=True, user=user, socket=slash + path if path else "")


def _is_name(host: str) -> bool:
    """Whether a word without scheme and port is a host's: nothing but a typing error has no dot."""
    return host == "localhost" or "." in host or ":" in host


def _split_port(unsafe_text: str, default: int) -> tuple[str, int | None]:
    if unsafe_text.endswith("]"):
        return unsafe_text.strip("[]"), default
    host, colon, port = unsafe_text.rpartition(":")
    if not colon:
        return unsafe_text, default
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        return host, None
    return host.strip("[]"), int(port)
