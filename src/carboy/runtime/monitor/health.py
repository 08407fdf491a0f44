"""The health check of one container: a probe is run in it, again and again.

    begin ──interval──▶ probe ──its end, or the time-out: killed──▶ result ──interval──▶ probe …

`starting` until the first probe succeeds, `unhealthy` after so many failures in a row; what fails
within the start period counts only when a probe has succeeded before.  A paused container has no
probes.  It goes on while no daemon lives; the last results are kept here until one asks.
"""

from __future__ import annotations

import os
import time

from carboy.formats import jsonlog
from carboy.linux import process
from carboy.runtime.monitor import connection
from carboy.runtime.monitor.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.monitor.loop import Loop, Timer
    from carboy.runtime.monitor.program import Program

    Message = dict[str, Any]

STARTING = "starting"
HEALTHY = "healthy"
UNHEALTHY = "unhealthy"

MAX_OUTPUT = 4096
MAX_LOG = 5
KILL = 9
FAILED = -1
"""The exit code of a probe that could not run or took too long."""

_CHUNK = 64 * 1024
_DRAINS = 16


class Probe:
    """One run of the health check."""

    __slots__ = ("discarded", "exec_id", "output", "program", "started", "timed_out", "timer", "truncated")

    def __init__(self, program: Program, exec_id: str, started: int) -> None:
        self.program = program
        self.exec_id = exec_id
        self.started = started
        self.output = b""
        self.truncated = False
        self.timed_out = False
        self.discarded = False
        self.timer: Timer | None = None

    def take(self, data: bytes) -> None:
        """Keep the beginning of the output."""
        room = MAX_OUTPUT - len(self.output)
        self.output += data[:room]
        self.truncated = self.truncated or len(data) > room

    def text(self) -> str:
        """The output as it is shown."""
        return self.output.decode("utf-8", "replace") + ("..." if self.truncated else "")


class Health:
    """See the drawing above; `tell` sends an event to every daemon that listens."""

    __slots__ = (
        *("_begun", "_execute", "_loop", "_plan", "_probe", "_tell", "_timer"),
        *("failing_streak", "log", "status"),
    )

    def __init__(
        self,
        loop: Loop,
        plan: Message,
        execute: Callable[[Message], Program],
        tell: Callable[..., None],
    ) -> None:
        """plan: `health` of the launch, see LAUNCH_FIELDS in formats/spawner.py."""
        self._loop = loop
        self._plan = plan
        self._execute = execute
        self._tell = tell
        self._begun = 0.0
        self._timer: Timer | None = None
        self._probe: Probe | None = None
        self.status = STARTING
        self.failing_streak = 0
        self.log: list[Message] = []

    def document(self) -> Message:
        """What a daemon is told that asks."""
        return {"status": self.status, "failing_streak": self.failing_streak, "log": self.log}

    # The life of the container

    def begin(self) -> None:
        """The program has been started."""
        self._begun = time.monotonic()
        self._wait()

    def pause(self) -> None:
        """No probes from now on; as with Docker it counts as unhealthy until one has succeeded again."""
        self._cancel()
        if self._probe is not None:
            self._probe.discarded = True
            self._kill(self._probe)
        self.status = UNHEALTHY

    def resume(self) -> None:
        """Probes again."""
        self._wait()

    def end(self) -> None:
        """The container's program has ended, and every process in it was killed."""
        self._cancel()
        probe, self._probe = self._probe, None
        if probe is not None:
            self._kill(probe)
            self._close(probe)
        self.status = UNHEALTHY

    # Probes

    def _wait(self) -> None:
        self._cancel()
        interval = float(self._plan["interval"])
        if self.status == STARTING and time.monotonic() - self._begun < float(self._plan["start_period"]):
            interval = float(self._plan["start_interval"])
        self._timer = self._loop.later(interval, self._run)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _run(self) -> None:
        self._timer = None
        if self._probe is not None:  # one from before a pause still ends
            self._wait()
            return
        exec_id, started = os.urandom(32).hex(), time.time_ns()
        self._tell("probe", exec_id=exec_id)
        try:
            request = {"process": {"args": self._plan["args"]}, "inherit": True}
            program = self._execute(request)
        except Exception as error:  # whatever it is, the checks go on, and it is told
            text = connection.error_message(error)["text"]
            self._note(exec_id, started, FAILED, f"OCI runtime exec failed: exec failed: {text}: unknown")
            self._wait()
            return
        probe = self._probe = Probe(program, exec_id, started)
        for fd in program.outputs:
            os.set_blocking(fd, False)
            self._loop.watch(fd, READ, self._reader(probe, fd))
        self._loop.watch(program.pidfd, READ, lambda _: self._ended(probe))
        probe.timer = self._loop.later(float(self._plan["timeout"]), lambda: self._time_out(probe))

    def _reader(self, probe: Probe, fd: int) -> Callable[[int], None]:
        def read(_events: int) -> None:
            self._read(probe, fd)

        return read

    def _read(self, probe: Probe, fd: int) -> bool:
        """Take a piece; False when there is no more for now."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            probe.take(data)
            return True
        self._loop.forget(fd)
        if probe.program.outputs.pop(fd, None) is not None:
            os.close(fd)
        return False

    def _time_out(self, probe: Probe) -> None:
        probe.timed_out = True
        self._kill(probe)

    @staticmethod
    def _kill(probe: Probe) -> None:
        """The probe and what it has started, where the kernel can address the group by a pidfd (6.9).

        ESRCH for the group says that it leads none (before its setsid, or a zombie), not that it has ended.
        """
        for flags in (process.PIDFD_SIGNAL_PROCESS_GROUP, 0):
            try:
                process.pidfd_send_signal(probe.program.pidfd, KILL, flags)
            except OSError:
                continue
            return

    def _ended(self, probe: Probe) -> None:
        exit_code = self._close(probe)
        self._probe = None
        if probe.discarded:
            return
        text = probe.text()
        if probe.timed_out:
            told = f"Health check exceeded timeout ({_duration(float(self._plan['timeout']))})"
            text = f"{told}: {text}" if text else told
            exit_code = FAILED
        self._note(probe.exec_id, probe.started, exit_code, text)
        self._wait()

    def _close(self, probe: Probe) -> int:
        """Take what is left of the output, and reap; the process has ended or is about to."""
        if probe.timer is not None:
            probe.timer.cancel()
        self._loop.forget(probe.program.pidfd)
        for fd in list(probe.program.outputs):
            for _ in range(_DRAINS):
                if not self._read(probe, fd):
                    break
            if probe.program.outputs.pop(fd, None) is not None:  # something it started keeps it open
                self._loop.forget(fd)
                os.close(fd)
        try:
            return probe.program.reap()
        except ChildProcessError:
            return FAILED
        finally:
            probe.program.close()

    def _note(self, exec_id: str, started: int, exit_code: int, output: str) -> None:
        result = {
            "start": jsonlog.timestamp(started).decode(),
            "end": jsonlog.timestamp(time.time_ns()).decode(),
            "exit_code": exit_code,
            "output": output,
        }
        self.log = [*self.log[1 - MAX_LOG :], result]
        before = self.status
        if exit_code == 0:
            self.failing_streak = 0
            self.status = HEALTHY
        elif not self._forgiven(started):
            self.failing_streak += 1
            if self.failing_streak >= int(self._plan["retries"]):
                self.status = UNHEALTHY
        self._tell(
            "health",
            exec_id=exec_id,
            status=self.status,
            changed=self.status != before,
            failing_streak=self.failing_streak,
            result=result,
        )

    def _forgiven(self, started: int) -> bool:
        """Whether a failure that began then lies in the start period."""
        age = time.monotonic() - self._begun - (time.time_ns() - started) / 1e9
        return self.status == STARTING and age < float(self._plan["start_period"])


def _duration(seconds: float) -> str:
    """As Go prints it, for the message that people look for: `30s`, `1m0s`, `500ms`."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest:g}s"
