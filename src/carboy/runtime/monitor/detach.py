"""Detach keys: `ctrl-p,ctrl-q` and the like, found in what a client types."""

from __future__ import annotations

from carboy.errors import InvalidArgument
from carboy.formats import detachkeys
from carboy.formats.detachkeys import DEFAULT

__all__ = ["DEFAULT", "Scanner", "parse"]


def parse(unsafe_text: str) -> bytes:
    """The bytes of a key sequence; raises InvalidArgument."""
    try:
        return detachkeys.parse(unsafe_text)
    except ValueError as error:
        raise InvalidArgument(f"Invalid detach keys ({unsafe_text[:80]}) provided") from error


class Scanner:
    """Holds back the beginning of a sequence until it is clear whether it is one."""

    __slots__ = ("_keys", "_matched")

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what goes to the program, whether the sequence was complete)."""
        if not self._keys or (not self._matched and self._keys[0] not in data):
            return data, False
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(passed), True
                continue
            passed += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0]:
                self._matched = 1
            else:
                passed.append(byte)
        return bytes(passed), False
