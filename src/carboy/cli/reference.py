"""docs/cli.md: the reference of all commands, drawn from the tables that the parser reads.

python -m carboy.cli.reference > docs/cli.md
"""

from __future__ import annotations

import sys

from carboy.cli import main
from carboy.cli.commands import ALIASES, COMMANDS, GROUPS, LATER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Row, Table

INTRODUCTION = """# Command line

Written by `python -m carboy.cli.reference`: the tables that the program itself reads. Every command also
shows this with `--help`. Commands, flags, formats and exit codes are Docker's; what is not there yet says so.

Which daemon a command speaks to, the first that is given:

1. `--context NAME`, or `-H HOST`: `unix:///path`, `tcp://host:port`, `ssh://[user@]host[:port][/socket]`
2. `CARBOY_HOST`, `DOCKER_HOST`
3. `DOCKER_CONTEXT`
4. `currentContext` in `~/.docker/config.json` (`DOCKER_CONFIG` and `--config` name another directory): what
   `carboy context use` and `docker context use` chose: both programs share their contexts
5. `default`: Carboy's own daemon, which starts by itself

For tcp, `--tlsverify` or `DOCKER_TLS_VERIFY` demand mutual TLS with `ca.pem`, `cert.pem` and `key.pem` in
`DOCKER_CERT_PATH` or the settings' directory. ssh needs `carboy` (or `docker`) on the far side, and keys that
need no question. From `config.json` Carboy also takes `detachKeys`, `psFormat`, `imagesFormat`,
`volumesFormat`, `networksFormat`, `statsFormat`, `HttpHeaders` and `proxies` (variables of new containers);
`DOCKER_API_VERSION` fixes the version of the API. Colours appear on terminals only, without `NO_COLOR`.

Exit codes: 0; 1 when something failed; 125 when a command line is wrong, or `run` could not start anything;
126 and 127 when the program in the container cannot be run or does not exist; else the program's own.
"""


def reference() -> str:
    """The whole page."""
    lines = [INTRODUCTION, "## Global flags\n", *_table(main.GLOBAL_FLAGS)]
    for title in GROUPS:
        lines.append(f"\n## {title}")
        for name, (_module, group, summary) in COMMANDS.items():
            if group == title:
                lines += _command(name, summary)
    lines += ["\n## Not there yet\n", "| command | |", "|---|---|"]
    lines += [f"| `{name}` | {_cell(reason)} |" for name, reason in LATER.items()]
    return "\n".join(lines) + "\n"


def _command(name: str, summary: str) -> list[str]:
    module = main.load(name)
    lines = [f"\n### carboy {name}\n", summary + ".\n", f"    carboy {name} {module.USAGE}".rstrip()]
    details = (module.__doc__ or "").partition("\n\n")[2].strip()
    if details:
        lines += ["", details]
    aliases = sorted(alias for alias, target in ALIASES.items() if target == name)
    if aliases:
        lines += ["", "Also: " + ", ".join(f"`{alias}`" for alias in aliases)]
    table = _table(main.flags_of(name, module))
    return [*lines, "", *table] if table else lines


def _table(table: Table) -> list[str]:
    rows = sorted(row for row in table if row[2][:2] != "no")
    refused = sorted(row[0] for row in table if row[2][:2] == "no")
    lines = ["| flag | value | |", "|---|---|---|"] if rows else []
    lines += [f"| {_flag(row)} | {'' if row[2] == 'bool' else row[2]} | {_cell(row[3])} |" for row in rows]
    if refused:
        lines += ["", "Known and refused: " + ", ".join(f"`--{name}`" for name in refused)]
    return lines


def _flag(row: Row) -> str:
    return f"`-{row[1]}`, `--{row[0]}`" if row[1] else f"`--{row[0]}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
