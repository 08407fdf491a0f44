"""Layers on a disk and a crew that compresses them: what exporters work with."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from carboy.build.crew import Crew
from carboy.build.exporters.compressing import Compressing
from carboy.build.exporters.encoders import Encoder
from carboy.store.layers import DirectoryLayers, Layer
from carboy.store.paths import Paths


class LayerShop:
    """A store of layers below `directory`, and two threads."""

    def __init__(self, directory: Path) -> None:
        self.paths = Paths(str(directory / "root"), str(directory / "run"))
        self.paths.create()
        self.layers = DirectoryLayers(self.paths)
        self.crew = Crew("test", 2)

    def add(self, tar: bytes) -> Layer:
        """A layer."""
        return self.layers.ingest(io.BytesIO(tar))

    def compressing(self, *encoders: Encoder, check: Callable[[], None] = lambda: None) -> Compressing:
        """Compressing these layers."""
        return Compressing(self.layers, self.paths.ingest, self.crew, encoders=encoders, check=check)

    def close(self) -> None:
        """The threads have ended."""
        assert self.crew.close()
        self.layers.close()
