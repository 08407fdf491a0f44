"""The conversation with the monitor of a RUN, from its birth to its end."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import time

from carboy.build.executor import Job, StepFailed
from carboy.build.progress import Cancellation
from carboy.engine.building.output import Output
from carboy.engine.containers.outcomes import exit_code_of
from carboy.engine.containers.parts import Parts
from carboy.engine.monitors import Channel, Exit, Message, exit_from_message
from carboy.errors import CarboyError, Internal, Unavailable
from carboy.formats.spawner import StepError
from carboy.network.bridge import Endpoint

CREATE_TIMEOUT = 60.0
END_TIMEOUT = 30.0
"""Seconds that a killed program may take to be gone."""
_CHUNK = 1 << 18
_NEVER = float("inf")
_PROGRAMS_FAULT = ("exec", "cwd", "user")
_log = logging.getLogger(__name__)


class Running:
    """One program of a step; `close` always."""

    def __init__(self, parts: Parts, step_id: str, job: Job, channel: Channel) -> None:
        self._parts = parts
        self._id = step_id
        self._job = job
        self._channel = channel
        self._endpoint: Endpoint | None = None
        self._pidfd = -1
        self._client: socket.socket | None = None
        self._ended: Exit | None = None

    def follow(self, output: Output, cancellation: Cancellation) -> None:
        """Start it, and be with it until it has ended.  Raises StepFailed, Cancelled."""
        wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        unsubscribe = cancellation.subscribe(lambda: os.eventfd_write(wake, 1))
        try:
            try:
                self._await_created()
                self._attach()
                self._channel.request("start")
            except StepError as error:
                cancellation.check()
                raise self._start_error(error) from error
            self._watch(output, wake)
        finally:
            unsubscribe()
            os.close(wake)
        output.finish()
        cancellation.check()
        self._judge()

    def close(self) -> None:
        """Nothing of it runs on, and its network is given back; again is harmless."""
        try:
            if self._ended is None:
                self._kill()
                self._await_end()
        except (CarboyError, OSError):
            _log.exception("end of build step %s", self._id)
        finally:
            self._channel.close()
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1
            if self._client is not None:
                self._client.close()
            self._give_back()

    # Start

    def _await_created(self) -> None:
        while True:
            message = self._channel.next_event(CREATE_TIMEOUT)
            match message.get("event"):
                case "namespaces":
                    try:
                        self._pidfd = os.pidfd_open(int(message["pid"]))
                        self._connect(int(message["pid"]))
                    except (CarboyError, OSError):
                        self._raise_failure()
                        raise
                case "created":
                    return
                case "failed":
                    raise self._failure(message)
                case "exited":
                    self._ended = exit_from_message(message)
                    raise Internal("the init process of a step ended before its start")
                case _:
                    continue

    def _failure(self, message: Message) -> StepError:
        self._ended = _FAILED
        return StepError.from_message(message.get("error") or {})

    def _raise_failure(self) -> None:
        """When the monitor fails, init goes with all its namespaces: then that is the reason."""
        with contextlib.suppress(Unavailable):
            message = self._channel.next_event(END_TIMEOUT)
            if message.get("event") == "failed":
                raise self._failure(message)
            self._take(message)

    def _connect(self, pid: int) -> None:
        network = self._job.network
        if network == "host":
            return
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if network == "none":
                self._parts.network.loopback(namespace)
            else:
                self._endpoint = self._parts.network.connect(namespace, container_id=self._id)
        finally:
            os.close(namespace)

    def _attach(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._client = ours
            ours.setblocking(False)
            self._channel.request(
                "attach", descriptors=[theirs.fileno()], stdin=False, stdout=True, stderr=True
            )

    def _start_error(self, error: StepError) -> CarboyError:
        text = f"The command '{' '.join(self._job.args)}' cannot be run: {error.text}"
        lower = error.text.lower()
        if "exec format error" in lower:
            text += (
                f": it is no program for {os.uname().machine}; images of other platforms need their"
                " emulator on this machine (binfmt_misc, as qemu-user-static sets it up)"
            )
        if error.step in _PROGRAMS_FAULT or "not found in $path" in lower:
            return StepFailed(text, exit_code_of(error))
        return StepError(error.category, error.step, text, errno=error.errno)

    # Run

    def _watch(self, output: Output, wake: int) -> None:
        """Output, the end, and a cancellation, whichever comes first."""
        assert self._client is not None
        poll = select.poll()
        for fd in (self._channel.fileno(), self._client.fileno(), wake):
            poll.register(fd, select.POLLIN)
        open_output, deadline = True, _NEVER
        while open_output or not self._has_ended():
            if self._channel.has_backlog:
                self._take(self._channel.next_event(0))
                continue
            ready = poll.poll(None if deadline == _NEVER else max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                return  # killed, or its output held open by somebody else: it is not waited for any longer
            for fd, _ in ready:
                if fd == wake:
                    poll.unregister(wake)
                    self._kill()
                    deadline = time.monotonic() + END_TIMEOUT
                elif fd == self._client.fileno():
                    open_output = self._read(output)
                    if not open_output:
                        poll.unregister(fd)
                    if deadline != _NEVER:
                        deadline = time.monotonic() + END_TIMEOUT
                elif not self._has_ended():
                    self._take(self._channel.next_event(END_TIMEOUT))
                    if self._has_ended():
                        poll.unregister(fd)
                        deadline = time.monotonic() + END_TIMEOUT

    def _has_ended(self) -> bool:
        return self._ended is not None

    def _read(self, output: Output) -> bool:
        assert self._client is not None
        try:
            data = self._client.recv(_CHUNK)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        output.feed(data)
        return bool(data)

    def _take(self, message: Message) -> None:
        if message.get("event") == "exited":
            self._ended = exit_from_message(message)

    def _kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _await_end(self) -> None:
        """After `_kill`: until the monitor has removed everything."""
        deadline = time.monotonic() + END_TIMEOUT
        while self._ended is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable(f"step {self._id} does not end within {END_TIMEOUT:g} s")
            try:
                message = self._channel.next_event(left)
            except Unavailable:
                return  # the monitor has gone: what it left is swept
            if message.get("event") == "failed":
                return
            self._take(message)

    # End

    def _judge(self) -> None:
        ended = self._ended
        if ended is None:
            raise Unavailable("a step was killed, but did not end")
        if ended.exit_code:
            text = f"The command '{' '.join(self._job.args)}' returned a non-zero code: {ended.exit_code}"
            if ended.oom:
                text += ": it was killed because it needed more memory than it may have"
            elif self._disk_is_full():
                text += f": the disk with {self._parts.paths.root} is full"
            raise StepFailed(text, ended.exit_code)
        if ended.error:
            _log.warning("build step %s: %s", self._id, ended.error)

    def _disk_is_full(self) -> bool:
        try:
            found = os.statvfs(self._parts.paths.root)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize < 1 << 20 or (found.f_files > 0 and found.f_favail == 0)

    def _give_back(self) -> None:
        run_directory = self._parts.paths.container_run(self._id)
        try:
            # A monitor that ended well has removed monitor.json; one that was killed left everything.
            if os.path.exists(f"{run_directory}/monitor.json"):
                self._parts.spawner.sweep(run_directory)
        except (CarboyError, OSError):
            _log.exception("control group of build step %s", self._id)
        try:
            if self._endpoint is not None:
                endpoint, self._endpoint = self._endpoint, None
                self._parts.network.disconnect(endpoint, namespace_gone=True)
        except (CarboyError, OSError):
            _log.exception("network of build step %s", self._id)


_FAILED = Exit(exit_code=128, oom=False, finished_at="")
