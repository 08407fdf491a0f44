"""Which words fit where the cursor is: commands, flags, values of flags, names of objects.

Everything comes from the tables that the parser reads; names come from the daemon, which is never
started for it, and are given up after a moment: a prompt must not hang.
"""

from __future__ import annotations

from carboy.cli import main
from carboy.cli.commands import ALIASES, COMMANDS, GROUP_WORDS
from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Row, Table
    from carboy.cli.session import Session
    from carboy.client.document import Json

PATIENCE = 0.3
"""Seconds that the daemon has to answer."""
_RUNNING = ("attach", "exec", "kill", "pause", "stats", "stop", "top", "port")
_STOPPED = ("start",)
ARGUMENTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("run", "create", "images", "rmi", "history", "save", "tag", "image inspect"), ("images",)
    ),
    **dict.fromkeys(
        (*_RUNNING, *_STOPPED, "wait", "rm", "logs", "rename", "restart", "unpause"), ("containers",)
    ),
    **dict.fromkeys(("commit", "diff", "export", "update", "cp", "container inspect"), ("containers",)),
    **dict.fromkeys(("volume rm", "volume inspect", "volume update"), ("volumes",)),
    **dict.fromkeys(
        ("network rm", "network inspect", "network connect", "network disconnect"), ("networks",)
    ),
    **dict.fromkeys(("context use", "context rm", "context inspect", "context update"), ("contexts",)),
    **dict.fromkeys(("context export",), ("contexts",)),
    "inspect": ("containers", "images", "volumes", "networks"),
    "completion": ("shells",),
}
"""What the arguments of a command name."""
_ONCE = {
    *(
        "run",
        "create",
        "exec",
        "attach",
        "logs",
        "rename",
        "history",
        "commit",
        "diff",
        "export",
        "top",
        "port",
    ),
    *("images", "completion", "context use", "context update", "context export"),
}
"""Commands whose first argument alone is a name."""

VALUES: dict[str, tuple[str, ...]] = {
    "restart": ("no", "always", "unless-stopped", "on-failure"),
    "pull": ("always", "missing", "never"),
    "network": ("networks",),
    "net": ("networks",),
    "type": ("container", "image", "volume", "network"),
    "format": ("json", "table"),
    "log-driver": ("json-file", "local", "none", "syslog", "journald"),
    "log-level": main.LEVELS,
    "context": ("contexts",),
    "volumes-from": ("containers",),
    "signal": ("HUP", "INT", "KILL", "QUIT", "TERM", "USR1", "USR2"),
    "ipc": ("host", "none", "private", "shareable"),
    "pid": ("host",),
    "uts": ("host",),
    "cgroupns": ("host", "private"),
    "userns": ("host",),
    "from": ("contexts",),
    "progress": ("auto", "plain", "tty", "rawjson", "quiet"),
    "call": ("build", "check"),
    "allow": ("network.host", "security.insecure"),
    "output": ("type=local,dest=", "type=tar,dest=", "type=oci,dest=", "type=docker,dest="),
}
_FILTERS: dict[str, tuple[str, ...]] = {
    "ps": (
        *("ancestor", "before", "exited", "health", "id", "is-task", "label", "name", "network", "publish"),
        *("since", "status", "volume"),
    ),
    "images": ("before", "dangling", "label", "reference", "since", "until"),
    "volume ls": ("dangling", "driver", "label", "name"),
    "network ls": ("dangling", "driver", "id", "label", "name", "scope", "type"),
    "events": ("container", "daemon", "event", "image", "label", "network", "scope", "type", "volume"),
}
_FILTER_VALUES = {
    "status": ("created", "running", "paused", "restarting", "removing", "exited", "dead"),
    "health": ("starting", "healthy", "unhealthy", "none"),
    "dangling": ("true", "false"),
    "type": ("container", "image", "volume", "network", "daemon"),
}


def words(session: Session, typed: list[str]) -> list[str]:
    """The words that may stand for the last of `typed`; none: a file's name may."""
    word, before = (typed[-1], typed[:-1]) if typed else ("", [])
    globally, rest = _split(list(main.GLOBAL_FLAGS), before, word)
    if globally is not None:
        return _answer(session, "", globally, word)
    if not rest:
        if word[:1] == "-":
            return _flags(tuple(main.GLOBAL_FLAGS), word)
        single = [name for name in COMMANDS if " " not in name]
        return _fitting([*single, *GROUP_WORDS, "help"], word)
    if rest[0] in GROUP_WORDS and len(rest) == 1:
        known = [*COMMANDS, *(name for name, target in ALIASES.items() if target in COMMANDS)]
        return _fitting([name.split(" ")[1] for name in known if name.startswith(rest[0] + " ")], word)
    try:
        name, arguments = main.find(rest)
    except Exception:
        return []  # not a command: nothing fits
    return _in_command(session, name, arguments, word) if name else []


def _in_command(session: Session, name: str, before: list[str], word: str) -> list[str]:
    module = main.load(name)
    table = main.flags_of(name, module)
    interspersed = getattr(module, "INTERSPERSED", True)
    waiting, arguments = _split(list(table), before, word, interspersed=interspersed)
    if waiting is not None:
        return _answer(session, name, waiting, word)
    if arguments and not interspersed:
        return []  # the container's own command line
    if word[:1] == "-":
        return _flags(table, word)
    if arguments and name in _ONCE:
        return []
    kinds = ARGUMENTS.get(name, ())
    found = [one for kind in kinds for one in _names(session, kind, name)]
    if name == "cp":
        found = [one + ":" for one in found]
    return _fitting([one for one in found if one not in arguments], word)


def _split(
    table: list[Row], before: list[str], word: str, *, interspersed: bool = False
) -> tuple[Row | None, list[str]]:
    """(the flag that the last word is the value of, the arguments so far)."""
    names = {"--" + row[0]: row for row in table}
    shorts = {row[1]: row for row in table if row[1]}
    arguments: list[str] = []
    waiting: Row | None = None
    for position, item in enumerate(before):
        if waiting is not None:
            waiting = None
        elif item == "--":
            return None, [*arguments, *before[position + 1 :]]
        elif item[:2] == "--":
            waiting = names.get(item) if "=" not in item else None
        elif item[:1] == "-" and len(item) > 1:
            waiting = shorts.get(item[-1]) if "=" not in item else None
        else:
            arguments.append(item)
            if not interspersed:
                return None, before[position:]
        if waiting is not None and waiting[2] in ("bool", "no:bool"):
            waiting = None
    if waiting is None and word[:2] == "--" and "=" in word:
        waiting = names.get(word.partition("=")[0])
    return waiting, arguments


def _flags(table: Table, word: str) -> list[str]:
    known = ["--" + row[0] for row in table if row[2][:2] != "no"]
    return _fitting([*known, "--help"], word)


def _answer(session: Session, command: str, row: Row, word: str) -> list[str]:
    """Values of a flag; after `--flag=` they carry the flag along."""
    flag, equals, value = word.partition("=") if word[:2] == "--" else ("", "", word)
    if row[0] == "filter":
        found = _filter_values(command, value)
    else:
        known = VALUES.get(row[0], ())
        found = [one for kind in known for one in (_names(session, kind, "") if kind in _KINDS else [kind])]
    return [flag + equals + one for one in _fitting(found, value)]


def _filter_values(command: str, value: str) -> list[str]:
    key, equals, _rest = value.partition("=")
    if equals:
        return [f"{key}={one}" for one in _FILTER_VALUES.get(key, ())]
    return [one + "=" for one in _FILTERS.get(command, ())]


_KINDS = ("containers", "images", "volumes", "networks", "contexts", "shells")


def _names(session: Session, kind: str, command: str) -> list[str]:
    """The names of objects; none when the daemon does not answer."""
    if kind == "shells":
        return ["bash", "zsh", "fish"]
    if kind == "contexts":
        from carboy.client import contexts

        return ["default", *(one.name for one in contexts.every(session.settings.directory))]
    try:
        return _plain(_ask(session, kind, command))
    except Exception:
        return []  # absent, slow or hostile: no names, and no noise at the prompt


def _ask(session: Session, kind: str, command: str) -> list[str]:
    from carboy.client.transport import Client

    # never the session's own client: that one starts a daemon
    client = Client(session.address, patience=PATIENCE)
    try:
        if kind == "containers":
            query = (("all", "1"),) if command not in _RUNNING else ()
            found = document.objects(client.get("/containers/json", query))
            if command in _STOPPED:
                found = [item for item in found if document.text(item, "State") != "running"]
            return [name.removeprefix("/") for item in found for name in document.strings(item, "Names")]
        if kind == "images":
            listed = document.objects(client.get("/images/json"))
            return [
                tag for item in listed for tag in document.strings(item, "RepoTags") if "<none>" not in tag
            ]
        if kind == "volumes":
            return _named(document.children(client.get_object("/volumes"), "Volumes"))
        return _named(document.objects(client.get("/networks")))
    finally:
        client.close()


def _named(items: list[Json]) -> list[str]:
    return [document.text(item, "Name") for item in items]


def _plain(names: list[str]) -> list[str]:
    """Names that are no more than that in a shell: a daemon may be anybody's."""
    return [name for name in names if name and all(one.isalnum() or one in "._-/:@+" for one in name)]


def _fitting(known: list[str], word: str) -> list[str]:
    """Those that begin with what is typed; control characters never reach the shell."""
    return sorted({one for one in known if one.startswith(word) and one.isprintable()})
