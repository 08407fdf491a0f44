"""The user's terminal: raw mode that is always undone, its size, and detach keys."""

from __future__ import annotations

import os

from carboy.errors import InvalidArgument

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"


class RawTerminal:
    """Raw mode on a descriptor, restored by `restore` (which may be called twice)."""

    def __init__(self, descriptor: int) -> None:
        import termios

        self._descriptor = descriptor
        self._saved = termios.tcgetattr(descriptor)
        mode = termios.tcgetattr(descriptor)
        mode[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)

    def restore(self) -> None:
        """Put the terminal back as it was."""
        import termios

        try:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)
        except termios.error:
            pass  # it has hung up


def size(descriptor: int) -> tuple[int, int] | None:
    """(rows, columns) of a terminal, or None when it is none or has no size."""
    try:
        columns, rows = os.get_terminal_size(descriptor)
    except OSError:
        return None
    return (rows, columns) if rows and columns else None


def parse_detach_keys(unsafe_text: str) -> bytes:
    """`ctrl-p,ctrl-q` as the bytes that a terminal sends."""
    keys = bytearray()
    for name in unsafe_text.split(",") if unsafe_text else ():
        if len(name) == 1 and ord(name) < 128:
            keys.append(ord(name))
        elif (
            name[:5] == "ctrl-"
            and len(name) == 6
            and ((name[5].isascii() and name[5].islower()) or name[5] in "@[\\]^_")
        ):
            keys.append(ord(name[5].upper()) - 64)
        else:
            raise InvalidArgument(
                f"invalid detach key {name!r}: write a letter, or ctrl- and a letter, with commas between"
            )
    return bytes(keys)


class DetachScanner:
    """Finds the detach sequence in what is typed, also when it is split over reads."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def seen(self, typed: bytes) -> bool:
        """Whether the sequence is complete; what is typed is sent on: the server detaches too."""
        keys = self._keys
        if not keys:
            return False
        for byte in typed:
            if byte == keys[self._matched]:
                self._matched += 1
            else:
                self._matched = 1 if byte == keys[0] else 0
            if self._matched == len(keys):
                self._matched = 0
                return True
        return False
