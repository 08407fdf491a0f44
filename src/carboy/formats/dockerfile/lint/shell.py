r"""The commands of a RUN, as far as a check needs them: words, without running or expanding anything.

a=1 apt-get update && (cd /x; "rm" -rf y)   ──▶   [apt-get update] [cd /x] [rm -rf y]
"""

from __future__ import annotations

_LEADING = frozenset(
    ("!", "{", "}", "(", ")", "if", "then", "else", "elif", "do", "done", "fi", "while", "until", "time",
    "exec",
     "command", "builtin", "nohup", "nice", "env", "eatmydata")
)  # fmt: skip
"""What may stand before the command that is meant."""
_SEPARATORS = frozenset(";&|\n()")


def commands(text: str) -> list[list[str]]:
    """The simple commands of a script, in order, each its words without quotes."""
    found: list[list[str]] = []
    current: list[str] = []
    for word in _words(text):
        if word is None:
            _close(current, found)
            current = []
        else:
            current.append(word)
    _close(current, found)
    return found


def _close(words: list[str], found: list[list[str]]) -> None:
    start = 0
    while start < len(words) and (words[start] in _LEADING or _is_assignment(words[start])):
        start += 1
    if start < len(words):
        found.append(words[start:])


def _is_assignment(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.replace("_", "a").isalnum() and not name[:1].isdigit()


def _words(text: str) -> list[str | None]:
    """Words, and None where a command ends."""
    found: list[str | None] = []
    word: list[str] = []
    quoted = False
    at, count = 0, len(text)
    while at < count:
        one = text[at]
        at += 1
        if one == "\\":
            if not text.startswith("\n", at):
                word.append(text[at : at + 1])
            at += 1
        elif one in "'\"":
            end = _quote_end(text, at, one)
            word.append(text[at:end])
            at, quoted = end + 1, True
        elif one in " \t\r" or one in _SEPARATORS:
            if word or quoted:
                found.append("".join(word))
            word, quoted = [], False
            if one in _SEPARATORS:
                found.append(None)
        elif one == "#" and not word:
            end = text.find("\n", at)
            at = count if end < 0 else end
        else:
            word.append(one)
    if word or quoted:
        found.append("".join(word))
    return found


def _quote_end(text: str, at: int, quote: str) -> int:
    while at < len(text) and text[at] != quote:
        at += 2 if text[at] == "\\" and quote == '"' else 1
    return min(at, len(text))


def shown(words: list[str], most: int = 4) -> str:
    """A command in few words, for a message."""
    text = " ".join(words[:most])
    return text if len(text) <= 60 and len(words) <= most else text[:60].rstrip() + " …"
