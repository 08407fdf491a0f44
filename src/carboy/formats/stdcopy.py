"""Docker's multiplexed streams: frames of `[stream, 0, 0, 0, length as 32 bits big-endian]` and payload."""

from __future__ import annotations

from carboy.errors import Corrupt

STDIN, STDOUT, STDERR, SYSTEM = 0, 1, 2, 3

HEADER_BYTES = 8


def header(stream: int, length: int) -> bytes:
    """What stands before `length` bytes of a stream."""
    return bytes((stream, 0, 0, 0)) + length.to_bytes(4, "big")


def frame(stream: int, payload: bytes) -> bytes:
    """One whole frame."""
    return header(stream, len(payload)) + payload


class Decoder:
    """Frames back to (stream, payload) pieces; a payload may come in several pieces."""

    __slots__ = ("_head", "_left", "_stream")

    def __init__(self) -> None:
        self._head = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The pieces in `data`; raises Corrupt for a stream that does not exist."""
        found = []
        view = memoryview(data)
        position = 0
        while position < len(data):
            if self._left:
                piece = view[position : position + self._left]
                found.append((self._stream, bytes(piece)))
                self._left -= len(piece)
                position += len(piece)
                continue
            need = HEADER_BYTES - len(self._head)
            self._head += bytes(view[position : position + need])
            position += need
            if len(self._head) == HEADER_BYTES:
                if self._head[0] > SYSTEM or self._head[1:4] != b"\0\0\0":
                    raise Corrupt(f"not a multiplexed stream: frame header {self._head.hex()}")
                self._stream, self._left = self._head[0], int.from_bytes(self._head[4:], "big")
                self._head = b""
        return found
