"""WORKDIR: the directories of a path that are missing, and nothing when none is."""

from __future__ import annotations

from collections.abc import Sequence

from carboy.build.copying import destination
from carboy.build.copying.layerwriter import directory, write_layer
from carboy.build.copying.places import shown
from carboy.build.graph import Directory, Vertex
from carboy.build.operation import Filesystem, Ingredients, Result, Value
from carboy.build.progress import Console
from carboy.build.session import Session
from carboy.errors import Internal, InvalidArgument
from carboy.store.views import mounted


class DirectoryStep:
    """Fulfils operation.Step for graph.Directory."""

    def __init__(self, vertex: Vertex, session: Session) -> None:
        if not isinstance(vertex.operation, Directory):
            raise Internal(f"{vertex.name} is no WORKDIR")
        self._operation = vertex.operation
        self._session = session
        self._found: tuple[bytes, list[bytes], tuple[int, int]] | None = None

    def ingredients(self, inputs: Sequence[Value]) -> Ingredients:
        """Where the path leads, what of it is missing, who will own that."""
        path, missing, owner = self._look(inputs)
        values = {"directory": _text(path), "directories to make": " ".join(map(_text, missing)) or "none"}
        if missing:
            values["owner"] = f"{owner[0]}:{owner[1]}"
            values["source date epoch"] = str(self._session.epoch)
        return Ingredients("directory", values)

    def run(self, inputs: Sequence[Value], console: Console) -> Result:
        """Make a layer of what is missing."""
        base = filesystem(inputs)
        _, missing, (uid, gid) = self._look(inputs)
        if not missing:
            return Result(base)
        layer = write_layer(
            self._session.workshop.layers,
            [directory(path, uid, gid) for path in missing],
            (),
            epoch=self._session.epoch,
            check=console.cancellation.check,
        )
        return Result(base.above(layer.diff_id), layer.diff_id)

    def _look(self, inputs: Sequence[Value]) -> tuple[bytes, list[bytes], tuple[int, int]]:
        if self._found is None:
            shop = self._session.workshop
            with mounted(shop.layers, filesystem(inputs).layers, shop.paths) as root:
                found = destination.find(root, self._operation.path, "/")
                if found.is_dir is False:
                    raise InvalidArgument(f'WORKDIR {self._operation.path}: "{_text(found.path)}" is a file')
                missing = found.missing(last=True) if found.is_dir is None else []
                owner = destination.owner_of(root, self._operation.user) if missing else (0, 0)
            self._found = found.path, missing, owner
        return self._found


def filesystem(inputs: Sequence[Value]) -> Filesystem:
    """The filesystem that a step adds to."""
    base = inputs[0]
    if not isinstance(base, Filesystem):
        raise Internal("a build context was given where a filesystem is added to")
    return base


def _text(path: bytes) -> str:
    return "/" + shown(path)
