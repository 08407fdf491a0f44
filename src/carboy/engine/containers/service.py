"""The containers of one daemon: fulfils `api.backend.Containers`."""

from __future__ import annotations

import builtins
import contextlib
import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from carboy.digest import Digest
from carboy.engine import usage
from carboy.engine.containers import health, views
from carboy.engine.containers.bundle import signal_number
from carboy.engine.containers.changes import own_places
from carboy.engine.containers.creating import (
    check_platform,
    make_volumes,
)
from carboy.engine.containers.document import Container
from carboy.engine.containers.drafts import Drafts
from carboy.engine.containers.index import Index
from carboy.engine.containers.lifecycle import Lifecycle
from carboy.engine.containers.outcomes import response_of, start_error, system_errors
from carboy.engine.containers.output import Attachment, check_attach, read_log
from carboy.engine.containers.parts import Parts
from carboy.engine.containers.removal import Removal
from carboy.engine.containers.requests import ask, channel_of, require_running, require_steady, send_signal
from carboy.engine.containers.states import State
from carboy.engine.images.service import ImageService
from carboy.engine.images.users import CommitSubject, ContainerImage, ContainerUse
from carboy.engine.logs import LogFile
from carboy.engine.names import allocating, check_name, random_name
from carboy.errors import CarboyError, Conflict, InvalidArgument, NotModified, Unavailable
from carboy.formats.dockerapi.containers import (
    ContainerInspect,
    ContainerSummary,
    CreateRequest,
    CreateResponse,
    WaitResponse,
)
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.streams import AttachOptions, LogOptions
from carboy.store.metadata import Database

DEFAULT_STOP_TIMEOUT = 10
_KILL_TIMEOUT = 15.0


class Containers:
    """Create, look, change, end."""

    def __init__(self, parts: Parts, images: ImageService, database: Database, *, driver: str) -> None:
        self._parts = parts
        self._images = images
        self._driver = driver
        self.index = Index(database)
        self._removal = Removal(parts, self.index)
        self.drafts = Drafts(parts.facts, self.index, images)
        self.lifecycle = Lifecycle(parts, self.index, remove=self._removal.remove_ended)
        self._numbers = itertools.count()
        parts.volumes.users = self._volume_uses

    def load(self) -> None:
        """Read the records, find what still runs, sweep what is ours and unfinished."""
        self.index.load()
        self._removal.sweep()
        self.lifecycle.recover()
        alive = {container.id for container in self.index if container.alive}
        self._parts.volumes.adopt(use for use in self._volume_uses() if use[1] in alive)

    def find(self, unsafe_ref: str) -> Container:
        """By id, name or prefix."""
        return self.index.find(unsafe_ref)

    # -- create

    def create(self, request: CreateRequest, *, name: str | None, platform: str | None) -> CreateResponse:
        """Make a container, ready to be started; nothing is left behind when it cannot be."""
        container_id = secrets.token_hex(32)
        checked = check_name(name) if name else random_name(self.index.is_taken)
        self.index.reserve(checked, container_id)
        try:
            if not request.image:
                raise InvalidArgument(
                    "config cannot be empty in order to create a container: Image is missing"
                )
            with self._images.pinned(request.image) as image:
                warnings = check_platform(platform, request.image, image, self._parts.facts.machine)
                with ExitStack() as pins:
                    document, more = self.drafts.draft(
                        request, image, container_id=container_id, name=checked, pins=pins
                    )
                    self._make(Container(document), image)
        except BaseException:
            self.index.release(checked, container_id)
            raise
        return CreateResponse(id=container_id, warnings=warnings + more)

    def _make(self, container: Container, image: ContainerImage) -> None:
        try:
            with system_errors(f"cannot create container {container.name}"):
                self._parts.snapshots.prepare(container.id, image.diff_ids)
                make_volumes(container, self._parts)
            self.index.add(container)
        except BaseException:
            self._removal.remove_files(container.id)
            with contextlib.suppress(CarboyError, OSError):
                self._removal.remove_anonymous_volumes(container)
            raise
        self.lifecycle.emit(container, "create")

    # -- life

    def start(self, unsafe_ref: str) -> None:
        """Start; NotModified when it runs already."""
        container = self.find(unsafe_ref)
        if container.state is State.RUNNING:
            # Without the lock: there is nothing to do.
            raise NotModified(f"container {container.name} is running already")
        with container.operation:
            self.lifecycle.cancel_restart(container)
            try:
                self.lifecycle.start(container)
            except CarboyError as error:
                raise start_error(error, container) from error

    def stop(self, unsafe_ref: str, *, timeout: int | None, signal: str | None) -> None:
        """Ask it to end, and kill it after the time-out (-1: never)."""
        container = self.find(unsafe_ref)
        with container.operation:
            waited = self.lifecycle.cancel_restart(container)
            if not container.alive and not waited:
                raise NotModified(f"container {container.name} is not running")
            self._by_hand(container)
            run = None if waited else self._ask_to_end(container, signal)
        if run is not None:
            try:
                self._await_end(container, run, timeout)
                self._stopped(container)
            finally:
                self.lifecycle.let_go(container)
        else:
            self._stopped(container)

    def _stopped(self, container: Container) -> None:
        if container.state not in (State.REMOVING, State.DEAD):
            self.lifecycle.emit(container, "stop")

    def _by_hand(self, container: Container) -> None:
        """Somebody wants it to end: no policy starts it again, not even if we die before the end."""
        container.document.stopped_by_user = True
        if container.document.host.restart_policy.name not in ("", "no"):
            self.lifecycle.note(container)

    def _ask_to_end(self, container: Container, signal: str | None) -> int:
        """Send the signal; gives the run that is to end, which the caller lets go."""
        number = signal_number(signal or container.document.config.stop_signal or "SIGTERM")
        run = container.document.started_at
        if container.state is State.PAUSED:
            try:
                self._resume(container)
            except Conflict:
                if container.alive:
                    raise
        self._send(container, number)
        with container.mutex:
            container.holders += 1
        return run

    def _await_end(self, container: Container, run: int, timeout: int | None) -> None:
        """Without the operation lock: others may kill, remove or rename it meanwhile."""
        if timeout is None:
            wanted = container.document.config.stop_timeout
            timeout = DEFAULT_STOP_TIMEOUT if wanted is None else wanted
        ended = container.wait_ended(None if timeout < 0 else timeout, run=run)
        with container.operation:
            if not ended and container.alive and container.document.started_at == run:
                self._kill(container)
            self.lifecycle.finish(container)

    def _kill(self, container: Container) -> None:
        self._send(container, 9)
        if not container.wait_ended(_KILL_TIMEOUT):
            raise Unavailable(f"container {container.name} did not end within {_KILL_TIMEOUT:g} s of SIGKILL")

    def _send(self, container: Container, number: int) -> None:
        """A signal, and its event before the end that it may cause."""
        if container.alive:
            self.lifecycle.emit(container, "kill", {"signal": str(number)})
        send_signal(container, number)

    def restart(self, unsafe_ref: str, *, timeout: int | None, signal: str | None) -> None:
        """Stop if it runs, then start."""
        container = self.find(unsafe_ref)
        with container.operation:
            self.lifecycle.cancel_restart(container)
            run = None
            if container.alive:
                container.document.stopped_by_user = True
                run = self._ask_to_end(container, signal)
        try:
            if run is not None:
                self._await_end(container, run, timeout)
                self._stopped(container)
            with container.operation, contextlib.suppress(NotModified):  # somebody else has started it
                self.lifecycle.start(container)
        except CarboyError as error:
            raise start_error(error, container) from error
        finally:
            if run is not None:
                with container.mutex:
                    container.holders -= 1
        self.lifecycle.emit(container, "restart")

    def kill(self, unsafe_ref: str, *, signal: str | None) -> None:
        """Send a signal; with SIGKILL (the default) wait for the end."""
        container = self.find(unsafe_ref)
        number = signal_number(signal or "SIGKILL")
        if container.state is State.RESTARTING:
            with container.operation:
                if self.lifecycle.cancel_restart(container):
                    self._by_hand(container)
                    return
        require_running(container, f"cannot kill container: {container.name}: ")
        if number in (9, signal_number(container.document.config.stop_signal or "SIGTERM")):
            self._by_hand(container)
        if number == 9:
            self._kill(container)
        else:
            self._send(container, number)

    def pause(self, unsafe_ref: str) -> None:
        """Freeze every process."""
        container = self.find(unsafe_ref)
        with container.operation:
            channel = require_steady(container)
            if container.state is State.PAUSED:
                raise Conflict(f"Container {container.id} is already paused")
            ask(container, channel, "pause")
            with container.mutex:
                container.become(State.PAUSED)
                health.pause(container)
            self.lifecycle.note(container)
        self.lifecycle.emit(container, "pause")

    def unpause(self, unsafe_ref: str) -> None:
        """Let the processes go on."""
        container = self.find(unsafe_ref)
        with container.operation:
            require_running(container)
            if container.state is not State.PAUSED:
                raise Conflict(f"Container {container.id} is not paused")
            self._resume(container)
            self.lifecycle.note(container)
        self.lifecycle.emit(container, "unpause")

    def _resume(self, container: Container) -> None:
        ask(container, channel_of(container), "resume")
        with container.mutex:
            if container.state is State.PAUSED:
                container.become(State.RUNNING)

    def rename(self, unsafe_ref: str, name: str) -> None:
        """Give it another name."""
        container = self.find(unsafe_ref)
        if not name:
            raise InvalidArgument("Neither old nor new names may be empty")
        with allocating():
            checked = check_name(name)
        with container.operation:
            before = container.name
            if checked == before:
                raise InvalidArgument("Renaming a container with the same name as its current name")
            with allocating():
                self.index.reserve(checked, container.id)
            container.document.name = checked
            try:
                self.index.save(container)
            except BaseException:
                container.document.name = before
                self.index.release(checked, container.id)
                raise
            self.index.release(before, container.id)
        self.lifecycle.emit(container, "rename", {"oldName": f"/{before}"})

    def resize(self, unsafe_ref: str, *, rows: int, cols: int) -> None:
        """Set the terminal's size."""
        container = self.find(unsafe_ref)
        channel = require_running(container)
        if container.document.config.tty:  # else there is nothing to do, as with Docker
            ask(container, channel, "resize", rows=rows, cols=cols)
        self.lifecycle.emit(container, "resize", {"height": str(rows), "width": str(cols)})

    # -- removal

    def remove(self, unsafe_ref: str, *, force: bool, volumes: bool) -> None:
        """Remove it; a running one only with `force`."""
        container = self.find(unsafe_ref)
        with container.operation:
            if container.state is State.REMOVING:
                raise Conflict(f"removal of container {container.name} is already in progress")
            if not force and (container.alive or container.state is State.RESTARTING):
                raise Conflict(
                    f'cannot remove container "{container.name}": container is {container.state.value}:'
                    " stop the container before removing or force remove"
                )
            self.lifecycle.cancel_restart(container)
            if container.alive:
                container.document.stopped_by_user = True
                self._kill(container)
            self.lifecycle.finish(container)
            self._removal.remove(container, volumes=volumes)

    # -- looking

    def list(
        self,
        *,
        all: bool,  # noqa: A002 - the API's own word
        limit: int | None,
        size: bool,
        filters: Filters,
    ) -> builtins.list[ContainerSummary]:
        """Containers, newest first."""
        found = views.list_containers(
            self.index.all(),
            self._parts.paths,
            everything=all,
            limit=limit,
            filters=filters,
            ancestors=self._images.records.with_descendants(filters.get("ancestor")),
        )
        if size:
            uppers = [self._parts.paths.upper(container.id) for container, _ in found]
            sizes = usage.in_parallel(partial(usage.directory_size, upper) for upper in uppers)
            for (container, summary), written in zip(found, sizes, strict=True):
                summary.size_rw = written
                summary.size_root_fs = written + self._image_size(container)
        return [summary for _, summary in found]

    def inspect(self, unsafe_ref: str, *, size: bool) -> ContainerInspect:
        """Everything about one container."""
        container = self.find(unsafe_ref)
        found = views.inspect(
            container, self._parts.paths, driver=self._driver, log_path=self.lifecycle.log_path(container)
        )
        if size:
            found.size_rw = usage.directory_size(self._parts.paths.upper(container.id))
            found.size_root_fs = found.size_rw + self._image_size(container)
        return found

    def _image_size(self, container: Container) -> int:
        record = self._images.records.get(Digest.parse(container.document.image_id))
        return record.size if record is not None else 0

    def wait(
        self, unsafe_ref: str, condition: str, done: Callable[[WaitResponse], None]
    ) -> Callable[[], None]:
        """Call `done` when the container is not-running, has had its next-exit, or is removed."""
        if condition not in ("not-running", "next-exit", "removed"):
            raise InvalidArgument(f'invalid condition: "{condition[:40]}"')
        container = self.find(unsafe_ref)
        number = next(self._numbers)
        with container.mutex:
            ended = not container.alive and container.state not in (State.STARTING, State.RESTARTING)
            if not (condition == "not-running" and ended):
                container.waiters[number] = (condition, done)

                def cancel() -> None:
                    with container.mutex:
                        container.waiters.pop(number, None)

                return cancel
        done(response_of(container))
        return lambda: None

    # -- streams

    def logs(self, unsafe_ref: str, options: LogOptions) -> LogFile:
        """Read the log."""
        container = self.find(unsafe_ref)
        return read_log(self, container, self.lifecycle.log_path(container), options)

    def attach(self, unsafe_ref: str, options: AttachOptions) -> Attachment:
        """Prepare to join the streams; a container that does not run yet is joined at its start."""
        container = self.find(unsafe_ref)
        check_attach(container, unsafe_ref, options)
        return Attachment(
            container,
            options,
            log_path=self.lifecycle.log_path(container),
            attached=lambda: self.lifecycle.emit(container, "attach"),
        )

    # -- for images and volumes

    def image_uses(self) -> Iterator[ContainerUse]:
        """Every container's image."""
        for container in self.index:
            yield ContainerUse(
                container_id=container.id,
                image_id=Digest.parse(container.document.image_id),
                diff_ids=container.diff_ids,
                running=container.alive,
            )
            for mount in container.document.mounts:
                if mount.type == "image":
                    yield ContainerUse(
                        container_id=container.id,
                        image_id=Digest.parse(mount.image_id),
                        diff_ids=tuple(map(Digest.parse, mount.diff_ids)),
                        running=container.alive,
                    )

    def for_commit(self, unsafe_ref: str) -> CommitSubject:
        """What `commit` needs."""
        container = self.find(unsafe_ref)

        @contextmanager
        def pause() -> Iterator[None]:
            with container.operation:
                paused = container.state is State.RUNNING
                if paused:
                    try:
                        ask(container, channel_of(container), "pause")
                    except Conflict:  # it has just ended, and stands still
                        if container.alive:
                            raise
                try:
                    yield
                finally:
                    if paused and container.alive:
                        with contextlib.suppress(CarboyError):
                            ask(container, channel_of(container), "resume")

        def places() -> frozenset[bytes]:
            parts = self._parts
            found = partial(parts.snapshots.diff, container.id, container.diff_ids)
            return own_places(found, parts.paths.upper(container.id))

        return CommitSubject(
            container_id=container.id,
            image_id=Digest.parse(container.document.image_id),
            diff_ids=container.diff_ids,
            config=container.document.config,
            pause=pause,
            own_places=places,
            told=lambda attributes: self.lifecycle.emit(container, "commit", attributes),
        )

    def _volume_uses(self) -> Iterator[tuple[str, str]]:
        for container in self.index:
            if container.state is State.REMOVING:
                continue
            for mount in container.document.mounts:
                if mount.type == "volume":
                    yield mount.source, container.id
