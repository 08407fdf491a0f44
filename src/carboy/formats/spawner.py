"""What the daemon, the spawner and the monitors say to each other.

Every message is one packet on a SOCK_SEQPACKET unix socket: a JSON object, with
descriptors beside it (SCM_RIGHTS).  Anything large (the OCI configuration) is in the
bundle on disk, so that a packet stays far below the kernel's limit.

    daemon ──(socketpair)──────────▶ spawner        MonitorRequest + [channel, rootfs?, mounts…]
                                       │ fork
    daemon ──(socketpair)──────────▶ spawner        SweepRequest + [told]
    daemon ──(socketpair)──────────▶ spawner        ForwarderRequest + [listener]
    daemon ◀──(channel, socketpair)── monitor       events, replies
    daemon ◀──(<run>/…/monitor.sock)─ monitor       the same protocol, for a later daemon

1. The daemon makes a socketpair, the *channel*, and sends its other end to the spawner
   with a MonitorRequest.  The spawner forks the monitor, closes its copies, forgets it.
   It ends when its own socket does: each daemon starts a spawner of its own.
2. The monitor reads `<bundle>/config.json`, starts init, and at once sends the event
   `namespaces` with init's pid: the daemon sets the network up while init goes on.
   When init has built its root filesystem, the event `created` follows, or `failed`.
3. The daemon sends `start`; the reply says that the program was executed, or why not.
4. From then on any connection may send requests; each is answered in order by one packet
   `{"re": <seq>, ...}`.  Events go to every connection.
5. When init has ended and its output is drained, the monitor writes `exit.json` (whole or
   not at all), sends `exited`, lets attached clients finish, and ends.

Where a monitor was killed, a SweepRequest has the spawner kill and remove what is left of the
container's control group; `told` is closed when that is done.

A connection opens with nothing: the version is in every reply to `hello`.  New requests
may be added; a monitor answers an unknown one with the error category Unsupported, so
a newer daemon can go on speaking to older monitors.

    request      fields                                              descriptors    reply
    hello        version                                             -              version, State
    start        -                                                   -              pid, started_at
    signal       signal (number)                                     -              -
    attach       stdin stdout stderr (bool) detach_keys initial      client         log {inode offset
                                                                     hold?          changed}?
    resize       rows cols exec_id?                                  -              -
    exec         exec_id process(OCI) terminal stdin stdout stderr   client?        pid
                 detach_keys initial rows cols
    exec_state   exec_id                                             -              running pid exit_code
    pause        -                                                   -              -
    resume       -                                                   -              -
    update       resources(OCI linux.resources)                      -              -
    state        -                                                   -              State
    rotate       -                                                   -              -   (reopen the log)
    large        -                                                   …, file        of the request in `file`

    event        fields
    namespaces   pid
    created      pid, warnings
    failed       error {category, errno, step, text}
    exited       exit_code, oom, finished_at, error?, health? {status, failing_streak, log}
    oom          -
    probe        exec_id          a health check begins
    health       exec_id, status, changed, failing_streak, result {start, end, exit_code, output}
    exec_exited  exec_id, exit_code
    detached     exec_id?         a client used its detach keys

`hold` is a pipe: the client gets nothing before its other end is closed, because the daemon replays
the log to it, up to the place in the reply.

`large` stands for a request that fits into no packet, an exec with many variables: the file that comes last
has it, and its own descriptors come before.

`initial` is what the HTTP server had already read from the client past the request, in
base64.  `client` is the client's own socket: the monitor answers it directly, with stdcopy
frames (or raw, with a terminal), and the daemon may die.
"""

from __future__ import annotations

import json

from carboy.errors import CATEGORIES, CarboyError, Corrupt, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1

MAX_PACKET = 128 * 1024
"""Bytes of JSON in one packet; larger things are passed as files."""

MAX_LARGE = 16 << 20
"""Bytes of JSON in a file: the kernel takes 2 MiB of arguments and variables."""

MAX_TEXT = 4096
"""Characters of an error: it may quote whatever a client sent."""

MAX_DESCRIPTORS = 64


def encode(message: dict[str, Any], *, limit: int = MAX_PACKET) -> bytes:
    """One packet; raises InvalidArgument when it would not fit: what is asked for is too long."""
    packet = json.dumps(message, separators=(",", ":"), ensure_ascii=True).encode()
    if len(packet) > limit:
        raise InvalidArgument(
            f"the request {message.get('op') or message.get('event')!r} is too large: its arguments,"
            f" variables and settings make {len(packet)} bytes, {limit} are possible"
        )
    return packet


def decode(packet: bytes) -> dict[str, Any]:
    """The message in `packet`; raises Corrupt if it is not a JSON object."""
    try:
        message = json.loads(packet)
    except ValueError as error:
        raise Corrupt(f"bad packet from a peer process: {error}") from error
    if not isinstance(message, dict):
        raise Corrupt("bad packet from a peer process: not a JSON object")
    return message


class StepError(CarboyError):
    """An error that crossed a fork: which step failed, with which errno, in which category.

    `step` is a word such as `mount`, `exec` or `seccomp`; `category` names a class of
    `carboy.errors`.  `status` follows the category.
    """

    def __init__(self, category: str, step: str, text: str, *, errno: int = 0) -> None:
        super().__init__(text)
        self.category = category if category in CATEGORIES else "Internal"
        self.step = step
        self.text = text
        self.errno = errno
        self.status = CATEGORIES[self.category].status

    def to_message(self) -> dict[str, Any]:
        """The form it has in a packet."""
        text = self.text
        if len(text) > MAX_TEXT:
            text = f"{text[: MAX_TEXT // 2]}…{text[-MAX_TEXT // 2 :]}"
        return {"category": self.category, "step": self.step, "text": text, "errno": self.errno}

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> StepError:
        """Read what `to_message` gave; tolerant of missing fields."""
        return cls(
            str(message.get("category", "Internal")),
            str(message.get("step", "")),
            str(message.get("text", "unknown error")),
            errno=int(message.get("errno", 0)),
        )


def monitor_request(
    *,
    container_id: str,
    bundle: str,
    run_directory: str,
    launch: dict[str, Any],
    has_rootfs: bool,
    mounts: int = 0,
) -> dict[str, Any]:
    """The message that makes the spawner fork a monitor.

    bundle: `<root>/containers/<id>`, holding config.json; exit.json is written there.
    run_directory: `<run>/containers/<id>`: monitor.sock and monitor.json are put there.
    has_rootfs: a second descriptor is the detached mount of the root filesystem.
    mounts: how many further descriptors are detached mounts (of images), named by `carboy.descriptor=N`.
    launch: see `LAUNCH_FIELDS`.
    """
    return {
        "op": "monitor",
        "version": VERSION,
        "id": container_id,
        "bundle": bundle,
        "run": run_directory,
        "launch": launch,
        "rootfs": has_rootfs,
        "mounts": mounts,
    }


def sweep_request(cgroup: dict[str, str]) -> dict[str, Any]:
    """Remove a dead monitor's control group; `cgroup` is that of its monitor.json."""
    return {"op": "sweep", "version": VERSION, "cgroup": cgroup}


def forwarder_request() -> dict[str, Any]:
    """Fork the process that holds published ports; what it is asked: `runtime/forwarder/service.py`."""
    return {"op": "ports", "version": VERSION}


LAUNCH_FIELDS = {
    "terminal": "bool: a pseudo-terminal instead of three pipes",
    "rows": "int, 0 if unknown",
    "cols": "int, 0 if unknown",
    "stdin": "bool: the container's stdin is a pipe (else /dev/null)",
    "stdin_once": "bool: close stdin when the first attached client with stdin goes",
    "init": "bool: a reaping PID 1 in front of the program",
    "health": "{args, interval, timeout, start_period, start_interval (seconds), retries}",
    "log": "{driver: json-file|local, path, max_size (bytes, 0 = no limit), max_file, compress, attrs {..}}, "
    "{driver: syslog, transport, path or addresses [[host, port]], format, facility, tag}, "
    "{driver: journald, fields {..}}, both with non_blocking, buffer; or {driver: none}",
    "stop_signal": "int",
    "seccomp_cache": "directory of compiled filters",
    "cgroup_parent": "str, e.g. /carboy",
    "stall": "seconds that an attached client may take nothing before it is dropped",
    "tied": "bool: the program is killed when the daemon that started it goes",
    "light": "{pid: '' new | path joined | null the host's}: init prepares itself (runtime/launch.py)",
}
"""The fields of `launch`, all optional: documentation that the tests compare with the code."""
