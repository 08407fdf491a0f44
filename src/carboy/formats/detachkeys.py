"""Detach keys as clients write them: `ctrl-p,ctrl-q`."""

from __future__ import annotations

DEFAULT = "ctrl-p,ctrl-q"

_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse(unsafe_text: str) -> bytes:
    """The bytes of a key sequence; raises ValueError for a key that there is not."""
    keys = bytearray()
    for key in unsafe_text.split(","):
        control = key.removeprefix("ctrl-")
        if len(key) == 1 and key.isascii():
            keys.append(ord(key))
        elif key == "DEL":
            keys.append(127)
        elif control != key and len(control) == 1 and "a" <= control <= "z":
            keys.append(ord(control) - 96)
        elif control != key and control in _CONTROL:
            keys.append(_CONTROL[control])
        else:
            raise ValueError(f"Unknown character: '{key[:40]}'")
    return bytes(keys)
