"""Removal of a container: its files, its anonymous volumes, its record, and what is left unfinished."""

from __future__ import annotations

import contextlib
import os

from carboy.engine.containers.document import Container
from carboy.engine.containers.index import Index
from carboy.engine.containers.notices import Notices
from carboy.engine.containers.outcomes import response_of
from carboy.engine.containers.parts import Parts
from carboy.engine.containers.states import State
from carboy.errors import CarboyError, Conflict, NotFound
from carboy.formats.dockerapi.containers import WaitError, WaitResponse
from carboy.linux import tree


class Removal:
    """Removes containers that do not run."""

    def __init__(self, parts: Parts, index: Index) -> None:
        self._parts = parts
        self._index = index
        self._notices = Notices(parts.events)

    def remove_ended(self, container: Container) -> None:
        """`--rm`: with its anonymous volumes."""
        if container.state in (State.EXITED, State.CREATED, State.DEAD):
            self.remove(container, volumes=True)

    def remove(self, container: Container, *, volumes: bool) -> None:
        """Remove it, whatever its state; the operation lock must be held.  Again is harmless."""
        with contextlib.suppress(NotFound):
            if self._index.find(container.id) is not container:
                raise NotFound(container.id)
            with container.mutex:
                container.become(State.REMOVING)
            with contextlib.suppress(CarboyError):  # a full disk: it goes all the more
                self._index.save(container, durable=False)
            try:
                self.remove_files(container.id)
                if volumes:  # before the record goes: nobody else would find them after a sudden death
                    self.remove_anonymous_volumes(container)
                self._index.remove(container)
            except BaseException as error:
                with container.mutex:
                    container.become(State.DEAD)
                    told = container.take_waiters("removed")
                response = WaitResponse(
                    status_code=container.document.exit_code, error=WaitError(message=str(error))
                )
                for done in told:
                    done(response)
                raise
            self._notices.emit(container, "destroy")
            self._tell_removed(container)

    def _tell_removed(self, container: Container) -> None:
        with container.mutex:
            told = container.take_waiters("removed", "not-running", "next-exit")
            pending, container.pending = container.pending, []
        for done in told:
            done(response_of(container))
        for one in pending:
            with contextlib.suppress(OSError):
                os.close(one.client)

    def remove_anonymous_volumes(self, container: Container) -> None:
        """Remove the volumes that were made for it alone, unless somebody else has taken them up."""
        for mount in container.document.mounts:
            if mount.type == "volume" and mount.anonymous:
                with contextlib.suppress(Conflict, NotFound):
                    self._parts.volumes.remove(mount.source, force=True)

    def remove_files(self, container_id: str) -> None:
        """Remove its directories."""
        for path in (self._parts.paths.containers, self._parts.paths.containers_run):
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with contextlib.suppress(FileNotFoundError):
                    tree.remove(directory, container_id)
            finally:
                os.close(directory)

    def sweep(self) -> None:
        """Remove the directories of containers that were never finished, or already forgotten."""
        known = {container.id for container in self._index}
        for path in (self._parts.paths.containers, self._parts.paths.containers_run):
            for name in os.listdir(path):
                if name not in known and len(name) == 64:
                    self.remove_files(name)
