"""Help pages, drawn from the same tables that the parser reads."""

from __future__ import annotations

from carboy.cli import main
from carboy.cli.commands import ALIASES, COMMANDS, GROUP_WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Row

_PLACE = {"string": " string", "int": " int", "list": " list", "bool": ""}
_WIDTH = 100


COMMON = (
    "run",
    "exec",
    "ps",
    "build",
    "pull",
    "push",
    "images",
    "login",
    "logout",
    "search",
    "version",
    "info",
)
"""What the first section of the overview shows, in Docker's order, as far as it exists."""
GROUP_SUMMARIES = {
    "builder": "Building images",
    "buildx": "Building images: other names of build and builder",
    "container": "Containers",
    "context": "Contexts: names for daemons",
    "image": "Images",
    "network": "Networks",
    "system": "Carboy itself",
    "volume": "Volumes",
}


def page(words: list[str]) -> str:
    """The help of a command, of a group, or of everything."""
    if not words:
        return overview()
    if words[0] in GROUP_WORDS and (len(words) == 1 or words[1].startswith("-")):
        return group(words[0])
    name, _rest = main.find(words)
    return command(name)


def overview() -> str:
    """All commands and the global options."""
    single = {name: row[2] for name, row in COMMANDS.items() if " " not in name}
    common = {name: single.pop(name) for name in COMMON if name in single}
    lines = ["Usage:  carboy [OPTIONS] COMMAND", "", "Runs containers, and remembers what was in them"]
    for title, rows in (
        ("Common Commands", common),
        ("Management Commands", {name: GROUP_SUMMARIES[name] for name in sorted(GROUP_WORDS)}),
        ("Commands", dict(sorted(single.items()))),
    ):
        lines += ["", title + ":", *(f"  {name:11} {summary}" for name, summary in rows.items())]
    lines += ["", "Global Options:", *_options(main.GLOBAL_FLAGS)]
    lines += ["", "Try 'carboy run --rm IMAGE echo hello'. The daemon starts by itself; CARBOY_HOST or"]
    lines += ["DOCKER_HOST name another one.", "", _MORE.format("carboy")]
    return "\n".join(lines) + "\n"


def group(word: str) -> str:
    """The commands of one of Docker's groups."""
    names = {}
    for key in sorted((*COMMANDS, *ALIASES)):
        target = ALIASES.get(key, key)
        if key.startswith(word + " ") and target in COMMANDS and key not in _OTHER_NAMES:
            names[key.split()[1]] = COMMANDS[target][2]
    width = max(11, *map(len, names))
    lines = [f"Usage:  carboy {word} COMMAND", "", GROUP_SUMMARIES[word], "", "Commands:"]
    lines += [f"  {name:{width}} {summary}" for name, summary in names.items()]
    return "\n".join([*lines, "", _MORE.format(f"carboy {word}")]) + "\n"


_OTHER_NAMES = {"container ps", *(f"{word} {name}" for word in GROUP_WORDS for name in ("list", "remove"))}
_MORE = "Run '{} COMMAND --help' for more information on a command."


def command(name: str) -> str:
    """One command: usage, what it does, other names, options, examples."""
    module = main.load(name)
    lines = [f"Usage:  carboy {name} {module.USAGE}".rstrip(), "", COMMANDS[name][2]]
    details = (module.__doc__ or "").partition("\n\n")[2].strip()
    if details:
        lines += ["", details]
    aliases = sorted(alias for alias, target in ALIASES.items() if target == name)
    if aliases:
        lines += ["", "Aliases:", "  " + ", ".join("carboy " + alias for alias in (*aliases, name))]
    options = _options(main.flags_of(name, module))
    if options:
        lines += ["", "Options:", *options]
    examples = [line for line in module.EXAMPLES.strip().splitlines() if _is_about(line, name)]
    if examples:
        lines += ["", "Examples:", *("  " + line for line in examples)]
    return "\n".join(lines) + "\n"


def _is_about(line: str, name: str) -> bool:
    """Whether an example of a module that serves several commands is about this one."""
    words = line.split()
    if "carboy" not in words:
        return True
    after = words[words.index("carboy") + 1 :]
    names = [key for key in (" ".join(after[:2]), " ".join(after[:1])) if key in COMMANDS or key in ALIASES]
    return not names or ALIASES.get(names[0], names[0]) == name or COMMANDS[names[0]][0] != COMMANDS[name][0]


def _options(table: tuple[Row, ...]) -> list[str]:
    rows = [
        (f"  {'-' + short + ',' if short else '   '} --{name}{_PLACE[kind]}", text)
        for name, short, kind, text in sorted(row for row in table if row[2][:2] != "no")
    ]
    width = max([30, *(len(left) + 1 for left, _text in rows)])
    lines: list[str] = []
    for left, text in rows:
        lines += _wrapped(f"{left:{width}}", text)
    return lines


def _wrapped(left: str, text: str) -> list[str]:
    lines, line, margin = [], left, " " * len(left)
    for word in text.split():
        if len(line) + 1 + len(word) > _WIDTH:
            lines.append(line)
            line = margin
        line += " " + word
    return [*lines, line]
