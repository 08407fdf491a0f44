"""docs/settings.md, from the table: `python -m carboy.formats.settings.page > docs/settings.md`."""

from __future__ import annotations

import sys

from carboy.formats.settings.table import REFUSED, RESERVED, SETTINGS, Setting

_HEAD = """# The daemon's settings

Generated from `src/carboy/formats/settings/table.py` by `python -m carboy.formats.settings.page`;
do not edit.

Each may stand in the configuration file or on the command line of `carboy daemon`, not in both. The file
is `/etc/carboy/daemon.json` for root and `$XDG_CONFIG_HOME/carboy/daemon.json` (`~/.config`) for others;
another one is named by `--config-file`. A daemon with a run directory of its own (`CARBOY_RUN`,
`--exec-root`) reads a file only when it is named. `carboy daemon --validate` checks file and flags, and
starts nothing.

SIGHUP reads the file again, and the certificates: settings marked "yes" change at once, for containers made
from then on; an event `daemon reload` tells. A file that is wrong changes nothing, and the log says why.

"""


def page() -> str:
    """The whole page."""
    working = [one for one in SETTINGS if one.effect not in (RESERVED, REFUSED)]
    reserved = [one for one in SETTINGS if one.effect == RESERVED]
    refused = [one for one in SETTINGS if one.effect == REFUSED]
    return (
        _HEAD
        + _table(working)
        + "\n## Kept for later\n\nAccepted and checked; they do nothing yet.\n\n"
        + _table(reserved)
        + "\n## Docker's, that this engine does not have\n\n"
        + "The value that says so is accepted, every other one is an error.\n\n"
        + _table(refused)
    )


def _table(rows: list[Setting]) -> str:
    lines = ["| in the file | flag | kind | default | reload | |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{one.name}` | `{_flag(one)}` | {one.kind} | {_default(one)} | {'yes' if one.reload else 'no'} "
        f"| {one.sentence.replace('|', '&#124;')} |"
        for one in rows
    ]
    return "\n".join(lines) + "\n"


def _flag(one: Setting) -> str:
    return f"-{one.short}, --{one.flag}" if one.short else f"--{one.flag}"


def _default(one: Setting) -> str:
    if isinstance(one.default, bool):
        return "`true`" if one.default else "`false`"
    return f"`{one.default}`" if one.default not in ("", (), {}) else ""


if __name__ == "__main__":
    sys.stdout.write(page())
