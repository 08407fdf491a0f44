"""What run and rm say and leave when something fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carboy.cli import main
from support.fakeserver import FakeServer, server

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["server"]


def run(server: FakeServer, *arguments: str) -> int:
    return main.run(["-H", "unix://" + server.path, *arguments])


@pytest.mark.parametrize("flags", [(), ("-f",)])
def test_a_failure_keeps_no_name_of_what_is_removed_from_the_output(
    server: FakeServer, capfd: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    for name in ("a", "b"):
        server.replies["DELETE /containers/" + name] = b"HTTP/1.1 204 No Content\r\n\r\n"
    server.json("DELETE /containers/stuck", {"message": "it is stuck"}, 500)
    assert run(server, "rm", *flags, "a", "stuck", "b") == 1
    assert capfd.readouterr() == ("a\nb\n", "carboy: Error response from daemon: it is stuck\n")


@pytest.mark.parametrize(
    "reply",
    [
        b'HTTP/1.1 409 X\r\nContent-Length: 14\r\n\r\n{"message":""}',
        b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{",
        b"",
        b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\n[12]",
    ],
    ids=["refused", "cut off", "lost", "no answer of a daemon"],
)
def test_a_cidfile_without_an_id_does_not_stay(server: FakeServer, tmp_path: Path, reply: bytes) -> None:
    server.replies["POST /containers/create"] = reply
    server.streams["POST /containers/create"] = b""  # the end
    for _ in range(2):
        assert run(server, "create", "--cidfile", f"{tmp_path}/cid", "x") == 1
        assert not (tmp_path / "cid").exists()
    server.json("POST /containers/create", {"Id": "c1"}, 201)
    assert run(server, "create", "--cidfile", f"{tmp_path}/cid", "x") == 0
    assert (tmp_path / "cid").read_text() == "c1"
