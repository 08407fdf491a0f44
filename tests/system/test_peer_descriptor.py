"""A descriptor of the process at the other end of a unix socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from carboy.daemon import take_descriptor
from carboy.errors import InvalidArgument


@pytest.mark.needs_root
def test_a_peers_file_is_taken_by_number(tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen()
    child = os.fork()
    if child == 0:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(tmp_path / "s"))
        file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        os.write(file, b"of the client")
        connection.sendall(str(file).encode())
        connection.recv(1)
        os._exit(0)
    try:
        connection, _ = listening.accept()
        with connection:
            number = int(connection.recv(20))
            taken = take_descriptor(connection, number)
            assert os.pread(taken, 100, 0) == b"of the client"
            assert not os.get_inheritable(taken)
            os.close(taken)
            with pytest.raises(InvalidArgument, match="descriptor 987 of the client"):
                take_descriptor(connection, 987)
    finally:
        listening.close()
        os.waitpid(child, 0)
