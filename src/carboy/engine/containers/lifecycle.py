"""Start, exit and clean-up of one container: the sequence between store, network and monitor.

launch (launching.py) ─▶ running
    ◀─ exited (the channel loop's thread): state, waiters ─▶ a worker: address, restart, removal

Policies of restart and the clock for them are in restart.py, health in health.py, events in notices.py.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

from carboy.engine.containers import health
from carboy.engine.containers.bundle import Bundles
from carboy.engine.containers.document import Container
from carboy.engine.containers.filesystem import wait_for_copies
from carboy.engine.containers.index import Index
from carboy.engine.containers.launching import Launcher, hand_over, take_pending
from carboy.engine.containers.notices import Notices
from carboy.engine.containers.outcomes import exit_code_of, response_of, system_errors, unknown_exit
from carboy.engine.containers.parts import Parts
from carboy.engine.containers.restart import (
    Schedule,
    next_delay,
    seconds_left,
    seconds_run,
    starts_with_daemon,
    wants_restart,
)
from carboy.engine.containers.states import State
from carboy.engine.monitors import (
    Channel,
    Exit,
    Message,
    exit_from_message,
    monitor_lives,
    read_exit,
    reconnect,
)
from carboy.engine.spec.check import joined, network_mode
from carboy.errors import CarboyError, Conflict, Internal, NotModified
from carboy.formats.dockerapi.containers import WaitError, WaitResponse
from carboy.formats.dockerapi.times import parse_rfc3339, rfc3339
from carboy.linux import tree

_log = logging.getLogger(__name__)


class Lifecycle:
    """Starts containers, and does what is to be done when they end."""

    def __init__(self, parts: Parts, index: Index, *, remove: Callable[[Container], None]) -> None:
        self._parts = parts
        self._index = index
        self._remove = remove
        self._bundles = Bundles(parts, index)
        self._launcher = Launcher(parts, self._bundles, connected=self._note_now, disconnect=self._disconnect)
        self._workers = ThreadPoolExecutor(4, thread_name_prefix="exits")
        self._schedule = Schedule()
        self._notices = Notices(parts.events)
        self._closing = False
        self.on_exec_exit: Callable[[str, int], None] = lambda _id, _code: None
        self.on_container_exit: Callable[[Container], None] = lambda _container: None

    def close(self) -> None:
        """Leave every container running, and wait for what is being cleaned up."""
        self._closing = True
        self._schedule.close()
        self._workers.shutdown(wait=True)
        for container in self._index:
            if container.channel is not None:
                container.channel.close()

    # -- start

    def start(self, container: Container, *, again: bool = False) -> None:
        """Start it; the operation lock must be held.  again: by its restart policy."""
        if container.state is State.PAUSED:
            raise Conflict("cannot start a paused container, try unpause instead")
        if container.alive:
            raise NotModified(f"container {container.name} is running already")
        if container.state in (State.REMOVING, State.DEAD):
            raise Conflict("container is marked for removal and cannot be started")
        wait_for_copies(container)
        self.finish(container)
        before = container.state
        with container.mutex:
            container.become(State.STARTING)
        try:
            with system_errors(f"cannot start container {container.name}"):
                channel, pid, started_at = self._launcher.launch(container)
        except BaseException as error:
            self._failed(container, before, error)
            raise
        document = container.document
        with container.mutex:
            document.pid, document.started_at = pid, started_at
            document.exit_code, document.oom_killed, document.error = 0, False, ""
            document.stopped_by_user = False
            if not again:
                document.restart_count, document.restart_delay = 0, 0.0
            health.begin(container)
            container.channel = channel
            container.needs_finish = True
            container.oom_told = False
            container.become(State.RUNNING)
        self._note(container)
        self._notices.attached(container)
        self.emit(container, "start")
        self._listen(container, channel)
        self._admit_late(container, channel)

    def _admit_late(self, container: Container, channel: Channel) -> None:
        """Clients that came to attach while it was being started."""
        for pending in take_pending(container):
            with contextlib.suppress(CarboyError, OSError):
                hand_over(channel, pending)

    def _failed(self, container: Container, before: State, error: BaseException) -> None:
        self._give_back(container)
        with container.mutex:
            document = container.document
            document.error = str(error)
            document.exit_code = exit_code_of(error)
            after = State.CREATED if before is State.CREATED else State.EXITED
            container.become(after)
            told = container.take_waiters("next-exit", "not-running")
        response = WaitResponse(status_code=document.exit_code, error=WaitError(message=str(error)))
        for done in told:
            done(response)
        for pending in take_pending(container):
            with contextlib.suppress(OSError):
                os.close(pending.client)
        self.note(container)
        if container.removes_itself and not isinstance(error, NotModified):
            self._workers.submit(self._remove_quietly, container)

    def log_path(self, container: Container) -> str:
        """The newest file of its log; empty where the driver has none that can be read."""
        return self._bundles.log_path(container)

    # -- what monitors say

    def _listen(self, container: Container, channel: Channel) -> None:
        def on_message(source: Channel, message: Message | None) -> None:
            if source is not container.channel:
                return
            if message is None:
                self._lost(container)
                return
            match message.get("event"):
                case "exited":
                    self._ended(container, exit_from_message(message))
                case "oom":
                    container.oom_told = True
                    self.emit(container, "oom")
                case "exec_exited":
                    self.on_exec_exit(str(message["exec_id"]), int(message["exit_code"]))
                case "probe":
                    text = health.probe_text(container)
                    self._notices.probe_begun(container, str(message["exec_id"]), text)
                case "health":
                    self._probed(container, message)
                case "detached":
                    self._detached(container, str(message.get("exec_id") or ""))
                case _:
                    pass  # events of a newer monitor

        self._parts.loop.add(channel, on_message)

    def _detached(self, container: Container, exec_id: str) -> None:
        if exec_id:
            self.emit(container, "exec_detach", {"execID": exec_id})
        else:
            self.emit(container, "detach")

    def _probed(self, container: Container, message: Message) -> None:
        with container.mutex:
            changed = health.note(container, message)
        code = int(message["result"]["exit_code"])
        self._notices.probe_ended(container, str(message["exec_id"]), code, changed)

    def _lost(self, container: Container) -> None:
        """The channel ended without `exited`: the monitor died, or closed this connection only."""
        with contextlib.suppress(RuntimeError):  # the daemon ends
            self._workers.submit(self._find_again, container)

    def _find_again(self, container: Container) -> None:
        """A worker's: asking a monitor may take long, and the loop's thread serves all of them."""
        if not container.alive:
            return
        run_directory = self._parts.paths.container_run(container.id)
        found = read_exit(self._parts.paths.container(container.id))
        if found is None and monitor_lives(run_directory):
            try:
                channel = reconnect(container.id, run_directory)
            except CarboyError:
                channel = None
            if channel is not None:
                with container.mutex:
                    container.channel = channel
                self._listen(container, channel)
                return
        self._ended(container, found or unknown_exit())

    def _ended(self, container: Container, ended: Exit) -> None:
        """Note the end and tell those who wait: quick, in the channel loop's thread."""
        with container.mutex:
            if not container.alive:
                return
            document = container.document
            document.exit_code = ended.exit_code
            document.oom_killed = ended.oom
            document.error = ended.error
            document.finished_at = ended.finished_at
            document.pid = 0
            health.take(container, ended.health)
            health.end(container)
            restart = wants_restart(document)
            if restart:
                document.restart_count += 1
                document.restart_delay = next_delay(document.restart_delay, seconds_run(document))
            # Before anybody who waits can see the end: `stop` and `destroy` come after it.
            self._notices.died(container)
            container.become(State.RESTARTING if restart else State.EXITED)
            channel, container.channel = container.channel, None
            told = container.take_waiters("next-exit", "not-running")
        response = response_of(container)
        for done in told:
            done(response)
        if channel is not None:
            channel.close()
        self.on_container_exit(container)
        try:
            self._workers.submit(self._after_exit, container)
        except RuntimeError:
            _log.info("container %s ended while the daemon ends", container.id[:12])

    def _after_exit(self, container: Container) -> None:
        try:
            with container.operation:
                self.finish(container)
                if container.removes_itself and container.state is State.EXITED:
                    self._remove(container)
                elif container.state is State.RESTARTING:
                    self._plan_restart(container)
        except Exception:  # a worker's failure must be seen, and must not take others along
            _log.exception("after the end of container %s", container.id[:12])

    def finish(self, container: Container) -> None:
        """Give back what a run took; the operation lock must be held.  Again is harmless."""
        if not container.needs_finish or container.alive:
            return
        container.needs_finish = False
        self._give_back(container)
        self._notices.detached(container)
        try:
            self._sweep_group(container)
            self._sweep_run(container)
        except (CarboyError, OSError):  # its directory stays, and the next daemon tries again
            _log.exception("control group of container %s", container.id[:12])
        self._note(container)

    def _give_back(self, container: Container) -> None:
        """Volumes, ports and address; one that cannot be given back keeps no other."""
        try:
            self._parts.volumes.release(container.id)
        except (CarboyError, OSError):
            _log.exception("volumes of container %s", container.id[:12])
        self._disconnect(container)

    def note(self, container: Container, *, durable: bool = True) -> None:
        """Write down what has happened to it: that holds, whether or not the disk takes it.

        The next write has all of it, and the next daemon finds what runs by its monitor.
        """
        try:
            self._index.save(container, durable=durable)
        except CarboyError:
            _log.exception("record of container %s", container.id[:12])

    def _note_now(self, container: Container) -> None:
        """A daemon that is killed now must not lend the address again to somebody else."""
        self.note(container, durable=False)

    def _note(self, container: Container) -> None:
        """Start and end: after a power cut only a restart policy asks whether it ran."""
        self.note(container, durable=container.document.host.restart_policy.name not in ("", "no"))

    def _is_joined(self) -> bool:
        """Whether any namespace may outlive its container: then the interface has to go by our hand."""
        return any(one.alive and joined(network_mode(one.document.host)) for one in self._index)

    def _disconnect(self, container: Container) -> None:
        try:
            self._parts.ports.release(container)
        except (CarboyError, OSError):
            _log.exception("ports of container %s", container.id[:12])
        endpoint, container.document.endpoint = container.document.endpoint, None
        if endpoint is not None:
            try:
                gone = not self._is_joined()
                self._parts.network.disconnect(endpoint.endpoint(container.id), namespace_gone=gone)
            except (CarboyError, OSError):
                _log.exception("network of container %s", container.id[:12])

    def _sweep_group(self, container: Container) -> None:
        """A monitor that ended well has removed monitor.json; one that was killed left everything."""
        run_directory = self._parts.paths.container_run(container.id)
        if not os.path.exists(f"{run_directory}/monitor.json"):
            return
        self._parts.spawner.sweep(run_directory)

    def _sweep_run(self, container: Container) -> None:
        directory = os.open(self._parts.paths.containers_run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(FileNotFoundError):
                tree.remove(directory, container.id)
        finally:
            os.close(directory)

    # -- restarts

    def _plan_restart(self, container: Container) -> None:
        def restart() -> None:
            with contextlib.suppress(RuntimeError):  # the daemon ends
                self._workers.submit(self._restart_now, container)

        self._schedule.later(seconds_left(container.document), container.id, restart)

    def _restart_now(self, container: Container) -> None:
        with container.operation:
            if container.state is not State.RESTARTING or self._closing:
                return
            try:
                self.start(container, again=True)
            except CarboyError as error:
                # A full disk, a spawner that died, a container to join that does not run yet: it may go
                # well the next time.  No such program: it will not.
                again = error.status == Conflict.status or error.status >= Internal.status
                _log.warning("restart of container %s: %s", container.id[:12], error)
                if again:
                    self._restart_later(container)

    def _restart_later(self, container: Container) -> None:
        document = container.document
        with container.mutex:
            if container.state is not State.EXITED or not wants_restart(document):
                return
            document.restart_count += 1
            document.restart_delay = next_delay(document.restart_delay, 0)
            document.finished_at = rfc3339(time.time_ns())
            container.become(State.RESTARTING)
        self._plan_restart(container)

    def cancel_restart(self, container: Container) -> bool:
        """A stop while it waits for its restart: it stays ended; False when it did not wait."""
        self._schedule.cancel(container.id)
        with container.mutex:
            if container.state is not State.RESTARTING:
                return False
            container.become(State.EXITED)
            told = container.take_waiters("not-running", "next-exit")
        for done in told:
            done(response_of(container))
        return True

    def let_go(self, container: Container) -> None:
        """Who stopped it has seen its end: what `--rm` means happens now."""
        with container.mutex:
            container.holders -= 1
            removed = container.removes_itself and container.state is State.EXITED
        if removed:
            with contextlib.suppress(RuntimeError):  # the daemon ends
                self._workers.submit(self._remove_quietly, container)

    def _remove_quietly(self, container: Container) -> None:
        try:
            with container.operation:
                self._remove(container)
        except (CarboyError, OSError):
            _log.exception("removal of container %s", container.id[:12])

    # -- after a restart of the daemon

    def recover(self) -> None:
        """Find the containers of an earlier daemon again; note the ends that nobody saw."""
        records = []
        for container in self._index:
            endpoint = container.document.endpoint
            if endpoint is not None:
                records.append((container.id, IPv4Address(endpoint.address)))
        self._parts.network.restore(records)
        for container in self._index:
            try:
                self._recover(container)
            except Exception:  # one broken container must not keep the daemon from starting
                _log.exception("recovery of container %s", container.id[:12])
        self._parts.ports.recover(self._index)

    def _recover(self, container: Container) -> None:
        run_directory = self._parts.paths.container_run(container.id)
        document = container.document
        if not os.path.isdir(run_directory) and not container.alive and document.state is not State.STARTING:
            self._recover_ended(container)
            return
        try:
            channel = reconnect(container.id, run_directory)
            state = channel.request("state").get("state") or {}
        except CarboyError:
            state, channel = {}, None
        container.needs_finish = True
        if channel is not None and state.get("status") in ("running", "paused"):
            document.state = container.shown = State(str(state["status"]))
            health.take(container, state.get("health"))
            document.pid = int(state["pid"])
            document.started_at = parse_rfc3339(str(state["started_at"]))
            container.channel = channel
            self._listen(container, channel)
            return
        if channel is not None:
            channel.close()
        if container.alive or document.state is State.STARTING:
            document.state = container.shown = State.RUNNING
            self._ended(container, read_exit(self._parts.paths.container(container.id)) or unknown_exit())
        else:
            self.finish(container)
            self._recover_ended(container)

    def _recover_ended(self, container: Container) -> None:
        """What an earlier daemon had begun with a container that does not run."""
        document = container.document
        if document.state in (State.REMOVING, State.DEAD) or (
            container.removes_itself and document.state is State.EXITED
        ):
            if document.state is State.REMOVING:
                document.state = container.shown = State.DEAD
            self._remove_quietly(container)
        elif document.state is State.RESTARTING:
            self._plan_restart(container)

    def restart_policies(self) -> None:
        """After a reboot: start what is to be always running."""
        waiting = [one for one in self._index if starts_with_daemon(one.document)]
        # Containers that join another's namespaces need that one to run: they come after it.
        waiting.sort(key=_joins_another)
        for container in waiting:
            if container.state is State.EXITED and not self._closing:
                with container.operation, contextlib.suppress(CarboyError):
                    self.start(container)

    def emit(self, container: Container, action: str, more: dict[str, str] | None = None) -> None:
        """An event about a container, with the attributes that Docker gives."""
        self._notices.emit(container, action, more)


def _joins_another(container: Container) -> bool:
    host = container.document.host
    return any(joined(mode) for mode in (network_mode(host), host.pid_mode, host.ipc_mode))
