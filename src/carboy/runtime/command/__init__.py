"""carboy-runtime: the runtime as an OCI command that Podman, containerd or a person can call.

May import: the runtime, `formats`, `linux`, `errors`.  Start reading at `main`; the commands
are in `life` (create to delete), `inside` (exec, ps), `limits` (pause, update, events) and
`about` (features, spec).  A command's module is loaded when it is called.
"""

from __future__ import annotations

import os
import sys

from carboy.errors import CarboyError, InvalidArgument
from carboy.runtime.command.flags import Flags, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.command.call import Call
    from carboy.runtime.command.flags import Table

GLOBAL: Table = {
    "root": ("", "text", "directory of the containers' states"),
    "log": ("", "text", "file for errors and warnings (default: standard error)"),
    "log-format": ("", "text", "text or json"),
    "debug": ("", "bool", "show a traceback with errors"),
    "systemd-cgroup": ("", "bool", "accepted: groups are made below systemd's names, without asking it"),
    "rootless": ("", "text", "accepted: it is found out"),
    "criu": ("", "text", "accepted: there are no checkpoints"),
    "version": ("v", "bool", "show the version"),
    "help": ("h", "bool", "show this help"),
}

CONSOLE: Table = {
    "console-socket": ("", "text", "unix socket that is given the terminal's master"),
    "pid-file": ("", "text", "file for the process id"),
    "preserve-fds": ("", "number", "how many descriptors from 3 on the program gets"),
}

CREATE: Table = {
    "bundle": ("b", "text", "directory with config.json (default: the current one)"),
    **CONSOLE,
    "no-pivot": ("", "bool", "refused: the root is always pivoted"),
    "no-new-keyring": ("", "bool", "accepted: a session keyring is never shared"),
    "no-subreaper": ("", "bool", "accepted"),
}

COMMANDS: dict[str, tuple[str, str, Table]] = {
    "create": ("life", "create a container, up to its waiting for start", CREATE),
    "start": ("life", "execute the program of a created container", {}),
    "state": ("life", "show a container's state", {}),
    "kill": ("life", "send a signal", {"all": ("a", "bool", "to every process of the container")}),
    "delete": ("life", "delete a stopped container", {"force": ("f", "bool", "kill it first")}),
    "run": (
        "life",
        "create, start, wait, delete",
        {
            **CREATE,
            "detach": ("d", "bool", "do not wait"),
            "keep": ("", "bool", "do not delete it at its end"),
        },
    ),
    "list": (
        "life",
        "show all containers",
        {"format": ("f", "text", "table or json"), "quiet": ("q", "bool", "ids only")},
    ),
    "exec": (
        "inside",
        "run a further process",
        {
            **CONSOLE,
            "process": ("p", "text", "file with the process as JSON"),
            "detach": ("d", "bool", "do not wait"),
            "tty": ("t", "bool", "with a terminal"),
            "user": ("u", "text", "UID[:GID]"),
            "additional-gids": ("g", "list", "further groups, as numbers"),
            "cwd": ("", "text", "working directory"),
            "env": ("e", "list", "NAME=value"),
            "cap": ("c", "list", "add a capability"),
            "no-new-privs": ("", "bool", "execve grants no privileges"),
            "apparmor": ("", "text", "AppArmor profile"),
            "process-label": ("", "text", "SELinux label"),
            "ignore-paused": ("", "bool", "also in a paused container"),
        },
    ),
    "ps": ("inside", "show the processes", {"format": ("f", "text", "table or json")}),
    "pause": ("limits", "stop all processes", {}),
    "resume": ("limits", "let them run again", {}),
    "update": (
        "limits",
        "change limits",
        {
            "resources": ("r", "text", "file with linux.resources as JSON, - for standard input"),
            "memory": ("", "size", "bytes"),
            "memory-swap": ("", "size", "bytes of memory and swap, -1 without limit"),
            "memory-reservation": ("", "size", "bytes"),
            "cpu-shares": ("", "number", ""),
            "cpu-share": ("", "number", ""),
            "cpu-quota": ("", "number", "microseconds in a period"),
            "cpu-period": ("", "number", "microseconds"),
            "cpu-burst": ("", "number", "microseconds"),
            "cpu-idle": ("", "number", ""),
            "cpuset-cpus": ("", "text", "0-3,7"),
            "cpuset-mems": ("", "text", "0-1"),
            "pids-limit": ("", "number", ""),
            "blkio-weight": ("", "number", ""),
        },
    ),
    "events": (
        "limits",
        "show figures and events",
        {
            "stats": ("", "bool", "figures once"),
            "interval": ("", "text", "between two figures, e.g. 5s"),
        },
    ),
    "features": ("about", "what this runtime can do, as JSON", {}),
    "spec": (
        "about",
        "write a config.json to start from",
        {
            "bundle": ("b", "text", "directory to write to"),
            "rootless": ("", "bool", "for an ordinary user"),
        },
    ),
}

SEALED = ("create", "run", "exec")
"""Commands that fork into containers."""


def main(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        flags, rest = parse(arguments, GLOBAL)
    except InvalidArgument as error:
        sys.stderr.write(f"carboy-runtime: {error}\n")
        return 1
    if flags.flag("version") or rest == ["version"]:
        return _show_version()
    if flags.flag("help") or not rest or rest[0] == "help":
        return _show_help(rest[1:])
    if rest[0] in SEALED:
        from carboy.runtime import sealed

        sealed.ensure()
    return _run(rest[0], rest[1:], flags)


def _run(name: str, arguments: list[str], options: Flags) -> int:
    from carboy.runtime.command import call as calls

    call = calls.Call(options)
    try:
        if name in ("checkpoint", "restore"):
            from carboy.errors import Unsupported

            raise Unsupported(f"{name}: this runtime makes no checkpoints")
        if name not in COMMANDS:
            raise InvalidArgument(f"there is no command {name!r}: see carboy-runtime --help")
        module, _, table = COMMANDS[name]
        call.flags, call.arguments = parse(arguments, {**table, "help": ("h", "bool", "")})
        if call.flags.flag("help"):
            return _show_help([name])
        return _dispatch(module, name, call)
    except (CarboyError, OSError) as error:
        call.fail(name, error)
        return 1


def _dispatch(module: str, name: str, call: Call) -> int:
    if module == "life":
        from carboy.runtime.command import life

        return life.COMMANDS[name](call)
    if module == "inside":
        from carboy.runtime.command import inside

        return inside.COMMANDS[name](call)
    if module == "limits":
        from carboy.runtime.command import limits

        return limits.COMMANDS[name](call)
    from carboy.runtime.command import about

    return about.COMMANDS[name](call)


def _show_version() -> int:
    import carboy
    from carboy.runtime.state import VERSION

    sys.stdout.write(f"carboy-runtime version {carboy.__version__}\nspec: {VERSION}\n")
    return 0


def _show_help(names: list[str]) -> int:
    lines = []
    if names and names[0] in COMMANDS:
        _, text, table = COMMANDS[names[0]]
        lines += [f"carboy-runtime {names[0]} [FLAGS] [ID] [ARGUMENTS]: {text}", ""]
    else:
        table = GLOBAL
        lines += ["carboy-runtime [FLAGS] COMMAND: containers by the OCI runtime specification", ""]
        lines += [f"  {name:10} {text}" for name, (_, text, _) in COMMANDS.items()] + [""]
    for name, (short, kind, text) in table.items():
        flag = f"-{short}, --{name}" if short else f"    --{name}"
        lines.append(f"  {flag + ('' if kind == 'bool' else ' ' + kind.upper()):34} {text}".rstrip())
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def default_root() -> str:
    """Where states are kept unless --root says otherwise."""
    if os.geteuid() == 0:
        return "/run/carboy-runtime"
    return (os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/carboy-{os.geteuid()}") + "/carboy-runtime"
