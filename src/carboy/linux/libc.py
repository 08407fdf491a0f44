"""The C library, and the one place where a failed call becomes an `OSError`.

`ctypes` does not retry calls that a signal interrupted (EINTR) as Python's own wrappers
do: `call` and `syscall` do it here, once.
"""

from __future__ import annotations

import ctypes
import errno
import os

from carboy.linux.numbers import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

_syscall = LIBC.syscall
_long = ctypes.c_long


def failure(name: str, code: int, path: object = None) -> OSError:
    """The OSError for errno `code` of the call `name`."""
    text = f"{name}: {os.strerror(code)}"
    if path is None:
        return OSError(code, text)
    return OSError(code, text, path)


def call(name: str, function: Callable[..., int], *arguments: object, path: object = None) -> int:
    """Call a libc function that returns -1 and sets errno on failure."""
    while True:
        result = function(*arguments)
        if result != -1:
            return result
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise failure(name, code, path)


def syscall(name: str, *arguments: object, path: object = None) -> int:
    """Make the syscall `name`; integers are passed as longs, bytes and buffers by address."""
    words = [_long(value) if isinstance(value, int) else value for value in arguments]
    code = _long(number(name))
    while True:
        result: int = _syscall(code, *words)
        if result != -1:
            return result
        failed = ctypes.get_errno()
        if failed != errno.EINTR:
            raise failure(name, failed, path)


def c_path(path: str | bytes) -> bytes:
    """`path` as bytes for C; a NUL inside is refused, never silently cut."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise OSError(errno.EINVAL, "path contains a NUL byte", path)
    return encoded


def read_file(path: str | bytes, *, dir_fd: int | None = None) -> bytes:
    """The whole of a small kernel file, read at the cost of four syscalls."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)
