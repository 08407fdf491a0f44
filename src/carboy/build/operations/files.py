"""COPY and ADD: files of contexts, stages, images, downloads and repositories become one layer.

    Planner (copying/plan.py) ──▶ ingredients: one for each file, by its path in the source
                          ──▶ items of a layer ──▶ layerwriter

Docker's rules (BuildKit's COPY): a directory's contents are copied, its own name is not; a directory that
is there keeps its owner and mode, those below it take the source's; missing parents are 0755.
Ours, for equal bytes everywhere: all times are the epoch; files of a context belong to 0:0 unless `--chown`
says otherwise, lose their group and other write bits, attributes and hard links; those of stages and
images keep all of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from carboy.build.copying import archives
from carboy.build.copying.layerwriter import Item, Origin, write_layer
from carboy.build.copying.plan import Plan, Planner, by_path
from carboy.build.graph import Files, Vertex
from carboy.build.operation import Ingredients, Result, Value
from carboy.build.operations.directory import filesystem
from carboy.build.progress import Console
from carboy.build.session import Session
from carboy.build.trees import LocalTree, OpenTree
from carboy.errors import Internal
from carboy.store.views import mounted


class FilesStep:
    """Fulfils operation.Step for graph.Files."""

    def __init__(self, vertex: Vertex, session: Session) -> None:
        if not isinstance(vertex.operation, Files):
            raise Internal(f"{vertex.name} copies no files")
        self._vertex = vertex
        self._operation = vertex.operation
        self._session = session
        self._planned: Plan | None = None

    def ingredients(self, inputs: Sequence[Value]) -> Ingredients:
        """Every file that is copied, and what was looked up at the destination."""
        return Ingredients("files", self._plan(inputs).values)

    def run(self, inputs: Sequence[Value], console: Console) -> Result:
        """Write the layer; there is none when nothing matches."""
        base, plan = filesystem(inputs), self._plan(inputs)
        if plan.is_empty:
            return Result(base)
        shop = self._session.workshop
        with ExitStack() as stack:
            origins = []
            for number, value in enumerate(inputs):
                if not number and not plan.archives:
                    origins.append(Origin(-1))  # the filesystem below is needed to unpack archives only
                    continue
                tree = stack.enter_context(self._opened(value))
                origins.append(Origin(tree.root, is_local=tree.is_local, seen=plan.seen))
                stack.callback(origins[-1].opener.close)
            layer = write_layer(
                shop.layers,
                self._unpacked(plan, origins, stack, console) if plan.archives else plan.take(),
                origins,
                epoch=self._session.epoch,
                check=console.cancellation.check,
            )
        return Result(base.above(layer.diff_id), layer.diff_id)

    def _plan(self, inputs: Sequence[Value]) -> Plan:
        if self._planned is None:
            self._planned = Planner(self._operation, self._session, inputs, self._opened, self._warn).plan()
        return self._planned

    def _warn(self, text: str) -> None:
        self._session.reporter.warning(self._vertex, text)

    def _unpacked(self, plan: Plan, origins: list[Origin], stack: ExitStack, console: Console) -> list[Item]:
        """The items, the members of archives among them; adds their origins."""
        tree, base = archives.Tree(plan.items()), origins[0].fd
        check = console.cancellation.check
        for archive, below in plan.archives:
            ingest = self._session.workshop.paths.ingest
            fd = archives.open_plain(origins[archive.origin], archive, ingest, stack, check=check)
            origins.append(Origin(fd))
            archives.unpack(fd, len(origins) - 1, below, base, tree, epoch=self._session.epoch, check=check)
        return by_path(tree.items)

    @contextmanager
    def _opened(self, value: Value) -> Iterator[OpenTree]:
        """A tree to read from."""
        if isinstance(value, LocalTree):
            yield OpenTree(value.root, value.ignore, value.path or "/")
            return
        shop = self._session.workshop
        with mounted(shop.layers, value.layers, shop.paths) as root:
            yield OpenTree(root)
