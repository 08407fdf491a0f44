"""What builds leave behind that differs from one to the next and that no program needs.

`RUN` with `--reproducible` leaves these out of its layer: only what this very step wrote; where the image
had the file before, that one stays.  A path is a residue with everything below it.
"""

from __future__ import annotations

import re
from functools import lru_cache

RESIDUES: tuple[tuple[str, str], ...] = (
    # Debian and Ubuntu
    ("var/lib/apt/lists/*", "apt: package lists, fetched anew by apt-get update"),
    ("var/cache/apt/*.bin", "apt: its binary caches"),
    ("var/cache/apt/archives/*", "apt: downloaded packages and locks"),
    ("var/lib/apt/extended_states.bak", "apt: a backup"),
    ("var/lib/dpkg/*-old", "dpkg: backups of its database"),
    ("var/lib/dpkg/lock*", "dpkg: locks"),
    ("var/lib/dpkg/triggers/Lock", "dpkg: a lock"),
    ("var/cache/debconf/*-old", "debconf: backups"),
    ("var/lib/ucf/*.[0-9]*", "ucf: backups"),
    ("etc/passwd-", "accounts: a backup"),
    ("etc/group-", "accounts: a backup"),
    ("etc/shadow-", "accounts: a backup"),
    ("etc/gshadow-", "accounts: a backup"),
    ("etc/subuid-", "accounts: a backup"),
    ("etc/subgid-", "accounts: a backup"),
    ("etc/.pwd.lock", "accounts: a lock"),
    # other distributions
    ("var/cache/apk/*", "apk: downloaded packages"),
    ("lib/apk/db/lock", "apk: a lock"),
    ("var/cache/dnf/*", "dnf: caches"),
    ("var/cache/libdnf5/*", "dnf: caches"),
    ("var/cache/yum/*", "yum: caches"),
    ("var/lib/dnf/history.sqlite*", "dnf: history with times"),
    ("var/lib/rpm/.rpm.lock", "rpm: a lock"),
    ("var/cache/zypp/*", "zypper: caches"),
    ("var/cache/pacman/pkg/*", "pacman: downloaded packages"),
    # the system
    ("var/log/**", "logs: times and whatever else"),
    ("var/cache/ldconfig/aux-cache", "ldconfig: inode numbers and times"),
    ("var/cache/man/**", "man-db: an index with times"),
    ("var/cache/fontconfig/**", "fontconfig: caches with times"),
    ("var/lib/systemd/random-seed", "a seed"),
    ("etc/machine-id", "an identity, made at the first boot"),
    ("var/lib/dbus/machine-id", "an identity, made at the first boot"),
    ("etc/ssh/ssh_host_*_key", "host keys: nobody shares them"),
    ("etc/ssh/ssh_host_*_key.pub", "host keys: nobody shares them"),
    ("tmp/*", "temporary files"),
    ("var/tmp/*", "temporary files"),
    # tools of users: root's and others' homes
    ("~/.cache", "caches of pip, fontconfig and others"),
    ("~/.npm/_cacache", "npm: downloads"),
    ("~/.npm/_logs", "npm: logs"),
    ("~/.npm/_update-notifier-last-checked", "npm: a time"),
    ("~/.yarn/berry/cache", "yarn: downloads"),
    ("~/.wget-hsts", "wget: times of visits"),
    ("~/.python_history", "a history"),
    ("~/.bash_history", "a history"),
    ("~/.lesshst", "a history"),
    ("~/.conda/environments.txt", "conda: a list in the order of work"),
    ("~/.conda/aau_token*", "conda: an identity"),
    ("~/.local/share/jupyter/runtime", "jupyter: what ran"),
    ("~/.gnupg/random_seed", "a seed"),
    # conda, wherever it is
    ("**/conda-meta/history", "conda: commands with times"),
    ("**/*conda*/pkgs/cache", "conda: lists of packages"),
    ("**/*conda*/pkgs/urls", "conda: downloads in the order of work"),
    ("**/*conda*/pkgs/urls.txt", "conda: downloads in the order of work"),
    # R
    ("**/.Rhistory", "a history"),
)
"""(pattern, why): `*` and `?` stop at slashes, `**` does not, `~` is /root, or a directory in /home."""


@lru_cache(maxsize=1)
def _compiled() -> tuple[re.Pattern[bytes], tuple[str, ...]]:
    parts, reasons = [], []
    for number, (pattern, why) in enumerate(RESIDUES):
        parts.append(b"(?P<r%d>%s)" % (number, _expression(pattern)))
        reasons.append(why)
    return re.compile(b"(?:" + b"|".join(parts) + b")", re.DOTALL), tuple(reasons)


def _expression(pattern: str) -> bytes:
    text = pattern
    out = ""
    if text.startswith("~/"):
        out, text = "(?:root|home/[^/]+)/", text[2:]
    elif text.startswith("**/"):
        out, text = "(?:.*/)?", text[3:]
    position = 0
    while position < len(text):
        letter = text[position]
        if text.startswith("**", position):
            out += ".+"
            position += 1
        elif letter == "*":
            out += "[^/]*"
        elif letter == "?":
            out += "[^/]"
        elif letter == "[":
            end = text.index("]", position)
            out += text[position : end + 1]
            position = end
        else:
            out += re.escape(letter)
        position += 1
    return out.encode()


def residue_of(path: bytes) -> str | None:
    """Why a path (relative to the root) is a residue; None when it is none."""
    expression, reasons = _compiled()
    found = expression.fullmatch(path)
    if found is None or found.lastgroup is None:
        return None
    return reasons[int(found.lastgroup[1:])]


VARIABLES = (
    "PYTHONHASHSEED=0",
    "LC_ALL=C.UTF-8",
    "TZ=UTC",
)
"""What `--reproducible` gives to programs, with SOURCE_DATE_EPOCH."""
