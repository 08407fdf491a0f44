"""COPY, ADD and WORKDIR without a daemon: a store, a context, and steps above it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from carboy.build.executor import Executed, Job
from carboy.build.graph import Directory, Files, FileSource, Vertex
from carboy.build.operation import Filesystem, Ingredients, Result, Value
from carboy.build.operations.directory import DirectoryStep
from carboy.build.operations.files import FilesStep
from carboy.build.progress import Cancellation, Console
from carboy.build.request import BuildRequest, LocalContext
from carboy.build.session import Session, Workshop
from carboy.build.trees import LocalTree
from carboy.formats.dockerignore import Ignore
from carboy.store.content import ContentStore
from carboy.store.intake import FileWindow
from carboy.store.layers import DirectoryLayers, ErofsLayers, LayerStore
from carboy.store.metadata import Database
from carboy.store.paths import Paths
from carboy.store.views import mounted
from support.copycases import Tree, tree_of_directory

EPOCH = 315_619_200
DRIVERS: dict[str, type[ErofsLayers] | type[DirectoryLayers]] = {
    "erofs": ErofsLayers,
    "directory": DirectoryLayers,
}


class NoExecutor:
    """Nothing is run here."""

    def execute(self, job: Job, console: Console) -> Executed:
        raise AssertionError(f"{job.args} was to be run by {console.vertex.name}")


@dataclass
class Told:
    """A reporter that keeps warnings."""

    warnings: list[str] = field(default_factory=list)

    def started(self, vertex: Vertex) -> None: ...

    def cached(self, vertex: Vertex) -> None: ...

    def explained(self, vertex: Vertex, reasons: tuple[str, ...]) -> None: ...

    def output(self, vertex: Vertex, stream: int, data: bytes) -> None: ...

    def progress(self, vertex: Vertex, what: str, current: int, total: int) -> None: ...

    def finished(self, vertex: Vertex, error: str) -> None: ...

    def warning(self, vertex: Vertex | None, text: str) -> None:
        self.warnings.append(text)


@dataclass
class Yard:
    """A store, a context and what steps need."""

    session: Session
    context: LocalTree
    told: Told

    @property
    def layers(self) -> LayerStore:
        return self.session.workshop.layers

    def take(self, tar: Path) -> Filesystem:
        """A tar as a filesystem of one layer."""
        with tar.open("rb") as file:
            return Filesystem((self.layers.ingest(FileWindow.whole(file.fileno())).diff_id,))

    def files(self, operation: Files, inputs: Sequence[Value]) -> FilesStep:
        """The step of a COPY or ADD."""
        return FilesStep(_vertex(operation, len(inputs)), self.session)

    def copy(
        self,
        *patterns: str,
        to: str = "/x/",
        base: Filesystem | None = None,
        source: Value | None = None,
        **flags: object,
    ) -> Copied:
        """COPY from the context, or from `source`."""
        unpack = bool(flags.pop("unpack", False))
        operation = Files(
            sources=(FileSource(input=1, patterns=patterns, unpack=unpack),), destination=to, is_add=unpack
        )
        for name, value in flags.items():
            operation = _with(operation, name, value)
        return self.run(operation, [base or Filesystem(), source or self.context])

    def run(self, operation: Files, inputs: Sequence[Value]) -> Copied:
        """Both halves of a step."""
        step = self.files(operation, inputs)
        ingredients = step.ingredients(inputs)
        return Copied(ingredients, step.run(inputs, self.console()))

    def workdir(self, path: str, base: Filesystem, user: str = "") -> Copied:
        """WORKDIR."""
        step = DirectoryStep(_vertex(Directory(path=path, user=user), 1), self.session)
        return Copied(step.ingredients([base]), step.run([base], self.console()))

    def console(self) -> Console:
        vertex = _vertex(Directory(path="/"), 1)
        return Console(self.told, vertex, self.session.cancellation)

    def tree(self, value: Value) -> Tree:
        """What a filesystem looks like."""
        assert isinstance(value, Filesystem)
        with mounted(self.layers, value.layers, self.session.workshop.paths) as fd:
            return tree_of_directory(fd)

    def tar(self, result: Result) -> bytes:
        """The layer that a step added."""
        assert result.layer is not None
        fd = self.layers.open_tar(result.layer)
        with open(fd, "rb") as file:
            return file.read()

    def instructions(self, instructions: Sequence[str], base: Filesystem) -> Filesystem:
        """A few lines of a Dockerfile; `--from` is the base."""
        value, cwd, user = base, "/", ""
        for line in instructions:
            name, *words = shlex.split(line)
            flags = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
            words = [word for word in words if not word.startswith("--")]
            if name == "USER":
                user = words[0]
            elif name == "WORKDIR":
                cwd = os.path.normpath(os.path.join(cwd, words[0]))
                value = _filesystem(self.workdir(cwd, value, user).result)
            else:
                operation = _files(name, words, flags, cwd)
                source: Value = base if "from" in flags else self.context
                value = _filesystem(self.run(operation, [value, source]).result)
        return value


@dataclass
class Copied:
    """What a step said and did."""

    ingredients: Ingredients
    result: Result

    @property
    def key(self) -> str:
        return self.ingredients.key()

    @property
    def filesystem(self) -> Filesystem:
        return _filesystem(self.result)


@contextmanager
def yard(
    root: Path, context: Path, *, driver: str = "erofs", ignore: str | None = None, epoch: int = EPOCH
) -> Iterator[Yard]:
    """A yard whose store is below `root`; two with the same root share what is remembered of files."""
    paths = Paths(str(root / "root"), str(root / "run"))
    paths.create()
    database = Database(paths.db)
    layers = DRIVERS[driver](paths)
    shop = Workshop(paths, database, layers, ContentStore(paths.blobs, paths.ingest), NoExecutor())
    fd = os.open(context, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tree = LocalTree(fd, str(context), Ignore.parse(ignore) if ignore is not None else None)
        told = Told()
        request = BuildRequest(context=LocalContext(root=fd, path=str(context)))
        session = Session(shop, request, {"": tree}, epoch, {}, told, Cancellation())
        yield Yard(session, tree, told)
    finally:
        os.close(fd)
        layers.close()
        database.close()


def with_contexts(yard: Yard, contexts: Mapping[str, Value]) -> Yard:
    """The same with other contexts."""
    return replace(yard, session=replace(yard.session, contexts=contexts))


def _files(name: str, words: Sequence[str], flags: Mapping[str, str], cwd: str) -> Files:
    is_add = name == "ADD"
    return Files(
        sources=(FileSource(input=1, patterns=tuple(words[:-1]), unpack=is_add),),
        destination=words[-1],
        cwd=cwd,
        chown=flags.get("chown", ""),
        chmod=flags.get("chmod", ""),
        is_add=is_add,
    )


def _with(operation: Files, name: str, value: object) -> Files:
    import msgspec

    changed: Files = msgspec.structs.replace(operation, **{name: value})
    return changed


def _vertex(operation: Files | Directory, inputs: int) -> Vertex:
    return Vertex(
        index=inputs, operation=operation, inputs=tuple(range(inputs)), name=type(operation).__name__
    )


def _filesystem(result: Result) -> Filesystem:
    assert isinstance(result.value, Filesystem)
    return result.value
