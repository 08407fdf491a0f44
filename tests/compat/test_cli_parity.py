"""Two clients, one daemon: `carboy` and Docker's own command line must print the same.

Every case is run by both.  Compared are standard output, the exit code, and the first line of standard
error, without the programs' names and without the advice that Carboy adds.  A case's notes:

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
from typing import TYPE_CHECKING

import pytest

from support.daemon import REPOSITORY, busybox_tar

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_docker, pytest.mark.timeout(60)]

CARBOY = (sys.executable, str(REPOSITORY / "bin" / "carboy"))
DOCKER = shutil.which("docker") or ""
"""The newest one: another than Debian's comes first on PATH."""

CASES: list[tuple[str, str]] = [
    # lists of containers
    ("ps", ""),
    ("ps -a", ""),
    ("ps -aq", ""),
    ("ps -aq --no-trunc", ""),
    ("ps -a --no-trunc", ""),
    ("ps -as", ""),
    ("ps -l", ""),
    ("ps -n 2", ""),
    ("container ls -a", ""),
    ("container list -a --format '{{.Names}}'", ""),
    (
        "ps -a --format '{{.ID}} {{.Image}} {{.Command}} {{.CreatedAt}} {{.Ports}} {{.State}} {{.Names}}'",
        "",
    ),
    ("ps -a --format '{{.Labels}} {{.Mounts}} {{.Networks}} {{.LocalVolumes}}'", ""),
    ("ps -a --format 'table {{.ID}}\\t{{.Names}}\\t{{.Mounts}}\\t{{.Networks}}\\t{{.LocalVolumes}}'", ""),
    ("ps -a --format 'table {{.Labels}}\\t{{.State}}\\t{{.Image}}\\t{{.Command}}\\t{{.Size}}'", "new"),
    ("ps -a --format '{{.Label \"a\"}}'", ""),
    ("ps -a --format 'table {{.Label \"com.example.some-key\"}}\\t{{.Names}}'", ""),
    ("ps -a --format json", "json new"),
    ("ps -a --format '{{json .}}'", "json"),
    ("ps -a --format '{{json .Names}}'", ""),
    ("ps -a --format '{{upper .Names}} {{lower .Image}} {{.Names | printf \"%s!\"}} {{len .Names}}'", ""),
    ("ps -a --format '{{if eq .State \"running\"}}{{.Names}} runs{{else}}{{.Names}} does not{{end}}'", ""),
    ("ps -a --format '{{range split .Names \"\"}}{{.}}-{{end}}'", ""),
    ("ps -a --format table", ""),
    ("ps -a --format raw", "new"),
    ("ps -aq --format '{{.Names}}'", "new"),
    ("ps -a --format '{{.Size}}'", ""),
    ("ps -a --format '{{.Names'", "code"),
    ("ps -a --format '{{.Nope}}'", "code"),
    ("ps --filter name=web", ""),
    ("ps -a --filter status=exited --filter name=job -q", ""),
    ("ps -a --filter nope=1", "new"),
    ("ps -a --filter status=foo", "new"),
    ("ps -a --filter bad", "new"),
    ("ps --filter label=a=b -q", ""),
    ("ps --filter label=a -q", ""),
    ("ps -a --filter exited=3 --format '{{.Names}}'", ""),
    ("ps -a --filter ancestor=par/ity:1 --format '{{.Names}}'", ""),
    ("ps -a --filter volume=vol --format '{{.Names}}'", ""),
    ("ps -a --filter network=none --format '{{.Names}}'", ""),
    ("ps -a --filter before=never --format '{{.Names}}'", ""),
    ("ps -a --filter since=web --format '{{.Names}}'", ""),
    ("ps x", "new"),
    ("ps --nope", ""),
    ("ps -Z", ""),
    # images
    ("images", "any-order"),
    ("images -q", "any-order"),
    ("images -a", "any-order"),
    ("images --no-trunc", "any-order"),
    ("images --digests", "any-order"),
    ("images par/ity", ""),
    ("images par/ity:1", ""),
    ("images nope", ""),
    ("images 'other.example/x/*'", ""),
    ("image ls", "any-order"),
    ("image list -q --no-trunc", "any-order"),
    (
        "images --format '{{.Repository}}|{{.Tag}}|{{.ID}}|{{.Size}}|{{.CreatedSince}}|{{.Digest}}'",
        "any-order",
    ),
    ("images --format json par/ity", "json new"),
    ("images --format '{{json .}}' par/ity", "json new"),
    ("images --format 'table {{.ID}}\\t{{.Tag}}\\t{{.Repository}}'", "any-order"),
    ("images --format raw par/ity", ""),
    ("images --filter dangling=true", ""),
    ("images --filter 'reference=par/*'", ""),
    ("images --filter nope=1", "new"),
    ("image inspect par/ity:1", "new"),
    ("image inspect nope", "new"),
    ("image inspect par/ity:1 nope", "new"),
    ("image inspect -f '{{.Config.Cmd}} {{.Os}} {{.Architecture}}' par/ity:1", ""),
    ("history par/ity:1", ""),
    ("history -q par/ity:1", ""),
    ("history --no-trunc par/ity:1", ""),
    ("history -H=false par/ity:1", ""),
    ("history --format '{{.ID}} {{.CreatedSince}} {{.CreatedBy}} {{.Size}} {{.Comment}}' par/ity:1", ""),
    ("history --format json par/ity:1", "new"),
    ("history --format 'table {{.ID}}: {{.CreatedBy}}' par/ity:1", ""),
    ("history nope", ""),
    # inspect
    ("inspect web", ""),
    ("inspect -s web", ""),
    ("inspect par/ity:1", "new"),
    ("inspect vol", "new"),
    ("inspect bridge", ""),
    ("inspect nope", ""),
    ("inspect web nope job", ""),
    ("inspect --type container par/ity:1", "new"),
    ("inspect --type image par/ity:1", "new"),
    ("inspect --type volume web", "new"),
    ("inspect --type foo web", "code"),
    ("inspect -f '{{.State.Status}}' web", ""),
    ("inspect -f '{{json .State}}' web", ""),
    ("inspect -f json web", "new"),
    ("inspect -f '{{.Nope}}' web", "code"),
    ("inspect -f '{{range .Mounts}}{{.Destination}}={{.Name}};{{end}}' web", ""),
    ("inspect -f '{{.Config.Labels}}' web", ""),
    ("inspect -f '{{.Config.Env}} {{.Config.Cmd}}' never", ""),
    ("inspect -f '{{index .Config.Labels \"a\"}}' web", ""),
    ("inspect -f '{{range $key, $value := .Config.Labels}}{{$key}}:{{$value}} {{end}}' web", ""),
    ("inspect -f '{{len .Mounts}} {{.Created}} {{.RestartCount}}' web", ""),
    ("inspect -f '{{with .State}}{{.Pid}} {{.Running}}{{end}}' never", ""),
    ("inspect -f '{{if eq .State.Status \"running\"}}yes{{else}}no{{end}}' web", ""),
    ('inspect -f \'{{split .Name "/"}} {{join .Config.Cmd ","}} {{truncate "abcdef" 3}}\' web', ""),
    ("inspect -f '{{.HostConfig.Memory}} {{.HostConfig.NetworkMode}}' web", ""),
    (
        "inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}|{{.NetworkID}}{{end}}' web",
        "",
    ),
    ("container inspect web", ""),
    ("container inspect nope", "new"),
    ("container inspect -s -f '{{.SizeRw}}' web", ""),
    # volumes
    ("volume ls", ""),
    ("volume ls -q", ""),
    (
        "volume ls --format '{{.Name}} {{.Driver}} {{.Mountpoint}} {{.Scope}} {{.Labels}} {{.Links}}'",
        "",
    ),
    ("volume ls --format '{{.Label \"l\"}}'", ""),
    ("volume ls --format json", "json new"),
    ("volume ls --format 'table {{.Name}}\\t{{.Driver}}\\t{{.Labels}}'", ""),
    ("volume ls --format raw", ""),
    ("volume ls -f dangling=true", ""),
    ("volume ls -f name=dat", ""),
    ("volume ls -f nope=1", "new"),
    ("volume ls -f label=l=1 -q", ""),
    ("volume inspect vol data", ""),
    ("volume inspect nope", "new"),
    ("volume inspect -f '{{.Name}} {{.Labels}}' data", ""),
    ("volume rm nope", "new"),
    ("volume rm vol", ""),
    ("volume rm -f nope", ""),
    ("volume rm", "new"),
    ("volume update data", "new"),
    # networks
    ("network ls", ""),
    ("network ls -q", ""),
    ("network ls --no-trunc", ""),
    (
        "network ls --format '{{.ID}} {{.Name}} {{.Driver}} {{.Scope}} {{.IPv6}} {{.CreatedAt}}'",
        "",
    ),
    ("network ls --format json", "json new"),
    ("network ls --format 'table {{.ID}}\\t{{.Name}}'", ""),
    ("network ls --format raw", ""),
    ("network ls --filter driver=host", ""),
    ("network ls --filter name=bri -q", ""),
    ("network ls --filter nope=1", "new"),
    ("network inspect bridge", "json-document"),
    ("network inspect nope", "new"),
    ("network inspect -f '{{.Driver}}' bridge", ""),
    # system
    ("info --format '{{.Driver}} {{.ServerVersion}} {{.OSType}} {{.Containers}}'", ""),
    ("info --format '{{json .SecurityOptions}}'", ""),
    ("system info --format '{{.Name}}'", ""),
    ("version --format '{{.Server.Version}} {{.Server.Os}} {{.Server.Arch}}'", ""),
    ("events --since 0 --until 1s --filter container=job --filter event=die --format '{{.Action}}'", ""),
    ("events --since 50m --until 0s --filter container=job", "new"),
    ("events --since 50m --until 0s --filter container=job --format json", "new"),
    ("events --since 50m --until 0s --filter container=job --format '{{.ID}} {{.Status}} {{.Type}}'", ""),
    ("events --since 50m --until 0s --filter container=job --format '{{json .}}'", "new"),
    ("events --since x", "code"),
    ("events --filter foo", "new"),
    # one container
    ("logs job", ""),
    ("logs -t job", ""),
    ("logs -n 1 job", ""),
    ("logs --details job", ""),
    ("logs nope", "new"),
    ("logs", "new"),
    ("wait job", ""),
    ("wait nope", ""),
    ("rename nope x", ""),
    ("rename web", "new"),
    ("tag nope x", ""),
    ("tag par/ity:1", "new"),
    ("kill job", "new"),
    ("kill nope", "new"),
    ("kill -s FOO web", "new"),
    ("stop nope", ""),
    ("stop -t x web", "code"),
    ("start nope", ""),
    ("pause job", ""),
    ("unpause web", ""),
    ("restart nope", ""),
    ("rm nope", "new"),
    ("rm web", "code"),
    ("rm", "new"),
    ("rmi nope", "new"),
    ("attach job", "code"),
    ("attach nope", "new"),
    ("exec job ls", "code"),
    ("exec nope ls", "new"),
    ("exec web", "new"),
    ("exec web nope", "code"),
    ("exec web sh -c 'echo out; echo err >&2; exit 7'", ""),
    ("exec -e A=1 -w /tmp -u 7 web sh -c 'echo $A; pwd; id -u'", ""),
    ("run", "new"),
    ("run --pull never nope:1", "code"),
    ("run --name web par/ity:1 true", "new"),
    ("run --rm --network none par/ity:1 nope", "code"),
    ("run --rm --network none par/ity:1 sh -c 'echo out; echo err >&2; exit 5'", ""),
    ("run --rm --network none -e A=1 -e B=2 par/ity:1 env", "code"),
    ("run --memory x par/ity:1", "code"),
    ("run --foo par/ity:1", ""),
    ("run --rm --network nope par/ity:1 true", "code"),
    ("create --name web par/ity:1", "new"),
    ("save", "new"),
    ("save nope", "new"),
    ("save -o /nonexistent/x par/ity:1", "code"),
    ("load -i /nonexistent", "code"),
    ("import /nonexistent", "code"),
    ("commit nope", "new"),
    ("commit", "new"),
    # processes, changes, figures
    ("top web", "code"),
    ("top web -o pid,comm", "code"),
    ("top nope", "new"),
    ("top job", "new"),
    ("diff web", ""),
    ("diff nope", "new"),
    ("port web", ""),
    ("port nope", "new"),
    ("stats --no-stream --format '{{.Name}} {{.ID}}' web", ""),
    ("stats --no-stream nope", "new"),
    ("update --memory 64m nope", "new"),
    ("update web", "code"),
    ("system df", "code"),
    ("system df --format '{{.Type}} {{.TotalCount}} {{.Active}}'", ""),
    ("system df --format json", "code"),
    ("container prune -f --filter label=nope", ""),
    ("image prune -f --filter label=nope", ""),
    ("volume prune -f --filter label=nope", "new"),
    ("network prune -f --filter label=nope", ""),
    ("cp nope:/x /tmp", "new"),
    ("cp web:/nope /tmp", "new"),
    ("cp a b", "code"),
    ("cp web:/a web:/b", "code"),
    ("cp", "new"),
    ("export nope", "new"),
    ("rename web web", "new"),
    ("rename web job", "new"),
    ("rmi -f nope", "code"),
    ("tag par/ity:1 UPPER", "new"),
    ("start nope job", "code"),
    # what cannot be run
    ("run --name b@d par/ity:1", "new"),
    ("run --rm --mount type=bind,src=/nonexistent,dst=/x par/ity:1 true", "new"),
    ("run --rm --memory 1k par/ity:1 true", "new"),
    ("run --rm --cpus 1000 par/ity:1 true", "new"),
    ("run --rm -p x:80 par/ity:1 true", "new"),
    ("run --rm --restart foo par/ity:1 true", "new"),
    ("run --rm --restart always par/ity:1 true", "new"),
    ("run --rm --user nope par/ity:1 true", "new"),
    ("run --rm --ulimit foo par/ity:1 true", "new"),
    ("run --rm --cap-add FOO par/ity:1 true", "new"),
    ("run --rm --device /nope par/ity:1 true", "new"),
    ("run --rm -w rel par/ity:1 true", "new"),
    ("run --rm --log-driver nope par/ity:1 true", "new"),
    ("run --rm --security-opt foo par/ity:1 true", "new"),
    ("run --rm --env-file /nonexistent par/ity:1 true", "code"),
    ("run --rm --stop-signal FOO par/ity:1 true", "new"),
    ("run --rm --mac-address x par/ity:1 true", "new"),
    ("run --rm --tmpfs x par/ity:1 true", "new"),
    ("run --rm --add-host x par/ity:1 true", "new"),
    ("run --rm --dns x par/ity:1 true", "new"),
    ("run --rm --gpus all par/ity:1 true", "code"),
    ("run --rm --runtime nope par/ity:1 true", "new"),
    ("run --rm --hostname 'a b' par/ity:1 true", "new"),
    ("run -it par/ity:1 true", "code"),
    # the program itself
    ("foo", "code"),
    ("--nope", ""),
    ("-H unix:///nonexistent ps", "code"),
    ("-c nope ps", "code"),
    ("-c nope -H unix:///x ps", "code"),
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
        self.error = re.sub(r"( \(did you mean .*\?\))?\. See 'carboy .*--help'$", "", error)
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
            command, input=stdin, capture_output=True, env=self.environment, timeout=30, check=False
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
