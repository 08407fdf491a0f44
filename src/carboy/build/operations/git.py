"""`ADD https://….git#ref`: a commit's tree as a filesystem.

The ref is resolved by asking the server in every build, unless it is a whole commit; the commit is the
ingredient.  Nothing is fetched when the cache has that commit's tree.  Times in it are constant: what is
copied from here gets the build's.
"""

from __future__ import annotations

from collections.abc import Sequence

from carboy.build.graph import Git, Vertex
from carboy.build.operation import Filesystem, Ingredients, Result, Value
from carboy.build.progress import Console
from carboy.build.session import EPOCH, Session
from carboy.build.sources.addresses import shown
from carboy.build.sources.http import Fetcher


class GitStep:
    """Fulfils operation.Step for graph.Git."""

    def __init__(self, vertex: Vertex, session: Session, *, fetcher: Fetcher | None = None) -> None:
        from carboy.build.sources.repositories import Repositories, Resolved, Wanted  # brings dulwich: 100 ms

        operation = vertex.operation
        assert isinstance(operation, Git)
        self._session = session
        self._wanted = Wanted(
            url=operation.url,
            ref=operation.ref,
            subdir=operation.subdir,
            checksum=operation.checksum,
            keep_git_dir=operation.keep_git_dir,
            submodules=operation.submodules,
        )
        self._repositories = Repositories(
            session.workshop,
            fetcher or Fetcher(proxies=session.proxies, cancellation=session.cancellation),
            agents=session.request.agents,
            secrets=session.request.secrets,
        )
        self._resolved: Resolved | None = None

    def ingredients(self, inputs: Sequence[Value]) -> Ingredients:  # noqa: ARG002 - it has none
        """The commit that the ref means now."""
        wanted = self._wanted
        self._resolved = resolved = self._repositories.resolve(wanted)
        values = {
            "repository": shown(wanted.url),
            "commit": resolved.commit,
            "subdirectory": wanted.subdir,
        }
        if wanted.keep_git_dir:
            values["keep git directory"] = resolved.ref or "detached"
        if not wanted.submodules:
            values["submodules"] = "none"
        return Ingredients("git", values)

    def run(self, inputs: Sequence[Value], console: Console) -> Result:  # noqa: ARG002
        """Fetch it."""
        fetched = self._repositories.fetch(
            self._wanted, told=console.progress, resolved=self._resolved, mtime=EPOCH
        )
        return Result(Filesystem((fetched.layer,)), fetched.layer, fetched.record)
