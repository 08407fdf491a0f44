"""Git repositories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from carboy.build.frontend.addresses import Repository
from carboy.build.session import Workshop
from carboy.build.sources.http import Fetcher
from carboy.digest import Digest
from carboy.errors import Unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is wanted of a repository."""

    url: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool = False
    submodules: bool = True

    @classmethod
    def of(cls, repository: Repository) -> Wanted:
        """As an address says it."""
        return cls(
            url=repository.url,
            ref=repository.ref,
            subdir=repository.subdir,
            checksum=repository.checksum,
            keep_git_dir=bool(repository.keep_git_dir),
            submodules=repository.submodules,
        )


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came."""

    layer: Digest
    commit: str
    commit_time: int
    record: Mapping[str, str]


class Repositories:
    """Fetches."""

    def __init__(self, workshop: Workshop, fetcher: Fetcher, *, agents: Mapping[str, str]) -> None:
        self._workshop = workshop
        self._fetcher = fetcher
        self._agents = agents

    def fetch(self, wanted: Wanted, *, told: Callable[[str, int, int], None]) -> Fetched:  # noqa: ARG002
        """The tree of a commit as a layer."""
        raise Unsupported("git repositories come in a moment")
