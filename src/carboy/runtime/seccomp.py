"""OCI `linux.seccomp` to a BPF program, compiled by libseccomp and kept on disk.

    ┌ our prologue ───────────────────────────────┐┌ libseccomp's program ┐
    │ calls that libseccomp has no name for yet;  ││ all other calls      │
    │ calls newer than the profile: ENOSYS        ││                      │
    └─────────────────────────────────────────────┘└──────────────────────┘

The prologue is there because a C library that gets ENOSYS falls back to an older call, and one
that gets EPERM gives up; runc does the same.  Jumps in classic BPF are relative, so the two
programs are simply put one after the other.

libseccomp is loaded in a child process, and only when the cache has no answer: it (with what
pyseccomp imports to find it) would double the memory of a monitor.
"""

from __future__ import annotations

import json
import os
from _blake2 import blake2b

from carboy.errors import Corrupt, InvalidArgument, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

FORMAT = b"carboy-seccomp-5"
"""Part of every digest: to be changed with the code below."""

FILTER_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # one thread: nothing to synchronise
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}

MAX_INSTRUCTIONS = 4096

FIRST_SHARED = 424
"""From this number on, all architectures number their calls alike."""

# fmt: off
_NEWER_NAMES = (
    "pidfd_send_signal", "io_uring_setup", "io_uring_enter", "io_uring_register", "open_tree",
    "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "pidfd_open", "clone3", "close_range",
    "openat2", "pidfd_getfd", "faccessat2", "process_madvise", "epoll_pwait2", "mount_setattr",
    "quotactl_fd", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
    "memfd_secret", "process_mrelease", "futex_waitv", "set_mempolicy_home_node", "cachestat",
    "fchmodat2", "map_shadow_stack", "futex_wake", "futex_wait", "futex_requeue", "statmount",
    "listmount", "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules", "mseal", "setxattrat",
    "getxattrat", "listxattrat", "removexattrat", "open_tree_attr", "file_getattr", "file_setattr",
    "listns",
)
# fmt: on

NEWER_CALLS = {name: FIRST_SHARED + index for index, name in enumerate(_NEWER_NAMES)}
"""Number by name of what libseccomp may be too old to know."""

OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}

ALLOW, TRACE = 0x7FFF0000, 0x7FF00000
EPERM, ENOSYS = 1, 38
AUDIT_ARCHITECTURES = {"x86_64": (0xC000003E, 0x40000003), "aarch64": (0xC00000B7, 0x40000028)}
X32_BIT = 0x40000000
ARM_PRIVATE = 0xF0000
"""Above it are set_tls, cacheflush and their kin of 32-bit ARM."""

FIRST_PRIVATE = {"x86_64": X32_BIT, "aarch64": ARM_PRIVATE}
"""From this number on, calls are not newer ones but others."""


class Filter:
    """What `linux.seccomp` loads; `name` in the cache, "" outside."""

    __slots__ = ("flags", "name", "program")

    def __init__(self, program: bytes, flags: int, name: str = "") -> None:
        self.program = program
        self.flags = flags
        self.name = name


def filter_for(seccomp: dict[str, Any], cache: str | None = None) -> Filter:
    """The compiled filter of an OCI `linux.seccomp`, from the directory `cache` when it is there.

    Raises InvalidArgument for a wrong profile, Unsupported without libseccomp.
    """
    flags = 0
    for name in seccomp.get("flags") or ():
        if name not in FILTER_FLAGS:
            raise InvalidArgument(f"linux.seccomp.flags: unknown flag {name!r}")
        flags |= FILTER_FLAGS[name]
    if cache is None:
        return Filter(_compile_apart(seccomp), flags)
    name = digest(seccomp) + ".bpf"
    program = _read_cached(cache, name)
    if program is None:
        program = _compile_apart(seccomp)
        _write_cached(cache, name, program)
    return Filter(program, flags, name)


def cached(cache: str, name: str, flags: int) -> Filter | None:
    """A filter that `filter_for` has given before; None when it is not there any more."""
    program = _read_cached(cache, name) if cache and name else None
    return None if program is None else Filter(program, flags, name)


def digest(seccomp: dict[str, Any]) -> str:
    """The name of a compiled filter: of the profile, the machine and libseccomp's version."""
    text = json.dumps(seccomp, sort_keys=True, separators=(",", ":"))
    key = blake2b(FORMAT, digest_size=20)
    for part in (text, os.uname().machine, _library_version()):
        key.update(b"\0" + part.encode())
    return key.hexdigest()


def _library_version() -> str:
    """libseccomp's file name, e.g. libseccomp.so.2.5.4, without loading it or asking ldconfig."""
    machine = os.uname().machine
    for folder in (f"/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib", f"/lib/{machine}-linux-gnu"):
        try:
            return os.readlink(f"{folder}/libseccomp.so.2")
        except OSError:
            continue
    return "unknown"


# The cache: files of a digest of the program and the program, in a private directory.

CHECK_BYTES = 16


def _read_cached(cache: str, name: str) -> bytes | None:
    try:
        fd = os.open(f"{cache}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            return None
        content = os.read(fd, CHECK_BYTES + 8 * MAX_INSTRUCTIONS + 1)
    finally:
        os.close(fd)
    check, program = content[:CHECK_BYTES], content[CHECK_BYTES:]
    if not program or len(program) % 8 or blake2b(program, digest_size=CHECK_BYTES).digest() != check:
        return None  # torn by a power cut: compiled again
    return program


def _write_cached(cache: str, name: str, program: bytes) -> None:
    temporary = f"{cache}/.{name}.{os.getpid()}"
    try:
        os.makedirs(cache, mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600)
        try:
            os.write(fd, blake2b(program, digest_size=CHECK_BYTES).digest() + program)
        finally:
            os.close(fd)
        os.rename(temporary, f"{cache}/{name}")
    except OSError:
        return  # a full or read-only disk costs the next container 50 ms, nothing else


# Compiling


def _compile_apart(seccomp: dict[str, Any]) -> bytes:
    """`compile_filter` in a child process; its answer is one byte of status, then the text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            try:
                answer = b"\0" + compile_filter(seccomp)
            except Unsupported as error:
                answer = b"\1" + str(error).encode()
            except Exception as error:  # the child must not go on as a second parent
                answer = b"\2" + str(error).encode(errors="replace")
            view = memoryview(answer)
            while view:
                view = view[os.write(writing, view) :]
        finally:
            os._exit(0)
    os.close(writing)
    pieces = []
    try:
        while piece := os.read(reading, 1 << 16):
            pieces.append(piece)
    finally:
        os.close(reading)
        try:
            os.waitpid(child, 0)
        except ChildProcessError:
            pass  # SIGCHLD is ignored here
    answer = b"".join(pieces)
    if answer[:1] == b"\0":
        return answer[1:]
    text = answer[1:].decode(errors="replace") or "the compiling process died"
    raise Unsupported(text) if answer[:1] == b"\1" else InvalidArgument(text)


def compile_filter(seccomp: dict[str, Any]) -> bytes:
    """The BPF program of an OCI `linux.seccomp`, in this process."""
    library = _load_library()
    default = _action(str(seccomp.get("defaultAction")), seccomp.get("defaultErrnoRet"))
    compiled = library.SyscallFilter(default)
    try:
        compiled.set_attr(library.Attr.CTL_OPTIMIZE, 2)  # a binary tree instead of a list
    except OSError:
        pass  # libseccomp before 2.5
    _add_architectures(library, compiled, seccomp.get("architectures") or [])
    unnamed: list[tuple[int, int]] = []
    newest = FIRST_SHARED - 1  # below, no number is a newer call on all architectures
    for rule in seccomp.get("syscalls") or []:
        action = _action(str(rule.get("action")), rule.get("errnoRet"))
        for name in rule.get("names") or []:
            number = library.resolve_syscall(library.Arch.NATIVE, name)
            newest = max(newest, number, NEWER_CALLS.get(name, 0))
            if action == default:
                continue
            if number == -1:
                if name in NEWER_CALLS and not (rule.get("args") and action == ALLOW):
                    unnamed.append((NEWER_CALLS[name], action))
                continue
            for arguments in _arguments(library, rule.get("args") or []):
                try:
                    compiled.add_rule(action, number, *arguments)
                except OSError as error:
                    raise InvalidArgument(
                        f"linux.seccomp: cannot add the rule for {name}: {error.strerror}"
                    ) from error
    permissive = TRACE <= default <= ALLOW  # LOG is between them: these let newer calls through, too
    return prologue(unnamed, 0 if permissive else newest) + _export(compiled)


def _load_library() -> ModuleType:
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:
        raise Unsupported(
            f"cannot compile a seccomp filter: {error}; install libseccomp "
            "(Debian: apt install libseccomp2), or use --security-opt seccomp=unconfined"
        ) from error
    module: ModuleType = pyseccomp
    return module


def _add_architectures(library: ModuleType, compiled: Any, names: list[str]) -> None:
    for name in names:
        number = getattr(library.Arch, name.removeprefix("SCMP_ARCH_"), None)
        if number is None or not name.startswith("SCMP_ARCH_"):
            raise InvalidArgument(f"linux.seccomp.architectures: unknown architecture {name!r}")
        try:
            compiled.add_arch(number)
        except FileExistsError:
            continue  # the native one is there from the start
        except OSError as error:
            raise InvalidArgument(
                f"linux.seccomp.architectures: cannot add {name}: {error.strerror}"
            ) from error


def _action(name: str, errno_return: int | None) -> int:
    number: object = EPERM if errno_return is None else errno_return
    if not isinstance(number, int) or not 0 <= number <= 0xFFFF:
        raise InvalidArgument(f"linux.seccomp: errnoRet {str(number)[:40]!r} is no error number")
    actions = {
        "SCMP_ACT_ALLOW": ALLOW,
        "SCMP_ACT_LOG": 0x7FFC0000,
        "SCMP_ACT_TRACE": TRACE | number,
        "SCMP_ACT_ERRNO": 0x00050000 | number,
        "SCMP_ACT_TRAP": 0x00030000,
        "SCMP_ACT_KILL": 0x00000000,
        "SCMP_ACT_KILL_THREAD": 0x00000000,
        "SCMP_ACT_KILL_PROCESS": 0x80000000,
    }
    if name == "SCMP_ACT_NOTIFY":
        raise Unsupported("linux.seccomp: SCMP_ACT_NOTIFY is not supported; use SCMP_ACT_ERRNO")
    if name not in actions:
        raise InvalidArgument(f"linux.seccomp: unknown action {name!r}")
    return actions[name]


def _arguments(library: ModuleType, args: list[dict[str, Any]]) -> list[list[Any]]:
    """The conditions of one rule, as one or several rules of libseccomp.

    libseccomp takes one condition per argument; with several on the same one, each stands
    alone (any of them is enough), as in runc and Docker.
    """
    conditions = []
    for arg in args:
        operator = OPERATORS.get(str(arg.get("op")))
        index, first, second = (arg.get(key) or 0 for key in ("index", "value", "valueTwo"))
        whole = all(isinstance(one, int) and 0 <= one < 1 << 64 for one in (index, first, second))
        if operator is None or not whole or index > 5 or "index" not in arg:
            raise InvalidArgument(f"linux.seccomp: bad argument condition {str(arg)[:200]}")
        conditions.append((int(arg["index"]), library.Arg(int(arg["index"]), operator, first, second)))
    indexes = [index for index, _ in conditions]
    if len(set(indexes)) < len(indexes):
        return [[condition] for _, condition in conditions]
    return [[condition for _, condition in conditions]]


def _export(compiled: Any) -> bytes:
    with os.fdopen(os.memfd_create("seccomp", os.MFD_CLOEXEC), "r+b") as file:
        compiled.export_bpf(file)
        program = os.pread(file.fileno(), 8 * MAX_INSTRUCTIONS + 1, 0)
    if not program or len(program) % 8 or len(program) > 8 * MAX_INSTRUCTIONS:
        raise Corrupt(f"libseccomp gave a filter of {len(program)} bytes")
    return program


LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_GREATER, JUMP, RETURN = 0x20, 0x15, 0x35, 0x25, 0x05, 0x06


def _statement(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One struct sock_filter."""
    return code.to_bytes(2, "little") + bytes((if_true, if_false)) + value.to_bytes(4, "little")


def prologue(unnamed: list[tuple[int, int]], newest: int) -> bytes:
    """Answers for calls by number, the rest falls through to what follows.

    unnamed: (number, action).  newest: everything above is ENOSYS; FIRST_SHARED - 1 or more, or 0 for no
    such rule.
    Applies to the architectures of this machine except x32, whose numbers carry a bit of
    their own and so look large, and the private calls of 32-bit ARM.
    """
    if not unnamed and not newest:
        return b""
    body = []
    for number, action in unnamed:
        body += [_statement(JUMP_EQUAL, number, 0, 1), _statement(RETURN, action)]
    if newest:
        body += [_statement(JUMP_GREATER, newest, 0, 1), _statement(RETURN, 0x00050000 | ENOSYS)]
    machine = os.uname().machine
    natives = AUDIT_ARCHITECTURES.get(machine, ())
    if not natives:
        return b""
    beyond = FIRST_PRIVATE[machine]
    head = [_statement(LOAD, 4)]  # struct seccomp_data: nr, arch, …
    # Any known architecture goes to the tests below, another one past them all.
    for index, native in enumerate(natives):
        head.append(_statement(JUMP_EQUAL, native, len(natives) - index, 0))
    head.append(_statement(JUMP, len(body) + 3))
    lowest = min([newest or beyond, *(number for number, _ in unnamed)])
    tests = [
        _statement(LOAD, 0),
        _statement(JUMP_GREATER_EQUAL, lowest, 0, len(body) + 1),
        _statement(JUMP_GREATER_EQUAL, beyond, len(body), 0),
    ]
    return b"".join(head + tests + body)
