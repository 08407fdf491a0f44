"""From our code to the user's program: limits, identity, capabilities, seccomp, exec.

Shared by init (`init.py`) and by processes that join later (`execute.py`); runs in the
child, inside the container, after everything that needs privileges is done.
"""

from __future__ import annotations

import os
import resource
import signal
import stat

from carboy.errors import InvalidArgument
from carboy.formats.spawner import StepError
from carboy.linux import attributes, capabilities, process, seccomp
from carboy.linux.paths import RESOLVE_NO_MAGICLINKS, make_directories_in_root, openat2
from carboy.runtime import labels
from carboy.runtime.sync import Failing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.runtime.seccomp import Filter
    from carboy.runtime.spec import Process, Rlimit

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNLIMITED = 2**64 - 1
_HERE = -100  # AT_FDCWD


def set_rlimits(limits: list[Rlimit], explicit: frozenset[str]) -> list[str]:
    """Set resource limits; returns warnings for those that had to be lowered to the hard limit.

    A limit that the kernel refuses is an error when its name is in `explicit`.
    """
    warnings = []
    for one in limits:
        number = getattr(resource, one.kind, None)
        if number is None:
            raise InvalidArgument(f"rlimits: this kernel has no {one.kind}")
        soft, hard = (-1 if value >= UNLIMITED else value for value in (one.soft, one.hard))
        try:
            resource.setrlimit(number, (soft, hard))
        except (PermissionError, ValueError) as error:
            _, allowed = resource.getrlimit(number)
            if one.kind in explicit:
                text = f"cannot raise {one.kind} to {one.hard}: the hard limit here is {allowed}"
                raise StepError("PermissionDenied", "rlimits", text, errno=1) from error
            nearest = allowed if soft == -1 or (allowed != -1 and soft > allowed) else soft
            resource.setrlimit(number, (nearest, allowed))
            warnings.append(f"{one.kind} {one.hard} is above the hard limit: using {allowed}")
    return warnings


def new_keyring(container_id: str) -> None:
    """A session keyring named for the container: a name that others use would be joined, not made."""
    try:
        attributes.join_session_keyring(f"_ses.{container_id}")
    except OSError:
        pass  # no keyrings in this kernel, or the user's quota is used up


def reset_signals() -> None:
    """Default dispositions and nothing blocked: what the monitor ignores, the program must not."""
    for number in (
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGPIPE,
        signal.SIGCHLD,
        signal.SIGQUIT,
    ):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def set_scheduling(one: Process) -> None:
    """CPU scheduler and I/O priority."""
    if one.scheduler:
        policy = str(one.scheduler.get("policy", "SCHED_OTHER"))
        if policy not in attributes.SCHED_POLICIES:
            raise InvalidArgument(f"process.scheduler.policy {policy!r} is unknown")
        flags = 0
        for name in one.scheduler.get("flags") or ():
            if name not in attributes.SCHED_FLAGS:
                raise InvalidArgument(f"process.scheduler.flags: {name!r} is unknown")
            flags |= attributes.SCHED_FLAGS[name]
        numbers: dict[str, Any] = {
            key: int(one.scheduler.get(key) or 0)
            for key in ("nice", "priority", "runtime", "deadline", "period")
        }
        attributes.sched_setattr(attributes.SCHED_POLICIES[policy], flags=flags, **numbers)
    if one.io_priority:
        io_class = str(one.io_priority.get("class", ""))
        if io_class not in attributes.IOPRIO_CLASSES:
            raise InvalidArgument(f"process.ioPriority.class {io_class!r} is unknown")
        attributes.ioprio_set(attributes.IOPRIO_CLASSES[io_class], int(one.io_priority.get("priority") or 0))


def become(
    one: Process,
    filter_: Filter | None,
    *,
    last_capability: int,
    make_cwd: bool = False,
    preserve_fds: int = 0,
) -> None:
    """Take the program's user, capabilities and seccomp filter; the order matters at every line.

    Descriptors above 2 + `preserve_fds` end at the execve.
    """
    caps = one.capabilities
    _choose_descriptors(preserve_fds)  # before the filter, which may allow no such call
    with Failing("label"):
        labels.set_on_exec(one)  # a procfs of our own takes capabilities, and calls that filters refuse
    with Failing("cwd", one.cwd):
        entered = _enter_early(one.cwd, make=make_cwd)
    late_filter = filter_
    if filter_ is not None and not one.no_new_privileges:
        # Without no_new_privs loading needs CAP_SYS_ADMIN, which is about to go.
        with Failing("seccomp"):
            seccomp.load(filter_.program, filter_.flags)
        late_filter = None
    with Failing("capabilities"):
        capabilities.drop_bounding(caps.bounding, last_capability)
        process.set_keepcaps(1)
    with Failing("user"):
        _set_groups(one)
        os.setresgid(one.user.gid, one.user.gid, one.user.gid)
        os.setresuid(one.user.uid, one.user.uid, one.user.uid)
        os.umask(one.user.umask)
    with Failing("capabilities"):
        process.set_keepcaps(0)
        capabilities.capset(caps.effective, caps.permitted, caps.inheritable)
        capabilities.clear_ambient()
        for number in range(last_capability + 1):
            if caps.ambient >> number & 1:
                capabilities.raise_ambient(number)
    if not entered:
        with Failing("cwd", one.cwd):
            enter_directory(one.cwd)
    if one.no_new_privileges:
        process.set_no_new_privs()
    if late_filter is not None:
        with Failing("seccomp"):
            seccomp.load(late_filter.program, late_filter.flags)


def _choose_descriptors(preserve_fds: int) -> None:
    """Which ones outlive execve; all that are opened later are CLOEXEC from the start."""
    process.close_range(3 + preserve_fds, flags=process.CLOSE_RANGE_CLOEXEC)
    for fd in range(3, 3 + preserve_fds):
        try:
            os.set_inheritable(fd, True)
        except OSError:
            continue  # the caller's number of descriptors had gaps


def _enter_early(path: str, *, make: bool) -> bool:
    """Enter the working directory as root, who makes it when it is missing and `make`.

    False where root may not, as on some network filesystems: the user then tries.
    """
    try:
        enter_directory(path)
    except PermissionError:
        return False
    except FileNotFoundError:
        if not make or path.startswith("/proc/"):
            raise
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.close(make_directories_in_root(root, path))  # never through our descriptors (CVE-2024-45310)
        finally:
            os.close(root)
        enter_directory(path)
    return True


def _set_groups(one: Process) -> None:
    try:
        os.setgroups(one.user.additional_gids)
    except PermissionError:
        # A user namespace whose setgroups is denied: only an error when groups were asked for.
        if one.user.additional_gids:
            raise


def enter_directory(path: str) -> None:
    """Go there, and make sure that it is inside this root (CVE-2024-21626).

    Magic links (/proc/self/fd/7) are not followed: a descriptor, leaked or not, is no working directory.
    """
    directory = openat2(_HERE, path, os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_NO_MAGICLINKS)
    try:
        os.fchdir(directory)
    finally:
        os.close(directory)
    try:
        inside = os.getcwd()
    except FileNotFoundError:
        inside = "(unreachable)"
    if not inside.startswith("/"):
        raise StepError("InvalidArgument", "cwd", f"the working directory {path} is outside of the container")


def find_program(name: str, env: list[str]) -> str:
    """The path to execute: PATH of the program's own environment is searched as execvp does."""
    if not name:
        raise StepError("InvalidArgument", "exec", 'exec: "": no command given', errno=2)
    if "/" in name:
        return name
    search = DEFAULT_PATH
    for entry in env:
        if entry.startswith("PATH="):
            search = entry[5:]
    denied = False
    for folder in search.split(":"):
        candidate = f"{folder or '.'}/{name}"
        try:
            found = os.stat(candidate)
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode):
            continue
        if os.access(candidate, os.X_OK, effective_ids=True):
            return candidate
        denied = True
    if denied:
        raise StepError("InvalidArgument", "exec", f'exec: "{name}": permission denied', errno=13)
    text = f'exec: "{name}": executable file not found in $PATH'
    raise StepError("InvalidArgument", "exec", text, errno=2)


def check_program(one: Process) -> None:
    """Raise what `run_program` would for a missing program; relative paths wait for their directory."""
    name = one.args[0] if one.args else ""
    if "/" not in name:
        find_program(name, one.env)
    elif name.startswith("/") and not os.path.exists(name):
        raise StepError("InvalidArgument", "exec", _reason(name, 2), errno=2)


def _reason(name: str, number: int) -> str:
    known = {2: f"stat {name}: no such file or directory", 13: "permission denied", 8: "exec format error"}
    return f'exec: "{name}": {known.get(number, os.strerror(number))}'


def run_program(one: Process) -> None:
    """Execute; only returns by raising."""
    path = find_program(one.args[0], one.env)
    environment = dict(entry.partition("=")[::2] for entry in one.env if not entry.startswith("="))
    try:
        os.execve(path, one.args, environment)
    except OSError as error:
        text = _reason(one.args[0], error.errno or 0)
        raise StepError("InvalidArgument", "exec", text, errno=error.errno or 0) from error
