"""Where a daemon's settings come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.cli import flags
from carboy.errors import InvalidArgument, Unavailable
from carboy.formats.settings.table import ALL_FLAGS
from carboy.service.notices import PidFile
from carboy.service.options import Options


def options(*words: str) -> Options:
    parsed = flags.parse(ALL_FLAGS, list(words))
    return Options(parsed.values, parsed.lists)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CARBOY_ROOT", "CARBOY_RUN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_the_default_home_has_the_default_file() -> None:
    expected = (
        "/etc/carboy/daemon.json"
        if os.geteuid() == 0
        else f"{os.environ['XDG_CONFIG_HOME']}/carboy/daemon.json"
    )
    assert options().file == expected


def test_a_home_of_ones_own_has_only_the_file_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options("--exec-root", "/run/other").file == ""
    assert options("--run", "/run/other").file == ""
    assert options("--run", "/run/other", "--config-file", "/f").file == "/f"
    monkeypatch.setenv("CARBOY_RUN", "/run/mine")
    assert options().file == ""
    assert options().home_run == "/run/mine"


def test_the_file_may_move_the_data_of_a_daemon_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text('{"data-root": "/srv/data", "hosts": ["unix:///a"]}')
    words = [
        "--on-demand",
        "--root",
        "/r",
        "--run",
        "/x",
        "--host",
        "unix:///x/carboy.sock",
        "--config-file",
        str(path),
    ]
    found = options(*words)
    settings = found.load()
    assert settings.text("data-root") == "/srv/data"
    assert settings.words("hosts") == ["unix:///a"]
    assert found.expected_hosts == ["unix:///x/carboy.sock"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no such file"):
        options("--config-file", str(tmp_path / "none")).load()
    with pytest.raises(InvalidArgument, match="Is a directory"):
        options("--config-file", str(tmp_path)).load()
    (tmp_path / "long").write_bytes(b" " * (2 << 20))
    with pytest.raises(InvalidArgument, match="too large"):
        options("--config-file", str(tmp_path / "long")).load()


def test_pid_files(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("1\n")
    with pytest.raises(Unavailable, match="process with PID 1 is still running"):
        PidFile(str(path))
    path.write_text("999999999\n")
    one = PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    path.write_text("5\n")
    one.remove()
    assert path.exists()  # somebody else's by now
    path.write_text(f"{os.getpid()}\n")
    one.remove()
    assert not path.exists()
