"""Layers compressed behind the steps that follow them.

    a step ends ─▶ begin(its layer) ─▶ crew: a file without a name ─▶ take() by the exporter

Each layer is compressed once for each encoder that an output asks for, whichever output takes it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from carboy.build.crew import Crew, Ticket
from carboy.build.exporters.encoders import Encoder, encode_file
from carboy.digest import Digest
from carboy.errors import Cancelled
from carboy.store.content import storage_error
from carboy.store.layers import LayerStore


@dataclass(frozen=True, slots=True)
class Compressed:
    """A layer in its compressed form; who took it closes the descriptor."""

    descriptor: int
    digest: Digest
    size: int


class _Job:
    __slots__ = ("ended", "error", "made", "ticket")

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.made: Compressed | None = None
        self.error: BaseException | None = None
        self.ticket: Ticket | None = None


class Compressing:
    """What one build has compressed.  Close it, when its outputs have taken what they need or never will."""

    def __init__(
        self,
        layers: LayerStore,
        directory: str,
        crew: Crew,
        *,
        encoders: Iterable[Encoder],
        check: Callable[[], None],
    ) -> None:
        """`directory` is for the files; `check` raises when the build is cancelled."""
        self._layers = layers
        self._directory = directory
        self._crew = crew
        self._encoders = frozenset(each for each in encoders if each.form != "uncompressed")
        self._check = check
        self._lock = threading.Lock()
        self._jobs: dict[tuple[Digest, Encoder], _Job] = {}
        self._closed = False

    def begin(self, layers: Iterable[Digest]) -> None:
        """Compress these when there is time, for every encoder; what has begun is not begun again."""
        for encoder in self._encoders:
            for diff_id in layers:
                self._job(diff_id, encoder)

    def take(self, diff_id: Digest, encoder: Encoder) -> Compressed:
        """The layer in its compressed form, waited for; raises what went wrong."""
        job = self._job(diff_id, encoder)
        if job.ticket is not None and self._crew.take_back(job.ticket):
            self._run(job, diff_id, encoder)  # nobody had the time
        job.ended.wait()
        if job.made is None:
            raise job.error or Cancelled("the build has ended")
        return Compressed(os.dup(job.made.descriptor), job.made.digest, job.made.size)

    def close(self) -> None:
        """Stop what is under way, and give back the space of what nobody has taken."""
        with self._lock:
            self._closed = True
        for job in self._jobs.values():
            if job.ticket is not None and self._crew.take_back(job.ticket):
                job.ended.set()
            job.ended.wait()
            if job.made is not None:
                os.close(job.made.descriptor)
        self._jobs.clear()

    def _job(self, diff_id: Digest, encoder: Encoder) -> _Job:
        with self._lock:
            job = self._jobs.get((diff_id, encoder))
            if job is None:
                job = self._jobs[diff_id, encoder] = _Job()
                job.ticket = self._crew.submit(partial(self._run, job, diff_id, encoder))
            return job

    def _run(self, job: _Job, diff_id: Digest, encoder: Encoder) -> None:
        try:
            job.made = self._compress(diff_id, encoder)
        except BaseException as error:  # for the thread that takes it
            job.error = error
        finally:
            job.ended.set()

    def _compress(self, diff_id: Digest, encoder: Encoder) -> Compressed:
        self._check_open()
        source = self._layers.open_tar(diff_id)
        try:
            target = self._new_file()
            try:
                digest, size = encode_file(source, target, encoder, check=self._check_open)
            except BaseException:
                os.close(target)
                raise
        finally:
            os.close(source)
        return Compressed(target, digest, size)

    def _check_open(self) -> None:
        self._check()
        if self._closed:
            raise Cancelled("the build has ended")

    def _new_file(self) -> int:
        try:
            return os.open(self._directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error(error, "compress a layer") from error
