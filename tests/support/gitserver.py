"""Git repositories in memory, and servers of them on loopback (dulwich's own, protocol version 0).

`Repository.commit` takes files by path: bytes, or ("link", target), ("module", commit), or (mode, bytes).
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dulwich.objects import Blob, Commit, ShaFile, Tag, Tree
from dulwich.repo import MemoryRepo
from dulwich.server import DictBackend, TCPGitServer
from dulwich.web import make_wsgi_chain

Content = bytes | tuple[str, str] | tuple[int, bytes]
TIME = 1_700_000_000


class Repository:
    """One repository."""

    def __init__(self) -> None:
        self.repo = MemoryRepo()
        self._parent: bytes | None = None

    def commit(self, files: Mapping[str, Content], *, branch: str = "main", time: int = TIME) -> str:
        """A commit of these files on a branch, after the last one; its id."""
        return self.commit_tree(self.tree(files), branch=branch, time=time)

    def tree(self, files: Mapping[str, Content]) -> bytes:
        """The id of a tree of files."""
        below: dict[str, dict[str, Content]] = {}
        entries: list[tuple[bytes, int, bytes]] = []
        for path, content in files.items():
            head, slash, rest = path.partition("/")
            if slash:
                below.setdefault(head, {})[rest] = content
            elif isinstance(content, tuple) and content[0] == "module":
                entries.append((head.encode(), 0o160000, str(content[1]).encode()))
            elif isinstance(content, tuple) and content[0] == "link":
                entries.append((head.encode(), 0o120000, self.blob(str(content[1]).encode())))
            elif isinstance(content, tuple):
                entries.append((head.encode(), int(content[0]), self.blob(bytes(content[1]))))  # type: ignore[arg-type]
            else:
                entries.append((head.encode(), 0o100644, self.blob(content)))
        entries += [(name.encode(), 0o040000, self.tree(inside)) for name, inside in below.items()]
        return self.raw_tree(entries)

    def raw_tree(self, entries: list[tuple[bytes, int, bytes]]) -> bytes:
        """A tree with any names at all."""
        ordered = sorted(entries, key=lambda one: one[0] + (b"/" if one[1] == 0o040000 else b""))
        data = b"".join(
            b"%o %s\0%s" % (mode, name, bytes.fromhex(sha.decode())) for name, mode, sha in ordered
        )
        return self._add(ShaFile.from_raw_string(Tree.type_num, data))

    def blob(self, data: bytes) -> bytes:
        """The id of a file's contents."""
        return self._add(Blob.from_string(data))

    def commit_tree(self, tree: bytes, *, branch: str = "main", time: int = TIME) -> str:
        """A commit of a tree."""
        commit = Commit()
        commit.tree = tree
        commit.parents = [self._parent] if self._parent else []  # type: ignore[list-item]
        commit.author = commit.committer = b"Some One <some@one.test>"
        commit.author_time = commit.commit_time = time
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"message\n"
        self._parent = self._add(commit)
        self.set_ref(f"refs/heads/{branch}", self._parent.decode())
        self.repo.refs.set_symbolic_ref(b"HEAD", b"refs/heads/main")  # type: ignore[arg-type]
        return self._parent.decode()

    def tag(self, name: str, commit: str) -> str:
        """An annotated tag; its own id."""
        tag = Tag()
        tag.name, tag.message, tag.tagger = name.encode(), b"tagged\n", b"Some One <some@one.test>"
        tag.tag_time, tag.tag_timezone = TIME, 0
        tag.object = (Commit, commit.encode())
        sha = self._add(tag).decode()
        self.set_ref(f"refs/tags/{name}", sha)
        return sha

    def set_ref(self, name: str, target: str) -> None:
        """Set any ref."""
        self.repo.refs[name.encode()] = target.encode()  # type: ignore[index,assignment]

    def _add(self, one: ShaFile) -> bytes:
        self.repo.object_store.add_object(one)
        return bytes(one.id)


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


class GitServer:
    """Serves repositories by path over HTTP (`url`) and `git://` (`git_url`).  Use as a context."""

    def __init__(self, repositories: Mapping[str, Repository], *, authorization: str = "") -> None:
        served: dict[str, Any] = {f"/{name}": one.repo for name, one in repositories.items()}
        backend = DictBackend(served)
        application: Any = make_wsgi_chain(backend)
        self.authorizations: list[str] = []

        def asked(environ: dict[str, Any], start_response: Any) -> Any:
            sent = environ.get("HTTP_AUTHORIZATION", "")
            self.authorizations.append(sent)
            if authorization and sent != authorization:
                start_response("401 Unauthorized", [("Content-Length", "0")])
                return [b""]
            return application(environ, start_response)

        self._http = make_server("127.0.0.1", 0, asked, server_class=WSGIServer, handler_class=_Quiet)
        self._git = TCPGitServer(backend, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.git_url = f"git://127.0.0.1:{self._git.server_address[1]}"
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.01,)) for server in (self._http, self._git)
        ]

    def __enter__(self) -> GitServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        for server in (self._http, self._git):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()


class RealGitServer:
    """git's own server (`git http-backend`) of the repositories below a directory.  Use as a context."""

    def __init__(self, directory: str) -> None:
        self.protocols: list[str] = []

        def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            self.protocols.append(environ.get("HTTP_GIT_PROTOCOL", ""))
            passed = {name: value for name, value in environ.items() if isinstance(value, str)}
            passed |= {"GIT_PROJECT_ROOT": directory, "GIT_HTTP_EXPORT_ALL": "1", "PATH": os.environ["PATH"]}
            passed["GIT_PROTOCOL"] = environ.get("HTTP_GIT_PROTOCOL", "")
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            done = subprocess.run(["git", "http-backend"], input=body, env=passed, capture_output=True)
            head, _, rest = done.stdout.partition(b"\r\n\r\n")
            pairs = [line.decode().partition(": ") for line in head.split(b"\r\n")]
            headers = [(name, value) for name, _, value in pairs if name != "Status"]
            start_response(next((value for name, _, value in pairs if name == "Status"), "200 OK"), headers)
            return [rest]

        self._server = make_server("127.0.0.1", 0, answer, server_class=WSGIServer, handler_class=_Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> RealGitServer:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
