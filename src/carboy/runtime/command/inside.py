"""exec and ps: further processes of a container."""

from __future__ import annotations

import json
import os
import sys

from carboy.errors import Conflict, InvalidArgument
from carboy.runtime import spec
from carboy.runtime.command import life

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.command.call import Call
    from carboy.runtime.state import Container


def execute(call: Call) -> int:
    """`exec ID COMMAND…` or `exec --process FILE ID`: the program's exit code."""
    from carboy.runtime import execute as joining
    from carboy.runtime import launch
    from carboy.runtime.command import console

    container = call.container(more=-1)
    status = container.status()
    if not (status == "paused" and call.flags.flag("ignore-paused")):
        container.require("exec")
    one = spec.parse_process(_document(call, container))
    socket_path, detached = call.flags.text("console-socket"), call.flags.flag("detach")
    console.check(socket_path, wants_terminal=one.terminal, detached=detached)
    preserved = life.prepare_descriptors(call)
    socket = console.connect(socket_path) if socket_path else None
    pidfd = container.pidfd()
    target = joining.Target(container.spec(), container.pid, pidfd, container.group(), container.container_id)
    rows, cols = one.console_size
    done = joining.execute(
        target,
        one,
        launch.Streams.inherit(terminal=one.terminal, rows=rows, cols=cols),
        preserve_fds=preserved,
        die_with_parent=False,
        seccomp_cache=call.seccomp_cache,
    )
    for warning in done.warnings:
        call.warn(warning)
    if socket is not None:
        console.hand_over(socket, done.streams.console)
        done.streams.console = -1
    life.write_pid(call, done.pid)
    if detached:
        return 0
    return console.supervise(done.pid, done.pidfd, done.streams.console)


def _document(call: Call, container: Container) -> dict[str, Any]:
    """The process to run: a file's, or the container's own with what the flags change."""
    path = call.flags.text("process")
    own = container.config.get("process")
    own = own if isinstance(own, dict) else {}
    if path:
        with open(path, "rb") as file:
            data = file.read(spec.MAX_CONFIG)
        try:
            document = json.loads(data)
        except ValueError as error:
            raise InvalidArgument(f"{path} is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise InvalidArgument(f"{path} is not a process object")
        if "oomScoreAdj" in own:  # as runc: of a file, too, the caller's own is not inherited
            document.setdefault("oomScoreAdj", own["oomScoreAdj"])
        return document
    changed: dict[str, Any] = json.loads(json.dumps(own))
    changed.pop("consoleSize", None)
    _change(call, changed)
    return changed


def _change(call: Call, document: dict[str, Any]) -> None:
    flags = call.flags
    if len(call.arguments) < 2:
        raise InvalidArgument("the command to run is missing")
    document["args"] = call.arguments[1:]
    document["terminal"] = flags.flag("tty")
    document["env"] = [*(document.get("env") or []), *flags.texts("env")]
    if flags.given("cwd"):
        document["cwd"] = flags.text("cwd")
    user = dict(document.get("user") or {})
    if flags.given("user"):
        user["uid"], user["gid"] = parse_user(flags.text("user"))
    groups = [number for text in flags.texts("additional-gids") for number in text.split(",")]
    if groups:
        user["additionalGids"] = [_number(text) for text in groups]
    document["user"] = user
    if flags.flag("no-new-privs"):
        document["noNewPrivileges"] = True
    if flags.given("apparmor"):
        document["apparmorProfile"] = flags.text("apparmor")
    if flags.given("process-label"):
        document["selinuxLabel"] = flags.text("process-label")
    if flags.texts("cap"):
        sets = document.setdefault("capabilities", {})
        for key in ("bounding", "effective", "permitted"):
            sets[key] = [*(sets.get(key) or []), *flags.texts("cap")]


def parse_user(text: str) -> tuple[int, int]:
    """(uid, gid) of `UID[:GID]`; nothing but numbers is one (CVE-2026-30892: a lax parser gave root)."""
    uid, colon, gid = text.partition(":")
    return _number(uid), _number(gid) if colon else 0


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 2**32 - 2:
        raise InvalidArgument(f"--user wants numbers, UID[:GID], not {text!r}")
    return int(text)


def show_processes(call: Call) -> int:
    """`ps ID`."""
    container = call.container(more=-1)
    container.require("ps")
    group = container.group()
    if group is None:
        raise Conflict(f"container {container.container_id} has no control group: its processes are unknown")
    pids = sorted(group.processes())
    if call.flags.text("format") == "json":
        sys.stdout.write(json.dumps(pids) + "\n")
        return 0
    lines = [f"{'UID':<8} {'PID':>8} {'PPID':>8} CMD"]
    for pid in pids:
        try:
            lines.append(_line(pid))
        except (FileNotFoundError, ProcessLookupError):
            continue
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _line(pid: int) -> str:
    with open(f"/proc/{pid}/stat", "rb") as file:
        head, _, rest = file.read().rpartition(b")")
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().replace(b"\0", b" ").strip() or b"[" + head.partition(b"(")[2] + b"]"
    uid = os.stat(f"/proc/{pid}").st_uid
    return f"{uid:<8} {pid:>8} {rest.split()[1].decode():>8} {words.decode(errors='replace')}"


COMMANDS: dict[str, Callable[[Call], int]] = {"exec": execute, "ps": show_processes}
