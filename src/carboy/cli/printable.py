r"""Text of others (images, containers, daemons) on a terminal: it is shown, and commands nothing.

A terminal obeys escape sequences (titles, colours, a clipboard, answers that it types by itself), and
the command of an image, a name of a process or a file may hold them.
"""

from __future__ import annotations

_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def harmless(text: str) -> str:
    """The text with a mark for each character that is none to be seen, but for newlines and tabs."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in text)


def quoted(text: str) -> str:
    """The text in quotes, as Go's strconv.Quote has it."""
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(one: str) -> str:
    known = _ESCAPES.get(one)
    if known is not None or one.isprintable():
        return known or one
    code = ord(one)
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no text
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
