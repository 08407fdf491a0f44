"""Builds without RUN, from a case's own files to layers: what COPY, ADD and WORKDIR write."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from carboy.build.caching.cache import BuildCache
from carboy.build.frontend.drawing import BaseImage, draw
from carboy.build.graph import Graph
from carboy.build.operation import Value
from carboy.build.progress import Cancellation
from carboy.build.request import BuildRequest
from carboy.build.session import EPOCH, Session, Workshop
from carboy.build.solver import Solved, Solver
from carboy.build.trees import LocalTree
from carboy.errors import CarboyError, NotFound
from carboy.formats.dockerfile.stages import read_document
from carboy.formats.dockerignore import Ignore
from carboy.formats.oci import ImageDocument, RootFS
from carboy.store.content import ContentStore
from carboy.store.layers import LayerStore
from carboy.store.metadata import Database
from carboy.store.paths import Paths
from support.building import NoExecutor, Told
from support.graphs import CaseOptions


class Entry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One file of a context or an image: a text stands for a plain file, null for a directory."""

    data: str = ""
    mode: str = ""
    link: str | None = None
    hardlink: str | None = None
    owner: tuple[int, int] = (0, 0)
    fifo: bool = False
    tar: dict[str, str | Entry | None] | None = None
    """An archive of these; gzipped when the name says so."""


Tree = dict[str, str | Entry | None]


class LayerCase(CaseOptions, forbid_unknown_fields=True):
    """case.json: files beside what a build is told."""

    context: Tree = msgspec.field(default_factory=dict)
    others: dict[str, Tree] = msgspec.field(default_factory=dict)
    """Named contexts."""
    images: dict[str, list[Tree]] = msgspec.field(default_factory=dict)
    """Layers of images, by reference."""
    reproducible_epoch: int = EPOCH


def entry_of(value: str | Entry | None) -> tuple[Entry, bool]:
    """The entry, and whether it is a directory."""
    if isinstance(value, Entry):
        return value, value == Entry(mode=value.mode, owner=value.owner) and value.mode.startswith("d")
    return (Entry(), True) if value is None else (Entry(data=value), False)


def make_tree(root: Path, tree: Tree) -> None:
    """Files on the disk; times and umask are whatever they are."""
    for name, value in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        entry, is_directory = entry_of(value)
        if is_directory:
            path.mkdir(exist_ok=True)
        elif entry.link is not None:
            path.symlink_to(entry.link)
            continue
        elif entry.hardlink is not None:
            path.hardlink_to(root / entry.hardlink)
            continue
        elif entry.fifo:
            os.mkfifo(path)
        elif entry.tar is not None:
            path.write_bytes(tar_bytes(entry.tar, compressed=name.endswith("gz")))
        else:
            path.write_bytes(entry.data.encode())
        os.chown(path, *entry.owner)
        path.chmod(int(entry.mode.removeprefix("d") or ("755" if is_directory else "644"), 8))


def tar_bytes(tree: Tree, *, compressed: bool = False) -> bytes:
    """An archive, as GNU tar would make it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, value in tree.items():
            entry, is_directory = entry_of(value)
            info = tarfile.TarInfo(name)
            info.mode = int(entry.mode.removeprefix("d") or ("755" if is_directory else "644"), 8)
            info.uid, info.gid = entry.owner
            info.mtime = 1_000_000_000
            info.type = tarfile.DIRTYPE if is_directory else tarfile.REGTYPE
            if entry.link is not None:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
            elif entry.hardlink is not None:
                info.type, info.linkname = tarfile.LNKTYPE, entry.hardlink
            data = entry.data.encode() if info.isreg() else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0) if compressed else out.getvalue()


class StoredImages:
    """Images of a case, in a store; `base` is an empty one."""

    def __init__(self, case: LayerCase, layers: LayerStore) -> None:
        self._case = case
        self._layers = layers

    def resolve(self, reference: str, platform: str) -> BaseImage:
        if reference not in self._case.images:
            raise NotFound(f"no such image: {reference}")
        options = self._case.bases.get(reference)
        tars = [tar_bytes(tree) for tree in self._case.images[reference]]
        names = tuple([str(self._layers.ingest(io.BytesIO(tar)).diff_id) for tar in tars])
        config = msgspec.convert(options.config if options else {}, ImageDocument().config.__class__)
        document = ImageDocument(
            architecture="amd64", os="linux", config=config, rootfs=RootFS(diff_ids=list(names))
        )
        digest = "sha256:" + hashlib.sha256(reference.encode()).hexdigest()
        return BaseImage(digest, document, names, platform or "linux/amd64")


class Shop:
    """A store and a solver."""

    def __init__(self, directory: Path, driver: Any) -> None:
        self.paths = Paths(str(directory / "root"), str(directory / "run"))
        self.paths.create()
        self.layers: LayerStore = driver(self.paths)
        self.content = ContentStore(self.paths.blobs, self.paths.ingest)
        self.database = Database(self.paths.db)
        self.solver = Solver(BuildCache(self.database, self.layers))

    def close(self) -> None:
        self.solver.close()
        self.database.close()
        self.layers.close()

    def build(self, dockerfile: bytes, case: LayerCase, directory: Path) -> tuple[Graph, Solved]:
        """Everything that a case's targets need."""
        with ExitStack() as stack:
            contexts: dict[str, Value] = {}
            for name, tree in {"": case.context, **case.others}.items():
                contexts[name] = stack.enter_context(opened(directory / (name or "main"), tree))
            request = case.request()
            graph = draw(read_document(dockerfile), request, StoredImages(case, self.layers))
            session = Session(
                workshop=Workshop(self.paths, self.database, self.layers, self.content, NoExecutor()),
                request=BuildRequest(context=None),
                contexts=contexts,
                epoch=case.reproducible_epoch,
                proxies={},
                reporter=Told(),
                cancellation=Cancellation(),
            )
            return graph, self.solver.solve(graph, session)


@contextmanager
def opened(directory: Path, tree: Tree) -> Iterator[LocalTree]:
    """A context's directory."""
    directory.mkdir(exist_ok=True)
    make_tree(directory, tree)
    ignore = None
    if (directory / ".dockerignore").exists():
        ignore = Ignore.parse((directory / ".dockerignore").read_text())
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield LocalTree(fd, str(directory), ignore)
    finally:
        os.close(fd)


def layers_text(graph: Graph, solved: Solved, layers: LayerStore) -> str:
    """Every layer that was made: its DiffID and its members, as another reader of tars sees them."""
    lines = []
    for vertex in graph.vertices:
        layer = solved.layers.get(vertex.index)
        if vertex.inputs:
            lines.append(f"#{vertex.index} {vertex.name}")
            lines.append(f"    {layer}" if layer else "    no layer")
        if layer:
            with os.fdopen(layers.open_tar(layer), "rb") as file:
                lines += [f"    {line}" for line in members(file)]
    return "\n".join(lines) + "\n"


def members(file: Any) -> Iterator[str]:
    """`-rw-r--r-- 0:0 315619200 path 5 sha256:…`."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for info in tar:
            kind = {tarfile.DIRTYPE: stat.S_IFDIR, tarfile.SYMTYPE: stat.S_IFLNK}.get(info.type, stat.S_IFREG)
            words = [stat.filemode(kind | info.mode), f"{info.uid}:{info.gid}", str(info.mtime), info.name]
            if info.issym():
                words.append(f"-> {info.linkname}")
            elif info.islnk():
                words.append(f"= {info.linkname}")
            elif info.isreg():
                content = tar.extractfile(info)
                assert content is not None
                data = content.read()
                words += [str(info.size), hashlib.sha256(data).hexdigest()[:12]]
            words += [f"{key}={value}" for key, value in sorted(info.pax_headers.items()) if key != "path"]
            words += [name for name in (info.uname, info.gname) if name]
            yield " ".join(words)


def shown(error: CarboyError, directory: Path) -> str:
    """An error without where the test happens to be."""
    return f"{error}".replace(str(directory), "DIRECTORY") + "\n"
