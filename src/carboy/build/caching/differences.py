"""Two sets of ingredients compared: what people are told of it.

src/a.py changed · notebooks/x.ipynb mode 0644→0755 · variable VERSION: 1 → 2 · and 12 more
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from carboy.build.operation import Ingredients

_MOST = 5
_LONGEST = 80
_CONTEXT = 24
_FILE = re.compile(r"(?:file(?: \([^)]*\))? |(?=heredoc ))(.*)", re.DOTALL)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}(?:\+sha256:[0-9a-f]{64})*")
_MODE = re.compile(r"[0-7]{3,6}\Z")
_OWNER = re.compile(r"\d+:\d+\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SECRET = re.compile(
    r"(?i)pass(?:word|wd|phrase)?|secret|token|credential|private|api_?key|auth|\bkey\b|_key\b"
)
_NEVER_SEEN = "(none)"
_ORDER = ("command", "script", "base", "address", "commit", "content")
"""What is told first; then variables, then files, then the rest."""


def tell_differences(before: Ingredients, now: Ingredients, *, base: str = "base changed") -> tuple[str, ...]:
    """Why `now` has another key than `before`, at most a handful of sentences.

    base: what is to be said when the base is another one.
    """
    if before.operation != now.operation:
        return (f"another instruction stood here ({short(before.operation)})",)
    names = [
        name for name in {**before.values, **now.values} if before.values.get(name) != now.values.get(name)
    ]
    if not names:
        return ("its results are made in another way by this version of Carboy",)
    names.sort(key=_rank)
    told: list[str] = []
    for name in names[:_MOST]:
        told += [base] if name == "base" else _tell(name, before.values.get(name), now.values.get(name))
    rest = len(names) - _MOST
    if rest > 0:
        told.append(f"and {rest} more")
    return tuple(told)


def short(text: str) -> str:
    """For one line of a terminal, whoever wrote it."""
    text = _visible(_DIGEST.sub(lambda found: found[0][:19], text))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _rank(name: str) -> tuple[int, str]:
    if name in _ORDER:
        return _ORDER.index(name), ""
    if name.startswith("variable "):
        return len(_ORDER), name
    return len(_ORDER) + (1 if _FILE.match(name) else 2), name


def _tell(name: str, old: str | None, new: str | None) -> Iterator[str]:
    file = _FILE.match(name)
    if file:
        yield f"{short(file[1])} {_about_file(old, new)}"
    elif name.startswith("variable "):
        yield _about_variable(name, old, new)
    elif old is None or new is None:
        yield f"{short(name)}: {_value(old)} → {_value(new)}"
    elif name == "command":
        yield "command changed: {} → {}".format(*_pair(old, new))
    elif _DIGEST.sub("", old) == _DIGEST.sub("", new):
        yield f"{short(name)} has other content"
    else:
        yield "{}: {} → {}".format(short(name), *_pair(old, new))


def _about_file(old: str | None, new: str | None) -> str:
    if old is None:
        return "added"
    if new is None:
        return "removed"
    olds, news = old.split(" "), new.split(" ")
    if len(olds) != len(news):
        return "changed"
    said = []
    for before, now in zip(olds, news, strict=True):
        if before == now:
            continue
        if _MODE.match(before) and _MODE.match(now):
            said.append(f"mode {before}→{now}")
        elif _OWNER.match(before) and _OWNER.match(now):
            said.append(f"owner {before}→{now}")
        else:
            return "changed"
    return ", ".join(said)


def _about_variable(name: str, old: str | None, new: str | None) -> str:
    if _SECRET.search(name):
        return f"{short(name)} changed"
    if old is None or new is None:
        return f"{short(name)}: {_value(old)} → {_value(new)}"
    return "{}: {} → {}".format(short(name), *_pair(old, new))


def _value(text: str | None) -> str:
    return _NEVER_SEEN if text is None else short(text) or '""'


def _pair(old: str, new: str) -> tuple[str, str]:
    """Both, from a little before where they part when they are long."""
    old, new = _visible(old), _visible(new)
    if max(len(old), len(new)) > _LONGEST:
        same = next(
            (number for number, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]),
            min(len(old), len(new)),
        )
        if same > _CONTEXT:
            cut = same - _CONTEXT
            old, new = "…" + old[cut:], "…" + new[cut:]
    return short(old) or '""', short(new) or '""'


def _visible(text: str) -> str:
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
