"""Help pages, drawn from the same tables that the parser reads."""

from __future__ import annotations

from carboy.cli import main
from carboy.cli.commands import ALIASES, COMMANDS, GROUP_WORDS, GROUPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Row

_PLACE = {"string": " string", "int": " int", "list": " list", "bool": ""}
_WIDTH = 100


def page(words: list[str]) -> str:
    """The help of a command, of a group, or of everything."""
    if not words:
        return overview("")
    if words[0] in GROUP_WORDS and (len(words) == 1 or words[1].startswith("-")):
        return overview(words[0])
    name, _rest = main.find(words)
    return command(name)


def overview(group: str) -> str:
    """All commands, or those of one Docker group."""
    prefix = f" {group}" if group else ""
    lines = [f"Usage: carboy [-H HOST]{prefix} COMMAND", ""]
    if group:
        names = {
            key: COMMANDS[ALIASES.get(key, key)][2]
            for key in (*COMMANDS, *ALIASES)
            if key.startswith(group + " ")
        }
        width = max(map(len, names))
        lines += [f"  {name:{width}}  {summary}" for name, summary in names.items()]
    else:
        lines = ["Carboy runs containers, and remembers what was in them.", "", *lines[:1]]
        for title in GROUPS:
            lines += ["", title + ":"]
            lines += [f"  {name:16} {row[2]}" for name, row in COMMANDS.items() if row[1] == title]
        lines += ["", "Global options:", *_options(main.GLOBAL_FLAGS)]
        lines += ["", "Try: carboy run --rm IMAGE echo hello", "The daemon starts by itself.  CARBOY_HOST or"]
        lines[-1] += " DOCKER_HOST name another one."
    lines += ["", "`carboy COMMAND --help` tells more about a command."]
    return "\n".join(lines) + "\n"


def command(name: str) -> str:
    """One command: usage, what it does, options, examples."""
    module = main.load(name)
    lines = [f"Usage: carboy {name} {module.USAGE}".rstrip(), "", COMMANDS[name][2] + "."]
    details = (module.__doc__ or "").partition("\n\n")[2].strip()
    if details:
        lines += ["", details]
    aliases = [alias for alias, target in ALIASES.items() if target == name]
    if aliases:
        lines += ["", "Also: " + ", ".join("carboy " + alias for alias in aliases)]
    options = _options(main.flags_of(name, module))
    if options:
        lines += ["", "Options:", *options]
    lines += ["", "Examples:", *("  " + line for line in module.EXAMPLES.strip().splitlines())]
    return "\n".join(lines) + "\n"


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
