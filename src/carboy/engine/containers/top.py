"""The processes of a container as the host sees them: `ps` of the host, else a reading of /proc.

No program of an image is ever run (CVE-2022-1227), and nothing of a client's `ps_args` is seen by
a shell.  `ps` is found in fixed places, gets an environment of its own, and its rows are believed
only for processes that are in the container's control group.
"""

from __future__ import annotations

import os
import pwd
import re
import select
import signal
import time

from carboy.engine.statsfiles import recorded_groups
from carboy.errors import Conflict, InvalidArgument, Unavailable
from carboy.formats.dockerapi.upkeep import ProcessList

DEFAULT_ARGUMENTS = "-ef"
PLACES = ("/usr/bin/ps", "/bin/ps", "/usr/local/bin/ps")
_MOST_OUTPUT = 16 << 20
_TIMEOUT = 10.0
_TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]

_RENAMED = re.compile(r"\w+=\s*PID\b|\bpid=", re.IGNORECASE)
"""Headers that a client chooses: a column that is not the process id could be called PID."""


def processes_of(unsafe_arguments: str, run_directory: str) -> ProcessList:
    """What `ps` says of the processes in the container's control group."""
    arguments = check_arguments(unsafe_arguments)
    pids = group_processes(recorded_groups(run_directory))
    if not pids:
        raise Conflict("the container is not running: it has no process any more")
    program = next((path for path in PLACES if os.access(path, os.X_OK)), None)
    if program is None:
        if arguments != DEFAULT_ARGUMENTS.split():
            raise InvalidArgument(
                f"cannot run ps with {' '.join(arguments)[:100]!r}: this machine has no ps; "
                "install procps, or leave the options out"
            )
        return read_processes(pids)
    return select_rows(run_ps(program, arguments, pids), frozenset(pids))


def check_arguments(unsafe_arguments: str) -> list[str]:
    """The words for `ps`; raises InvalidArgument."""
    if "\0" in unsafe_arguments or len(unsafe_arguments) > 4096:
        raise InvalidArgument("invalid ps_args: too long, or with a zero byte")
    renamed = _RENAMED.search(unsafe_arguments)
    if renamed is not None:
        raise InvalidArgument(
            f'specifying "{renamed.group()}" is not allowed: it hides which process is meant'
        )
    return unsafe_arguments.split() or DEFAULT_ARGUMENTS.split()


def group_processes(groups: dict[str, str]) -> list[int]:
    """Every process in the control group and the groups below it."""
    for controller in ("freezer", "pids", "memory", "unified"):
        if controller in groups:
            return sorted(_walk(groups[controller]))
    return []


def _walk(directory: str) -> set[int]:
    found: set[int] = set()
    for path, _, _, descriptor in os.fwalk(directory):
        del path
        try:
            file = os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=descriptor)
        except OSError:
            continue
        with open(file) as lines:
            found.update(int(line) for line in lines if line.strip().isdigit())
    return found


def run_ps(program: str, arguments: list[str], pids: list[int]) -> str:
    """The output of `ps`: of these processes where it takes `-q`, else of all."""
    only = ["-q", ",".join(map(str, pids))] if len(pids) < 4096 else []
    code, output, errors = _run([program, *arguments, *only])
    if code and only:
        code, output, errors = _run([program, *arguments])
    if code:
        text = errors.strip().splitlines()
        raise InvalidArgument(f"ps: {text[0].removeprefix('error: ') if text else f'exit code {code}'}")
    return output


def _run(command: list[str]) -> tuple[int, str, str]:
    """posix_spawn shares the memory until execve: nothing of this threaded process is copied or run."""
    output, write_output = os.pipe()
    errors, write_errors = os.pipe()
    try:
        pid = os.posix_spawn(
            command[0],
            command,
            {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "COLUMNS": "4096"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, write_output, 1),
                (os.POSIX_SPAWN_DUP2, write_errors, 2),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGPIPE],
        )
    finally:
        os.close(write_output)
        os.close(write_errors)
    try:
        collected = _collect([output, errors])
    except Unavailable:
        os.kill(pid, signal.SIGKILL)  # our own child, not reaped yet: its number cannot be another's
        raise
    finally:
        os.close(output)
        os.close(errors)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), collected[0], collected[1]


def _collect(descriptors: list[int]) -> list[str]:
    pieces: dict[int, list[bytes]] = {descriptor: [] for descriptor in descriptors}
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    waiting = set(descriptors)
    deadline = time.monotonic() + _TIMEOUT
    total = 0
    while waiting:
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            raise Unavailable(f"ps did not end within {_TIMEOUT:g} s")
        for descriptor, _ in ready:
            data = os.read(descriptor, 1 << 16)
            total += len(data)
            if total > _MOST_OUTPUT:
                raise Unavailable("ps printed too much")
            if data:
                pieces[descriptor].append(data)
            else:
                waiting.remove(descriptor)
                poll.unregister(descriptor)
    return [b"".join(pieces[descriptor]).decode(errors="replace") for descriptor in descriptors]


def select_rows(output: str, pids: frozenset[int]) -> ProcessList:
    """The titles, and the rows of those processes; what is too much for the last column belongs to it."""
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    index = titles.index("PID")
    rows = []
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) > index and fields[index].isdigit() and int(fields[index]) in pids:
            rows.append([field.strip() for field in fields])
    return ProcessList(titles=titles, processes=rows)


def read_processes(pids: list[int], proc: str = "/proc") -> ProcessList:
    """The columns of `ps -ef`, read by ourselves."""
    with open(f"{proc}/stat") as file:
        booted = next((int(line.split()[1]) for line in file if line.startswith("btime ")), 0)
    rows = []
    for pid in pids:
        row = _row(pid, proc, booted)
        if row is not None:
            rows.append(row)
    return ProcessList(titles=list(_TITLES), processes=rows)


def _row(pid: int, proc: str, booted: int) -> list[str] | None:
    try:
        owner = os.stat(f"{proc}/{pid}").st_uid
        with open(f"{proc}/{pid}/stat", errors="replace") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
        with open(f"{proc}/{pid}/cmdline", "rb") as command_file:
            command = command_file.read(1 << 16)
    except OSError:
        return None  # it has ended meanwhile
    fields = rest.split()
    hertz = os.sysconf("SC_CLK_TCK")
    used = (int(fields[11]) + int(fields[12])) // hertz
    started = booted + int(fields[19]) / hertz
    words = command.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    return [
        _user(owner),
        str(pid),
        fields[1],
        str(min(99, int(used * 100 / max(1.0, time.time() - started)))),
        _start(started),
        _terminal(int(fields[4])),
        f"{used // 3600:02}:{used // 60 % 60:02}:{used % 60:02}",
        words or f"[{name}]" + (" <defunct>" if fields[0] == "Z" else ""),
    ]


def _user(uid: int) -> str:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
    return name if len(name) <= 8 else f"{name[:7]}+"


def _start(started: float) -> str:
    moment, now = time.localtime(started), time.localtime()
    if moment[:3] == now[:3]:
        return time.strftime("%H:%M", moment)
    return time.strftime("%b%d" if moment[0] == now[0] else "%Y", moment)


def _terminal(number: int) -> str:
    major, minor = os.major(number), os.minor(number)
    if major == 0:
        return "?"
    if 136 <= major <= 143:
        return f"pts/{minor + (major - 136) * 256}"
    return f"tty{minor}" if major == 4 and minor < 64 else "?"
