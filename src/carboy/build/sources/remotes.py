"""Talking to git servers: which refs there are, and a pack of what is wanted.

The protocol is dulwich's; what carries it is ours: HTTP through `Fetcher` (TLS, proxies, bounds, credentials
for one server only), `git://` over a socket with a timeout, ssh through the `ssh` program with the build's
agent and nothing else of the daemon's (no configuration, no keys).  Nothing that comes is believed here.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from dulwich.client import AbstractHttpGitClient, SSHGitClient, SubprocessSSHVendor, TCPGitClient
from dulwich.errors import NotGitRepository
from dulwich.protocol import Protocol as GitProtocol

from carboy.build.progress import Cancellation
from carboy.build.sources.addresses import scrub, shown
from carboy.build.sources.http import Fetcher, Response, check_status, where
from carboy.errors import (
    CarboyError,
    Corrupt,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
    Unsupported,
)

if TYPE_CHECKING:
    from dulwich.client import SubprocessWrapper

REFS_LIMIT = 32 << 20
"""Bytes of a server's list of refs, and of anything else that is not a pack."""
_PACK_LIMIT = 16 << 30
_IDLE = 60.0
_PIECE = 1 << 16
_SSH = (
    "ssh -F none -o BatchMode=yes -o IdentityFile=none -o StrictHostKeyChecking=yes -o ConnectTimeout=30"
    " -o ServerAliveInterval=20 -o ForwardAgent=no -o ForwardX11=no -o ClearAllForwardings=yes"
    " -o PermitLocalCommand=no"
)
_AGENT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@")

Progress = Callable[[int, int], None]


class Client(Protocol):
    """What of dulwich's clients is used."""

    def get_refs(self, path: bytes, *, ref_prefix: Sequence[bytes] | None) -> Any: ...
    def fetch_pack(
        self,
        path: bytes,
        determine_wants: Callable[..., list[Any]],
        graph_walker: Any,
        pack_data: Callable[[bytes], int],
        progress: Callable[[bytes], None] | None,
        *,
        depth: int | None,
        ref_prefix: Sequence[bytes] | None,
    ) -> Any: ...


class Remote:
    """One repository on a server."""

    def __init__(
        self,
        url: str,
        fetcher: Fetcher,
        *,
        agents: Mapping[str, str],
        authorization: str = "",
    ) -> None:
        self.url = url
        self.shown = shown(url)
        self._cancellation = fetcher.cancellation
        self._bounded = _Bounded(self.shown)
        self._client, self._path = _client(url, fetcher, agents, authorization, self._bounded)

    def refs(self, prefixes: Sequence[bytes]) -> dict[bytes, str]:
        """Commits (or tags) by the whole name of their ref; `^{}` behind a tag's name is what it is for."""
        with self._failures():
            found = self._client.get_refs(self._path, ref_prefix=list(prefixes))
            if found.object_format not in (None, "sha1"):
                raise Unsupported(
                    f"{self.shown}: its objects are named by {found.object_format}: only sha1 is"
                )
            return {
                bytes(name): value.decode("ascii")
                for name, value in found.refs.items()
                if value is not None and len(value) == 40
            }

    def fetch(self, wants: Sequence[str], *, depth: int | None, pack: int, progress: Progress) -> int:
        """Write a pack with some commits to a descriptor; how many bytes it has.

        With a depth their own trees only.  Without wants every branch and tag, with all history.
        """
        taken = 0
        self._bounded.in_pack = False  # it may be that a fetch before this one failed in its pack

        def write(data: bytes) -> int:
            nonlocal taken
            self._cancellation.check()
            self._bounded.in_pack = True
            taken += len(data)
            if taken > _PACK_LIMIT:
                raise InvalidArgument(f"{self.shown}: more than {_PACK_LIMIT} bytes come; that is refused")
            view = memoryview(data)
            while view:
                view = view[os.write(pack, view) :]
            progress(taken, 0)
            return len(data)

        def choose(refs: Mapping[bytes, bytes], *_args: object, **_more: object) -> list[bytes]:
            if wants:
                return [want.encode() for want in wants]
            tips = {tip for name, tip in refs.items() if name.startswith((b"refs/heads/", b"refs/tags/"))}
            return sorted(tip for tip in tips if len(tip) == 40)

        prefixes = [b"HEAD"] if wants else [b"refs/heads/", b"refs/tags/"]
        with self._failures():
            self._client.fetch_pack(
                self._path, choose, _NothingYet(), write, None, depth=depth, ref_prefix=prefixes
            )
        return taken

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Whatever dulwich raises over what a server said, as an error with the address."""
        try:
            yield
        except CarboyError:
            raise
        except NotGitRepository:
            self._cancellation.check()
            raise NotFound(f"{self.shown}: repository not found") from None
        except TimeoutError:
            self._cancellation.check()
            raise Unavailable(f"{self.shown}: no answer within {_IDLE:.0f} s") from None
        except OSError as error:
            self._cancellation.check()
            text = scrub(error.strerror or str(error), self.url)
            raise Unavailable(f"{self.shown}: cannot be reached: {text[:300]}") from None
        except Exception as error:  # a hostile answer makes dulwich raise many kinds
            self._cancellation.check()
            text = scrub(" ".join(str(error).split()) or type(error).__name__, self.url)
            raise Corrupt(f"{self.shown}: the server's answer cannot be used: {text[:300]}") from None
        finally:
            if isinstance(self._client, (_Tcp, _SshClient)):
                self._client.end()


class _NothingYet:
    """A walk over the commits that we have: none."""

    def __next__(self) -> None:
        return None

    def ack(self, _sha: bytes) -> None:
        pass

    def nak(self) -> None:
        pass


class _Http(AbstractHttpGitClient):
    """Git over HTTP through our fetcher."""

    def __init__(self, url: str, fetcher: Fetcher, authorization: str, bounded: _Bounded) -> None:
        super().__init__(url, thin_packs=True, quiet=True)
        self._fetcher = fetcher
        self._authorization = authorization
        self._bounded = bounded
        self._home = urlsplit(url)[:2]

    def _get_url(self, path: str | bytes) -> str:  # noqa: ARG002 - the address is the repository's
        return self._base_url

    def _http_request(  # type: ignore[override]  # dulwich wants a response of urllib3
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,  # noqa: ARG002
    ) -> tuple[_Answer, Callable[[int], bytes]]:
        sent = {name: value for name, value in (headers or {}).items() if name.lower() != "content-length"}
        body = data if data is None or isinstance(data, bytes) else b"".join(data)
        response = self._fetcher.open(
            url,
            method="GET" if body is None else "POST",
            headers=sent,
            body=body,
            authorization=self._authorization if urlsplit(url)[:2] == self._home else "",
        )
        try:
            if response.status in (401, 403):
                raise PermissionDenied(
                    f"{where(url)}: the server wants to know who asks:"
                    " give a token as --secret id=GIT_AUTH_TOKEN"
                )
            check_status(response)
            answer = _Answer(response, url)
            if not (answer.content_type or "").startswith("application/x-git-"):
                raise NotFound(
                    f"{where(url)}: no git repository answers there (or one without the smart protocol)"
                )
        except BaseException:
            response.close()
            raise
        is_pack = body is not None and b"command=ls-refs" not in body[:1024]
        return answer, self._bounded.reader(answer.pack) if is_pack else answer.bounded


class _Bounded:
    """Counts what a server says before its pack: that is kept in memory (refs, commits without parents)."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._left = REFS_LIMIT
        self.in_pack = False
        """What comes now goes to a file, and is counted there."""

    def reader(self, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """The same, until it is too much."""

        def bounded(size: int) -> bytes:
            data = read(size)
            if not self.in_pack:
                self._left -= len(data)
                if self._left < 0:
                    raise InvalidArgument(
                        f"{self._where}: its list of refs is larger than {REFS_LIMIT} bytes"
                    )
            return data

        return bounded


class _Answer:
    """A response as dulwich looks at it."""

    def __init__(self, response: Response, asked: str) -> None:
        self._response = response
        self.content_type = response.header("Content-Type") or None
        self.redirect_location = response.url if response.url != asked else ""
        self.status = response.status
        self._taken = 0
        self._buffer = b""

    def bounded(self, size: int) -> bytes:
        """Bytes of a list of refs."""
        data = self.pack(size)
        self._taken += len(data)
        if self._taken > REFS_LIMIT:
            raise InvalidArgument(
                f"{where(self._response.url)}: its list of refs is larger than {REFS_LIMIT} bytes"
            )
        return data

    def pack(self, size: int) -> bytes:
        """Bytes of an answer with a pack, which is counted elsewhere.  Fewer only at the end."""
        while len(self._buffer) < size and (piece := self._response.read(_PIECE)):
            self._buffer += piece
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()


class _Tcp(TCPGitClient):
    """`git://`, with a timeout, and ended by a cancelled build."""

    def __init__(self, host: str, port: int | None, cancellation: Cancellation, bounded: _Bounded) -> None:
        super().__init__(host, port, thin_packs=True, quiet=True)
        self._cancellation = cancellation
        self._bounded = bounded
        self._opened: list[GitProtocol] = []

    def _connect(
        self, cmd: bytes, path: str | bytes, protocol_version: int | None = None
    ) -> tuple[GitProtocol, Callable[[], bool], None]:
        stream = socket.create_connection((self._host, self._port), timeout=_IDLE)
        forget = self._cancellation.subscribe(lambda: _shut(stream, socket.SHUT_RDWR))
        reading, writing = stream.makefile("rb"), stream.makefile("wb", 0)

        def close() -> None:
            forget()
            reading.close()
            writing.close()
            stream.close()

        proto = GitProtocol(
            self._bounded.reader(reading.read),
            writing.write,
            close,
            shutdown_write=lambda: _shut(stream, socket.SHUT_WR),
        )
        self._opened.append(proto)
        self.protocol_version = 2 if protocol_version is None else protocol_version
        asked = path if isinstance(path, bytes) else path.encode()
        version = b"\0\0version=2\0" if self.protocol_version == 2 else b""
        proto.send_cmd(b"git-" + cmd, asked, b"host=" + self._host.encode("idna") + version)
        return proto, lambda: False, None

    def end(self) -> None:
        """Leave nothing open."""
        while self._opened:
            self._opened.pop().close()


class _Ssh(SubprocessSSHVendor):
    """Starts ssh, and ends it when the build is cancelled."""

    def __init__(self, cancellation: Cancellation, bounded: _Bounded) -> None:
        self._cancellation = cancellation
        self._bounded = bounded
        self._started: list[tuple[SubprocessWrapper, Callable[[], None]]] = []

    def run_command(self, *args: Any, **more: Any) -> SubprocessWrapper:
        """Run a command on the server."""
        process = super().run_command(*args, **more)
        self._started.append((process, self._cancellation.subscribe(process.proc.kill)))
        process.read = self._bounded.reader(process.read)  # type: ignore[assignment]  # always a size
        return process

    def end(self) -> None:
        """Leave no process behind, however the conversation ended."""
        while self._started:
            process, forget = self._started.pop()
            forget()
            process.proc.kill()
            process.proc.wait()
            for pipe in (process.proc.stdin, process.proc.stdout, process.proc.stderr):
                if pipe is not None:
                    pipe.close()


class _SshClient(SSHGitClient):
    """Git over ssh; closes what it opened."""

    def __init__(self, host: str, port: int | None, user: str, vendor: _Ssh, agent: str) -> None:
        super().__init__(
            host,
            port,
            user,
            vendor=vendor,
            ssh_command=f"{_SSH} -o IdentityAgent={agent}",
            thin_packs=True,
            quiet=True,
        )
        self._vendor = vendor
        self._opened: list[GitProtocol] = []

    def _connect(
        self, cmd: bytes, path: str | bytes, protocol_version: int | None = None
    ) -> tuple[GitProtocol, Callable[[], bool], IO[bytes] | None]:
        opened = super()._connect(cmd, path, protocol_version)
        self._opened.append(opened[0])
        return opened

    def end(self) -> None:
        """Leave nothing open."""
        self._vendor.end()
        while self._opened:
            self._opened.pop().close()


def _client(
    url: str, fetcher: Fetcher, agents: Mapping[str, str], authorization: str, bounded: _Bounded
) -> tuple[Client, bytes]:
    if "://" not in url:
        user, _, rest = url.partition("@")
        host, _, path = rest.partition(":")
        return _ssh(host, user, None, agents, fetcher.cancellation, bounded), path.encode()
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme in ("http", "https"):
        bare = parts._replace(fragment="", query="").geturl()
        return _Http(bare, fetcher, authorization, bounded), path.encode()
    if parts.scheme == "git":
        return _Tcp(parts.hostname or "", parts.port, fetcher.cancellation, bounded), path.encode()
    if parts.scheme == "ssh":
        user = unquote(parts.username or "git")
        return _ssh(
            parts.hostname or "", user, parts.port, agents, fetcher.cancellation, bounded
        ), path.encode()
    raise InvalidArgument(f"{shown(url)}: repositories are fetched over https, http, git and ssh")


def _ssh(
    host: str,
    user: str,
    port: int | None,
    agents: Mapping[str, str],
    cancellation: Cancellation,
    bounded: _Bounded,
) -> SSHGitClient:
    agent = agents.get("default", "")
    if not agent:
        raise InvalidArgument(
            f"{user}@{host}: repositories over ssh need an agent with the key: build with --ssh default"
        )
    if host.startswith("-") or user.startswith("-") or not _AGENT.issuperset(agent):
        raise InvalidArgument(f"cannot run ssh for {user}@{host}: a name in it is not safe to be an argument")
    return _SshClient(host, port, user, _Ssh(cancellation, bounded), agent)


def _shut(stream: socket.socket, how: int) -> None:
    try:
        stream.shutdown(how)
    except OSError:
        pass
