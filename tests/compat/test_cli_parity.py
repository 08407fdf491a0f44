"""Two clients, one daemon: `carboy` and Docker's own command line must print the same.

Every line of tests/data/cli-parity.txt is run by both.  Compared are standard output, the exit code, and the
first line of standard error, without the programs' names and without the advice that Carboy adds.  A line's
notes, in brackets:

    any-order   lines of the output may come in any order
    json        lines are JSON: what both have must be the same
    code        only the exit code is compared
    new         Docker's 20.10 says it otherwise
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.daemon import REPOSITORY, busybox_tar

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_docker, pytest.mark.timeout(60)]

CARBOY = (sys.executable, str(REPOSITORY / "bin" / "carboy"))
DOCKER = shutil.which("docker") or ""
"""The newest one: another than Debian's comes first on PATH."""

CASES = [
    (line[line.index("]") + 2 :], line[1 : line.index("]")]) if line[0] == "[" else (line, "")
    for line in (Path(__file__).parents[1] / "data" / "cli-parity.txt").read_text().splitlines()
    if line and line[0] != "#"
]


class Outcome:
    """What a client did, made comparable."""

    def __init__(self, done: subprocess.CompletedProcess[bytes], notes: list[str]) -> None:
        self.code = done.returncode
        self.out = done.stdout.decode()
        error = re.sub(r"^(docker|carboy): ", "", done.stderr.decode())
        error = (
            error.partition("\n")[0]
            .replace("'docker ", "'carboy ")
            .replace("command: docker", "command: carboy")
        )
        self.error = re.sub(
            r"(, but \d+ were given)?(: carboy .*| \(did you mean .*\?\))?\. See 'carboy .*--help'$",
            "",
            error,
        )
        if "any-order" in notes:
            self.out = "\n".join(sorted(self.out.splitlines()))
        if "code" in notes:
            self.out = self.error = ""

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.out}\nstderr: {self.error}"


class Clients:
    """The two programs, at one daemon and with the same settings."""

    def __init__(self, docker: str, host: str, config: str) -> None:
        self.docker = docker
        outer = {
            name: value for name, value in os.environ.items() if not name.startswith(("CARBOY_", "DOCKER_"))
        }
        self.environment = {
            **outer,
            "PYTHONPATH": str(REPOSITORY / "src"),
            "DOCKER_HOST": host,
            "DOCKER_CONFIG": config,
            "DOCKER_CLI_HINTS": "false",
        }
        self.old = self.run(docker, "--version").stdout.startswith(b"Docker version 20.")

    def run(self, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command, input=stdin, capture_output=True, env=self.environment, timeout=40, check=False
        )

    def both(self, arguments: list[str], notes: list[str]) -> tuple[Outcome, Outcome]:
        """Both at the same time: it takes half as long, and the clock is the same."""
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(self.run, self.docker, *arguments)
            ours = Outcome(self.run(*CARBOY, *arguments), notes)
            theirs = Outcome(waiting.result(), notes)
        if theirs.error and ours.error.startswith(theirs.error + ": "):
            ours.error = theirs.error
        return theirs, ours


@pytest.fixture(scope="module")
def clients(host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    if not DOCKER:
        pytest.skip("needs Debian's docker command")
    clients = Clients(DOCKER, host, str(tmp_path_factory.mktemp("config")))
    for line, stdin in (
        ("import --change 'CMD [\"sh\"]' - par/ity:1", busybox_tar()),
        ("tag par/ity:1 other.example/x/y:2", b""),
        ("volume create --label l=1 data", b""),
        (
            "run -d -l a=b -l com.example.some-key=v --net none -v vol:/v --name web par/ity:1 sleep 1000",
            b"",
        ),
        ("create --name never --network none -e X=1 par/ity:1 sh -c 'a long command that is truncated'", b""),
    ):
        done = clients.run(*CARBOY, *shlex.split(line), stdin=stdin)
        assert done.returncode == 0, (line, done)
    done = clients.run(
        *CARBOY, *shlex.split("run --name job --network none par/ity:1 sh -c 'echo hi; exit 3'")
    )
    assert done.returncode == 3, done
    yield clients
    clients.run(*CARBOY, "rm", "-f", "-v", "web", "job", "never")
    clients.run(*CARBOY, "volume", "rm", "vol", "data")
    clients.run(*CARBOY, "rmi", "-f", "par/ity:1", "other.example/x/y:2")


@pytest.mark.parametrize(("line", "notes"), CASES, ids=[line for line, _notes in CASES])
def test_both_clients_say_the_same(clients: Clients, line: str, notes: str) -> None:
    marks = notes.split()
    if "new" in marks and clients.old:
        marks.append("code")
    theirs, ours = clients.both(shlex.split(line), marks)
    if "json" in marks and theirs.out:
        assert ours.code == theirs.code
        for one, other in zip(_lines(theirs.out), _lines(ours.out), strict=True):
            both = (one.keys() & other.keys()) - {"CreatedSince", "RunningFor", "Status"}
            assert both
            assert {key: one[key] for key in both} == {key: other[key] for key in both}
        return
    if "json-document" in marks:
        assert json.loads(ours.out)[0].items() >= {"Name": json.loads(theirs.out)[0]["Name"]}.items()
        return
    for _ in range(3):  # a second may have passed between the two: "3 seconds ago"
        if repr(ours) != repr(theirs):
            theirs, ours = clients.both(shlex.split(line), marks)
    assert repr(ours) == repr(theirs)


def _lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_there_are_many_cases() -> None:
    assert len(CASES) > 180
