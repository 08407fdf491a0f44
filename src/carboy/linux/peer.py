"""The process at the other end of a unix socket, and its descriptors (docs/design/0001)."""

from __future__ import annotations

import errno
import os
import socket
import struct

from carboy.linux import process

SO_PEERPIDFD = 77
"""Since Linux 6.5; `socket` does not have it."""

_UCRED = struct.Struct("3i")


def peer_pidfd(connection: socket.socket) -> int:
    """A pidfd of the process that connected; the caller closes it.

    Older kernels only tell the pid, which could have been reused since the peer ended.
    """
    try:
        return connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError as error:
        if error.errno not in (errno.ENOPROTOOPT, errno.EINVAL):
            raise
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return process.pidfd_open(_UCRED.unpack(credentials)[0])


def take_descriptor(connection: socket.socket, number: int) -> int:
    """A duplicate of descriptor `number` of the process that connected; the caller closes it."""
    pidfd = peer_pidfd(connection)
    try:
        return process.pidfd_getfd(pidfd, number)
    finally:
        os.close(pidfd)
