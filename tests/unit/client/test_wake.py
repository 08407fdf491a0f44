"""Starting the daemon on demand, with a stand-in for it: one wins, failures are explained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from carboy.client import address, transport, wake
from carboy.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAEMON = """
import os, socket, sys
values = [a for a in sys.argv[1:] if a != "--on-demand"]
options = dict(zip(values[::2], values[1::2]))
with open(options["--root"] + "/started", "a") as file:
    file.write(f"{os.getpid()} {os.getsid(0)} {os.getcwd()}\\n")
listener = socket.socket(socket.AF_UNIX)
listener.bind(options["--host"].removeprefix("unix://"))
listener.listen(64)
os.write(int(options["--ready-fd"]), b"ready\\n")
os.close(int(options["--ready-fd"]))
while True:
    listener.accept()[0].close()
"""


class Place:
    def __init__(self, path: Path) -> None:
        self.home = address.Home(str(path / "root"), str(path / "run"))
        self.address = address.parse("unix://" + self.home.socket)
        self.script = path / "daemon.py"
        self.started = path / "root" / "started"

    def wake(self, program: str) -> None:
        # Whole at every moment: another thread's daemon may be reading it.
        beside = self.script.with_suffix(f".{threading.get_ident()}")
        beside.write_text(program)
        beside.rename(self.script)
        wake.wake(self.home, self.address, (sys.executable, "-I", "-S", str(self.script)))

    def lines(self) -> list[list[str]]:
        return (
            [line.split() for line in self.started.read_text().splitlines()] if self.started.exists() else []
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for pid, *_ in place.lines():
        os.kill(int(pid), signal.SIGKILL)


def test_the_daemon_is_started_detached_and_answers_on_return(place: Place) -> None:
    place.wake(DAEMON)
    transport.Connection(place.address).close()
    (_pid, session, directory), *others = place.lines()
    assert not others
    assert int(session) != os.getsid(0)
    assert directory == "/"
    assert os.stat(place.home.root + "/daemon.log").st_mode & 0o777 == 0o600


def test_one_of_many_starts_it(place: Place) -> None:
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: place.wake(DAEMON), range(12)))
    assert len(place.lines()) == 1


def test_a_failing_start_shows_the_last_line_of_the_log(place: Place) -> None:
    os.makedirs(place.home.root)
    with open(place.home.root + "/daemon.log", "w") as log:
        log.write("an older message\n")
    with pytest.raises(Unavailable, match=r"did not start: disk is full \(see .*daemon.log\)"):
        place.wake("import sys; print('starting'); sys.exit('disk is full')")
    with pytest.raises(Unavailable, match="it said nothing"):
        place.wake("pass")
    with pytest.raises(Unavailable, match="cannot execute /nonexistent"):
        wake.wake(place.home, place.address, ("/nonexistent",))


def test_the_daemon_does_not_take_the_callers_locale() -> None:
    interpreter = wake.PROGRAM[: wake.PROGRAM.index("-m")]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for command, encoding in ((interpreter[:1], b"ascii"), (interpreter, b"utf-8")):
        said = subprocess.check_output(
            [*command, "-c", "import sys; print(sys.getfilesystemencoding())"], env=environment
        )
        assert said.strip() == encoding
