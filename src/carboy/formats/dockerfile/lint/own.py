"""What our own rules look for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from carboy.formats.dockerfile.instructions import Add, AnyInstruction, Arg, Copy, Env, Label, Run, script_of
from carboy.formats.dockerfile.lint import ownrules as rules
from carboy.formats.dockerfile.lint import shell
from carboy.formats.dockerfile.lint.docker import is_remote
from carboy.formats.dockerfile.lint.findings import Collector
from carboy.formats.dockerfile.lint.stages import Step, View

_APT = ("apt-get", "apt", "aptitude")
_APT_ASKS = (
    "install",
    "upgrade",
    "dist-upgrade",
    "full-upgrade",
    "remove",
    "purge",
    "autoremove",
    "build-dep",
)
_APT_LISTS = "/var/lib/apt"
_PIP = re.compile(r"pip[0-9.]*")
_PYTHON = re.compile(r"python[0-9.]*")
_PIP_CACHE = "/.cache"
_ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".tzst", ".lzma", ".Z")
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh"))
_CHANGES = frozenset(("chown", "chmod", "chgrp"))
_MAKES_NOTHING = _CHANGES | {
    "true", ":", "echo", "set", "cd", "useradd", "adduser", "groupadd", "addgroup", "usermod", "find", "ls",
    "id",
}  # fmt: skip
_WHOLE = frozenset((".", "./", "*", "./*", "/"))
_INSTALLERS: dict[str, frozenset[str]] = {
    "apt-get": frozenset(("install",)),
    "apt": frozenset(("install",)),
    "apk": frozenset(("add",)),
    "dnf": frozenset(("install",)),
    "yum": frozenset(("install",)),
    "microdnf": frozenset(("install",)),
    "npm": frozenset(("install", "ci", "i")),
    "yarn": frozenset(("install",)),
    "pnpm": frozenset(("install", "i")),
    "poetry": frozenset(("install",)),
    "pipenv": frozenset(("install", "sync")),
    "uv": frozenset(("sync",)),
    "conda": frozenset(("install", "create", "env")),
    "mamba": frozenset(("install", "create", "env")),
    "micromamba": frozenset(("install", "create", "env")),
    "go": frozenset(("mod",)),
    "bundle": frozenset(("install",)),
    "composer": frozenset(("install",)),
    "cargo": frozenset(("fetch",)),
}

_SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("what looks like a private key", re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY")),
    ("a password in an address", re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s/:@$]{1,200}:[^\s/@$]{3,200}@")),
    ("what looks like an access key of AWS", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("what looks like a token of GitHub", re.compile(r"\b(?:gh[pousr]_[0-9A-Za-z]{30,}|github_pat_\w{30,})")),
    ("what looks like a token of GitLab", re.compile(r"\bglpat-[\w-]{20,}")),
    ("what looks like a token of Slack", re.compile(r"\bxox[abprs]-[\w-]{10,}")),
    ("what looks like a token of PyPI", re.compile(r"\bpypi-[\w-]{40,}")),
    ("what looks like a token of Hugging Face", re.compile(r"\bhf_[0-9A-Za-z]{30,}")),
    ("what looks like a signed token", re.compile(r"\beyJ[\w-]{10,1000}\.eyJ[\w-]{10,1000}\.[\w-]{10}")),
)
_MAX_VALUE = 65_536


def check_base(view: View, found: Collector) -> None:
    """The image that a stage begins from."""
    base = view.stage.base
    if base.kind != "image" or "@" in base.name:
        return
    name = base.name.rpartition("/")[2]
    node = view.stage.start.node
    tag = name.partition(":")[2]
    if not tag:
        found.add(rules.LATEST_TAG, node, base.name, "has no tag, which means `latest`")
    elif tag == "latest":
        found.add(rules.LATEST_TAG, node, base.name, "is the newest one")
    else:
        found.add(rules.UNPINNED_BASE, node, base.name, base.name)


class StageCheck:
    """What concerns one stage, step by step."""

    def __init__(self, found: Collector) -> None:
        self._found = found
        self._copied: AnyInstruction | None = None
        """What copies the whole context, before anything is installed."""

    def step(self, step: Step) -> None:
        """Look at the next one."""
        instruction, found = step.meant, self._found
        match instruction:
            case Run():
                commands = run_commands(instruction)
                _check_commands(instruction, commands, step, found)
                self._copied = _check_order(self._copied, commands, step, found)
            case Copy() | Add():
                elsewhere = isinstance(instruction, Copy) and instruction.origin
                if self._copied is None and not elsewhere and set(instruction.sources) & _WHOLE:
                    self._copied = instruction
                if isinstance(instruction, Add):
                    _check_add(instruction, step, found)
            case Env() | Label() | Arg():
                _check_values(step, found)
            case _:
                pass


def run_commands(instruction: Run) -> list[list[str]]:
    """The commands of a RUN in either form; of scripts in other languages none."""
    command = instruction.command
    if not command.shell:
        words = list(command.arguments)
        if len(words) >= 3 and words[0].rpartition("/")[2] in _SHELLS and words[1].startswith("-"):
            return shell.commands(words[2])
        return [words] if words else []
    script = script_of(command)
    return shell.commands(script.text) if script.file is None else []


def _check_commands(instruction: Run, commands: list[list[str]], step: Step, found: Collector) -> None:
    node = step.written.node
    for words in commands:
        if words[0] == "sudo":
            found.add(rules.SUDO_IN_RUN, node, shell.shown(words))
            break
    plain = [_without_sudo(words) for words in commands]
    plain = [words for words in plain if words]
    _check_changes(plain, step, found)
    _check_apt(instruction, plain, step, found)
    _check_pip(instruction, plain, step, found)


def _without_sudo(words: list[str]) -> list[str]:
    at = 0
    while at < len(words) and (words[at] == "sudo" or (at and words[at].startswith("-"))):
        at += 1
    return words[at:] if words[0] == "sudo" else words


def _check_changes(commands: list[list[str]], step: Step, found: Collector) -> None:
    if not all(words[0] in _MAKES_NOTHING for words in commands):
        return
    for words in commands:
        if words[0] in _CHANGES and any(
            word == "--recursive" or (word.startswith("-") and not word.startswith("--") and "R" in word)
            for word in words[1:]
        ):
            flag = "--chmod" if words[0] == "chmod" else "--chown"
            mend = f"use COPY {flag}, or do it in the RUN that makes the files"
            found.add(rules.CHANGE_DOUBLES_LAYER, step.written.node, shell.shown(words), mend)
            return


def _apt_verb(words: list[str]) -> str:
    """What apt is to do; empty when it is not apt."""
    if words[0].rpartition("/")[2] not in _APT:
        return ""
    takes_value = False
    for word in words[1:]:
        if takes_value or word.startswith("-"):
            takes_value = not takes_value and word in ("-o", "-c", "-t", "--option", "--target-release")
            continue
        return word
    return ""


def _check_apt(instruction: Run, commands: list[list[str]], step: Step, found: Collector) -> None:
    verbs = [(_apt_verb(words), words) for words in commands]
    program = next((words[0] for verb, words in verbs if verb), "")
    if not program:
        return
    node = step.written.node
    asked = {verb for verb, _ in verbs}
    mounted = _mounts_cache(instruction, _APT_LISTS)
    if "update" in asked and not mounted:
        if not any(words[0] == "rm" and any(_APT_LISTS in word for word in words) for words in commands):
            found.add(rules.APT_LISTS_LEFT_BEHIND, node, program)
        if not asked & set(_APT_ASKS):
            found.add(
                rules.APT_UPDATE_APART, node, program, "update", "install", "the cached lists become old"
            )
    if "install" in asked and "update" not in asked and not mounted:
        found.add(
            rules.APT_UPDATE_APART, node, program, "install", "update", "what the lists name may be gone"
        )
    for verb, words in verbs:
        if verb in _APT_ASKS and not _says_yes(words) and not _answered(commands):
            found.add(rules.APT_WITHOUT_YES, node, shell.shown(words))
            break


def _says_yes(words: list[str]) -> bool:
    for word in words[1:]:
        if word in (
            "--yes",
            "--assume-yes",
            "--force-yes",
            "--quiet=2",
            "--simulate",
            "--dry-run",
            "--download-only",
        ):
            return True
        if (
            word.startswith("-")
            and not word.startswith("--")
            and ("y" in word or "qq" in word or "q=2" in word)
        ):
            return True
        if word.lower().startswith("apt::get::assume-yes") or "Assume-Yes" in word:
            return True
    return False


def _answered(commands: list[list[str]]) -> bool:
    return any(words[0] == "yes" for words in commands)


def _mounts_cache(instruction: Run, place: str) -> bool:
    return any(
        flag.value("type") in ("cache", "tmpfs")
        and any(
            place in flag.value(key) or flag.value(key) in ("/var/lib", "/root")
            for key in ("target", "dst", "destination")
        )
        for flag in instruction.mounts
    )


def _pip_arguments(words: list[str]) -> list[str] | None:
    """The arguments of `pip install`; None when it is something else."""
    name = words[0].rpartition("/")[2]
    rest = words[1:]
    if _PYTHON.fullmatch(name) and rest[:2] == ["-m", "pip"]:
        name, rest = "pip", rest[2:]
    if not _PIP.fullmatch(name):
        return None
    return rest if next((word for word in rest if not word.startswith("-")), "") == "install" else None


def _check_pip(instruction: Run, commands: list[list[str]], step: Step, found: Collector) -> None:
    if step.variables.get("PIP_NO_CACHE_DIR", "0").lower() not in ("", "0", "false", "off", "no"):
        return
    if (
        any(words[0] == "rm" and any(_PIP_CACHE in word for word in words) for words in commands)
        or any(words[-2:] == ["cache", "purge"] for words in commands)
        or _mounts_cache(instruction, _PIP_CACHE)
    ):
        return
    for words in commands:
        if _pip_arguments(words) is not None and not any("--no-cache-dir" in word for word in words):
            found.add(rules.PIP_CACHE_LEFT_BEHIND, step.written.node, shell.shown(words))
            return


def _check_order(
    copied: AnyInstruction | None, commands: list[list[str]], step: Step, found: Collector
) -> AnyInstruction | None:
    """Say once that what is installed comes too late."""
    if copied is None:
        return None
    for words in commands:
        if _installs(_without_sudo(words) or words):
            line = str(step.written.node.line)
            found.add(rules.COPY_BEFORE_INSTALL, copied.node, shell.shown(words), line)
            return None
    return copied


def _installs(words: list[str]) -> bool:
    arguments = _pip_arguments(words)
    if arguments is not None:
        # `pip install .` needs the whole source; a list of requirements, or names, do not.
        local = any(
            word in (".", "./", "-e", "--editable") or word.startswith((".[", "./")) for word in arguments
        )
        return not local or "-r" in arguments or "--requirement" in arguments
    name = words[0].rpartition("/")[2]
    verbs = _INSTALLERS.get(name)
    if verbs is None:
        return False
    first = next((word for word in words[1:] if not word.startswith("-")), "")
    if name == "go":
        return words[1:3] == ["mod", "download"]
    return first in verbs or (name == "yarn" and not first)


def _check_add(instruction: Add, step: Step, found: Collector) -> None:
    sources = instruction.sources
    if (
        not sources
        or instruction.checksum
        or instruction.unpack is not None
        or instruction.keep_git_dir is not None
    ):
        return
    if any(is_remote(source) or source.endswith(_ARCHIVES) or "$" in source for source in sources):
        return
    if any("*" in source or "?" in source or "[" in source for source in sources):
        return  # archives may be among them
    found.add(rules.ADD_INSTEAD_OF_COPY, step.written.node, sources[0])


def _check_values(step: Step, found: Collector) -> None:
    """Values as written: what variables make of them was seen where they got theirs."""
    match step.written:
        case Env(pairs=pairs) | Label(pairs=pairs):
            values = [(pair.key, pair.value) for pair in pairs]
        case Arg(arguments=arguments):
            values = [(argument.name, argument.default or "") for argument in arguments]
        case _:
            return
    for name, value in values:
        for what in _secrets_in(value[:_MAX_VALUE]):
            found.add(rules.SECRET_IN_VALUE, step.written.node, step.written.node.name, name, what)
            break


def _secrets_in(value: str) -> Iterator[str]:
    for what, pattern in _SECRETS:
        if pattern.search(value):
            yield what
