"""carboy-runtime: the life of a container from command to command, its answers and refusals."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
import referencing.jsonschema

from support.oci import GROUP, Config, base_config, rootfs
from support.ocicommand import Command

__all__ = ["rootfs"]
pytestmark = pytest.mark.needs_root
SCHEMAS = Path(__file__).parents[1] / "data" / "oci-runtime"


class Bundle:
    """A bundle, and the command to call on it."""

    def __init__(self, place: Path, root: Path) -> None:
        self.path = place
        self.command = Command(place)
        self.config = base_config(root, "sleep", "100")
        self.config["root"]["path"] = "rootfs"
        self.config["linux"]["cgroupsPath"] = f"{GROUP}/command"

    def write(self, *args: str, **process: Any) -> Config:
        """config.json with that program."""
        if args:
            self.config["process"]["args"] = list(args)
        self.config["process"].update(process)
        (self.path / "config.json").write_text(json.dumps(self.config))
        return self.config


@pytest.fixture
def bundle(rootfs: Path) -> Iterator[Bundle]:
    made = Bundle(rootfs.parent, rootfs)
    made.write()
    yield made
    for name in made.command.ok("list", "-q").split():
        made.command.ok("delete", "--force", name)
    assert list(made.command.root.glob("[!.]*")) == []


def ended(pid: int) -> None:
    """Wait for a process that is not our child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([fd], [], [], 10)
    os.close(fd)


def test_created_waits_started_runs_killed_stops(bundle: Bundle) -> None:
    call = bundle.command
    pid_file = bundle.path / "pid"
    call.quiet("create", "--bundle", str(bundle.path), "--pid-file", str(pid_file), "one")
    pid = int(pid_file.read_text())
    state = call.state("one")
    assert (state["status"], state["pid"], state["bundle"]) == ("created", pid, str(bundle.path))
    assert "sleep" not in Path(f"/proc/{pid}/comm").read_text()
    call.ok("start", "one")
    assert call.state("one")["status"] == "running"
    assert Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    assert "already exists" in call.call("create", "-b", str(bundle.path), "one").stderr
    assert "in the running state" in call.call("start", "one").stderr
    assert "not stopped" in call.call("delete", "one").stderr
    call.ok("kill", "one", "KILL")
    ended(pid)
    assert call.state("one")["status"] == "stopped"
    assert "container not running" in call.call("kill", "one").stderr
    call.ok("delete", "one")
    assert "does not exist" in call.call("state", "one").stderr
    assert not os.path.exists(f"/sys/fs/cgroup/pids{GROUP}/command")


def test_a_created_container_can_be_deleted(bundle: Bundle) -> None:
    bundle.command.quiet("create", "--bundle", str(bundle.path), "one")
    pid = bundle.command.state("one")["pid"]
    bundle.command.ok("delete", "one")
    try:
        assert ") Z " in Path(f"/proc/{pid}/stat").read_text()  # init of the machine will reap it
    except (FileNotFoundError, ProcessLookupError):
        pass


def test_a_create_that_was_killed_leaves_nothing_that_delete_does_not_find(bundle: Bundle) -> None:
    call = bundle.command
    script = bundle.path / "killed"
    text = call.script.read_text().replace(
        "sys.exit(",
        "from carboy.runtime import state\n"
        "import os\n"
        "state.Container.set_process = lambda *_: os.kill(os.getpid(), 9)\n"  # init waits for `start` by now
        "sys.exit(",
    )
    script.write_text(text)
    script.chmod(0o755)
    with open("/dev/null", "r+b") as null:
        words = [str(script), "create", "-b", str(bundle.path), "one"]
        assert subprocess.run(words, stdin=null, stdout=null, stderr=null, check=False).returncode == -9
    group = Path(f"/sys/fs/cgroup/pids{GROUP}/command")
    (pid,) = map(int, (group / "cgroup.procs").read_text().split())
    assert call.state("one")["status"] == "creating"
    call.ok("delete", "--force", "one")
    ended(pid)
    assert not group.exists()


def test_a_bundle_without_a_control_group_leaves_none_behind(bundle: Bundle) -> None:
    name = f"alone-{os.getpid()}"
    del bundle.config["linux"]["cgroupsPath"]
    bundle.write()
    bundle.command.quiet("create", "--bundle", str(bundle.path), name)
    pid = bundle.command.state(name)["pid"]
    members = {line.rpartition(":")[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}
    assert f"/carboy-runtime-{name}" in members  # below the root: there is no parent that would stay
    bundle.command.ok("delete", "--force", name)
    assert not list(Path("/sys/fs/cgroup").glob(f"**/*{name}"))


def follows(document: object, name: str) -> None:
    """Check `document` against one of the specification's schemas, with all that it refers to."""
    registry: referencing.Registry[object] = referencing.Registry(  # type: ignore[call-arg] # an attrs alias
        retrieve=lambda uri: referencing.Resource.from_contents(
            json.loads((SCHEMAS / uri.rpartition("/")[2]).read_text()),
            default_specification=referencing.jsonschema.DRAFT4,
        )
    )
    schema = json.loads((SCHEMAS / name).read_text())
    jsonschema.Draft4Validator(schema, registry=registry).validate(document)


def test_state_and_features_follow_their_schemas(bundle: Bundle) -> None:
    bundle.command.quiet("create", "--bundle", str(bundle.path), "one")
    follows(bundle.command.state("one"), "state-schema.json")
    follows(json.loads(bundle.command.ok("features")), "features-schema.json")


def test_a_template_is_a_valid_configuration(bundle: Bundle) -> None:
    place = bundle.path / "new"
    place.mkdir()
    bundle.command.ok("spec", "--bundle", str(place))
    assert "exists" in bundle.command.call("spec", "--bundle", str(place)).stderr
    document = json.loads((place / "config.json").read_text())
    follows(document, "config-schema.json")
    document["process"] |= {"terminal": False, "args": ["echo", "hello"]}
    document["process"]["env"] = ["PATH=/bin"]
    document["root"]["path"] = str(bundle.path / "rootfs")
    (place / "config.json").write_text(json.dumps(document))
    assert bundle.command.ok("run", "-b", str(place), "new") == "hello\n"


def test_run_gives_output_and_exit_code(bundle: Bundle) -> None:
    bundle.write("sh", "-c", "cat; echo err >&2; exit 9")
    done = bundle.command.call("run", "-b", str(bundle.path), "one", input="through\n")
    assert (done.returncode, done.stdout, done.stderr) == (9, "through\n", "err\n")
    assert bundle.command.ok("list", "-q") == ""


@pytest.mark.parametrize("program", ["nope", "/bin/nope"])
def test_a_missing_program_fails_create_and_leaves_nothing(bundle: Bundle, program: str) -> None:
    bundle.write(program)
    log = bundle.path / "log.json"
    done = bundle.command.call(
        "--log", str(log), "--log-format", "json", "create", "-b", str(bundle.path), "one"
    )
    assert done.returncode == 1
    entry = json.loads(log.read_text().splitlines()[-1])
    assert (entry["level"], program in entry["msg"]) == ("error", True)
    assert bundle.command.ok("list", "-q") == ""


def test_an_error_of_execve_reaches_start(bundle: Bundle) -> None:
    (bundle.path / "rootfs/bin/text").write_text("no program\n")
    (bundle.path / "rootfs/bin/text").chmod(0o755)
    bundle.write("/bin/text")
    bundle.command.quiet("create", "--bundle", str(bundle.path), "one")
    done = bundle.command.call("start", "one")
    assert (done.returncode, "exec format error" in done.stderr) == (1, True)
    assert bundle.command.state("one")["status"] == "stopped"


def test_exec_in_all_its_forms(bundle: Bundle) -> None:
    call = bundle.command
    bundle.write(oomScoreAdj=321)
    call.quiet("run", "--detach", "-b", str(bundle.path), "one")
    assert call.ok(
        "exec", "-u", "1000:5", "-e", "A=b", "--cwd", "/tmp", "one", "sh", "-c", "id -u; echo $A; pwd"
    ) == ("1000\nb\n/tmp\n")
    assert call.call("exec", "one", "sh", "-c", "exit 5").returncode == 5
    assert call.call("exec", "one", "sh", "-c", "kill -9 $$").returncode == 137
    assert "executable file not found" in call.call("exec", "one", "nope").stderr
    assert "UID[:GID]" in call.call("exec", "-u", "root", "one", "true").stderr
    document: dict[str, Any] = {
        "args": ["id", "-u"],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 7, "gid": 7},
    }
    (bundle.path / "process.json").write_text(json.dumps(document))
    assert call.ok("exec", "--process", str(bundle.path / "process.json"), "one") == "7\n"
    assert call.ok("exec", "one", "cat", "/proc/self/oom_score_adj") == "321\n"
    for score, more in (("321\n", {}), ("9\n", {"oomScoreAdj": 9})):
        document |= {"args": ["cat", "/proc/self/oom_score_adj"], **more}
        (bundle.path / "process.json").write_text(json.dumps(document))
        assert call.ok("exec", "--process", str(bundle.path / "process.json"), "one") == score
    pid_file = bundle.path / "exec.pid"
    call.quiet("exec", "--detach", "--pid-file", str(pid_file), "one", "sleep", "50")
    assert int(pid_file.read_text()) in json.loads(call.ok("ps", "--format", "json", "one"))
    assert "sleep 50" in call.ok("ps", "one")


def test_pause_resume_update_events(bundle: Bundle) -> None:
    call = bundle.command
    call.quiet("run", "--detach", "-b", str(bundle.path), "one")
    call.ok("pause", "one")
    assert call.state("one")["status"] == "paused"
    assert "paused state" in call.call("exec", "one", "true").stderr
    call.ok("resume", "one")
    assert call.state("one")["status"] == "running"
    call.ok("update", "--memory", "64m", "--pids-limit", "50", "--cpu-shares", "512", "one")
    stats = json.loads(call.ok("events", "--stats", "one"))
    assert (stats["type"], stats["id"]) == ("stats", "one")
    assert stats["data"]["memory"]["usage"]["limit"] == 64 << 20
    assert stats["data"]["pids"]["limit"] == 50
    call.ok("update", "--resources", "-", "one", input=json.dumps({"pids": {"limit": 60}}))
    assert json.loads(call.ok("events", "--stats", "one"))["data"]["pids"]["limit"] == 60
    call.ok("pause", "one")
    call.ok("kill", "one", "KILL")


def test_a_terminal_goes_to_the_console_socket(bundle: Bundle) -> None:
    bundle.write("sh", "-c", "tty; stty size", terminal=True, consoleSize={"height": 20, "width": 70})
    refused = bundle.command.call("create", "-b", str(bundle.path), "one")
    assert "--console-socket" in refused.stderr
    path = str(bundle.path / "console.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        bundle.command.quiet("create", "-b", str(bundle.path), "--console-socket", path, "one")
        connection, _ = listener.accept()
        _, descriptors, _, _ = socket.recv_fds(connection, 100, 1)
        connection.close()
    bundle.command.ok("start", "one")
    output = b""
    try:
        while data := os.read(descriptors[0], 1000):
            output += data
    except OSError:
        pass
    os.close(descriptors[0])
    assert output == b"/dev/pts/0\r\n20 70\r\n"


def test_preserved_descriptors_and_no_others(bundle: Bundle) -> None:
    bundle.write("sh", "-c", "cat <&3; ls /proc/self/fd | wc -l")
    (bundle.path / "given").write_text("given\n")
    script, path = bundle.command.script, bundle.path
    line = (
        f"exec 3<{path}/given 4<{path}/given 5<{path}/given; exec {script} run --preserve-fds 1 -b {path} one"
    )
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=40)
    assert done.stdout.splitlines()[0] == "given", done.stderr
    assert int(done.stdout.splitlines()[1]) <= 5
    refused = bundle.command.call("run", "--preserve-fds", "9", "-b", str(path), "x")
    assert "is not open" in refused.stderr


def test_poststop_hooks_run_at_delete(bundle: Bundle) -> None:
    note = bundle.path / "note"
    bundle.config["hooks"] = {
        "poststop": [
            {"path": "/bin/false"},
            {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {note}"], "env": ["PATH=/bin"]},
        ]
    }
    bundle.write("true")
    done = bundle.command.call("run", "-b", str(bundle.path), "one")
    assert (done.returncode, "poststop" in done.stderr) == (0, True)
    assert json.loads(note.read_text())["status"] == "stopped"


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "../x", "x" * 300, "a b", "ü", "a\n"])
def test_ids_that_are_no_plain_names_are_refused(bundle: Bundle, name: str) -> None:
    for command in (["create", "-b", str(bundle.path)], ["state"], ["delete"]):
        done = bundle.command.call(*command, name)
        assert (done.returncode, "id" in done.stderr) == (1, True)


def test_wrong_calls_are_explained(bundle: Bundle) -> None:
    call = bundle.command.call
    assert "unknown flag" in call("run", "--nope", "x").stderr
    assert "no command 'frobnicate'" in call("frobnicate").stderr
    assert "id is missing" in call("start").stderr
    assert "unknown signal 'NOPE'" in _kill_unknown(bundle)
    assert "is this a bundle?" in call("create", "-b", "/nowhere", "x").stderr
    assert "pivot_root" in call("create", "--no-pivot", "-b", str(bundle.path), "x").stderr
    assert call("--version").stdout.endswith("spec: 1.2.0\n")
    assert "checkpoints" in call("checkpoint", "x").stderr
    assert call("delete", "--force", "never-was").returncode == 0


def _kill_unknown(bundle: Bundle) -> str:
    bundle.command.quiet("run", "--detach", "-b", str(bundle.path), "one")
    return bundle.command.call("kill", "one", "NOPE").stderr
