"""The host's certificates for a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.engine.building import trust
from carboy.errors import NotFound

PEM = b"-----BEGIN CERTIFICATE-----\n"


def test_the_first_bundle_that_is_one(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "real").write_bytes(PEM)
    (tmp_path / "own").write_bytes(PEM + b"own")
    places = [str(tmp_path / name) for name in ("missing", "empty", "real")]
    assert trust.read_host_bundle({}, places) == PEM
    assert trust.read_host_bundle({"SSL_CERT_FILE": str(tmp_path / "own")}, places) == PEM + b"own"
    with pytest.raises(NotFound, match="SSL_CERT_FILE"):
        trust.read_host_bundle({}, places[:2])


def test_an_image_keeps_whom_it_trusts() -> None:
    assert trust.joined(b"mine", b"host\n") == b"mine\nhost\n"
    assert trust.joined(b"mine\n", b"host\n") == b"mine\nhost\n"
    assert trust.joined(b"", b"host\n") == b"host\n"


def test_variables_of_the_program_win() -> None:
    names = [text.partition("=")[0] for text in trust.variables(["PIP_CERT=/mine", "A=1"])]
    assert "PIP_CERT" not in names
    assert "SSL_CERT_FILE" in names
