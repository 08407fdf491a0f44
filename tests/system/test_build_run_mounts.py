"""RUN --mount on the real kernel: what is seen, what stays, and what never enters a layer."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from carboy.build.executor import (
    MountedAgent,
    MountedCache,
    MountedSecret,
    MountedTmpfs,
    MountedTree,
    StepFailed,
)
from carboy.build.trees import LocalTree
from carboy.errors import CarboyError, InvalidArgument, NotFound
from carboy.formats.dockerignore import Ignore
from support.steps import Workbench, tar_of, workbench

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["workbench"]


def test_layers_read_only_and_their_parts(workbench: Workbench) -> None:
    other = workbench.add(tar_of({"d/a": b"1", "d/e/b": b"2", "c": b"3"}))
    mounts = (
        MountedTree(target="/mnt/all", layers=(other,)),
        MountedTree(target="/mnt/part", layers=(other,), source="d"),
        MountedTree(target="/file", layers=(other,), source="/c"),
    )
    notes = workbench.printed(
        "cat /mnt/all/d/a /mnt/part/e/b /file; touch /mnt/all/x 2>&1 | cut -d: -f3", mounts=mounts
    )
    assert notes == "123 Read-only file system\n"
    assert workbench.run("true", mounts=mounts).layer is None


def test_what_is_written_to_layers_is_thrown_away(workbench: Workbench) -> None:
    other = workbench.add(tar_of({"d/a": b"1", "c": b"3"}))
    for source, target in (("", "/mnt"), ("d", "/mnt/deep"), ("c", "/mnt/file")):
        mounts = (MountedTree(target=target, layers=(other,), source=source, readonly=False),)
        script = f"if [ -d {target} ]; then echo new > {target}/new; else echo more >> {target}; fi"
        assert workbench.run(script, mounts=mounts).layer is None
        assert "new" not in workbench.printed(f"ls {target}", mounts=mounts)


def test_an_empty_stage(workbench: Workbench) -> None:
    for readonly in (True, False):
        mount = MountedTree(target="/mnt", layers=(), readonly=readonly)
        assert workbench.printed("ls /mnt | wc -l", mounts=(mount,)).strip() == "0"


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("ignored", [False, True])
def test_contexts(workbench: Workbench, tmp_path: Path, readonly: bool, ignored: bool) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "d/e").mkdir(parents=True)
    for name in ("d/one.log", "d/two.txt", "d/e/three.log", "four.log"):
        (tmp_path / name).write_text(name)
    ignore = Ignore(["**/*.log", "!d/e/three.log"]) if ignored else None
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        tree = LocalTree(root, str(tmp_path), ignore)
        mount = MountedTree(target="/src", local=tree, readonly=readonly)
        text = workbench.printed(
            "cd /src; find . -type f | sort; touch x 2>/dev/null && echo written; rm -f four.log; true",
            mounts=(mount,),
        )
        part = MountedTree(target="/part", local=tree, source="d/../d", readonly=readonly)
        assert workbench.printed("ls /part", mounts=(part,)).split()[-1] == "two.txt"
        missing = MountedTree(target="/part", local=tree, source="four.log", readonly=readonly)
        if ignored:
            with pytest.raises(NotFound, match=r"four\.log"):
                workbench.run("true", mounts=(missing,))
        else:
            assert workbench.printed("cat /part", mounts=(missing,)) == "four.log"
    finally:
        os.close(root)
    names = {"./a", "./d/two.txt", "./d/e/three.log"} | (set() if ignored else {"./d/one.log", "./four.log"})
    assert {line for line in text.split() if line.startswith("./")} == names
    assert ("written" in text) is not readonly
    assert not (tmp_path / "x").exists()
    assert (tmp_path / "four.log").exists()


def test_links_lead_nowhere_outside(workbench: Workbench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("sentinel")
    inside = tmp_path / "context"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "up").symlink_to("../outside")
    (inside / "root").symlink_to("/")
    root = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
    try:
        tree = LocalTree(root, str(inside))
        for source in ("link", "up", "../outside", "root/../outside", "/../../outside"):
            for readonly in (True, False):
                with pytest.raises(CarboyError):
                    workbench.run(
                        "cat /m",
                        mounts=(MountedTree(target="/m", local=tree, source=source, readonly=readonly),),
                    )
        mount = MountedTree(target="/m", local=tree, source="root", readonly=False)
        assert "context" not in workbench.printed("ls /m; touch /m/made", mounts=(mount,))
    finally:
        os.close(root)
    hostile = workbench.add(
        tar_of({"etc/x": b""}, links={"host": "/", "up": "../../../..", "abs": "/etc/passwd"})
    )
    text = workbench.printed("ls /m", mounts=(MountedTree(target="/m", layers=(hostile,), source="host"),))
    assert text.split() == ["abs", "etc", "host", "up"]
    with pytest.raises(NotFound):
        workbench.run("true", mounts=(MountedTree(target="/m", layers=(hostile,), source="abs"),))
    assert outside.read_text() == "sentinel"


def test_targets_that_are_links_stay_inside(workbench: Workbench, tmp_path: Path) -> None:
    """buildkit 2024-23652: the clean-up of a mount point must not reach the host through a link."""
    sentinel = tmp_path / "sentinel"
    sentinel.mkdir()
    other = workbench.add(tar_of({"a": b"1"}))
    hostile = workbench.add(tar_of({"d/keep": b""}, links={"evil": str(sentinel), "var": "../../d"}))
    layers = (workbench.base, hostile)
    mounts = (
        MountedTree(target="/evil/sub", layers=(other,)),
        MountedTree(target="/var/sub", layers=(other,)),
    )
    done = workbench.run("cat /evil/sub/a /d/sub/a; echo mine > /d/mine", layers=layers, mounts=mounts)
    assert list(workbench.members(done.layer)) == ["d", "d/mine"]
    assert not list(sentinel.iterdir())


def test_caches_stay_and_never_enter(workbench: Workbench) -> None:
    mount = MountedCache(target="/root/.cache/pip", id="pip-one", mode=0o750, uid=5, gid=6)
    first = workbench.run(
        "stat -c '%a %u %g' /root/.cache/pip > /out; echo kept > /root/.cache/pip/f", mounts=(mount,)
    )
    assert workbench.content(first.layer, "out") == b"750 5 6\n"
    assert list(workbench.members(first.layer)) == ["out"]
    assert workbench.printed("cat /root/.cache/pip/f", mounts=(mount,)) == "kept\n"
    assert workbench.printed("ls /c", mounts=(MountedCache(target="/c", id="other"),)) == ""


def test_caches_are_filled_once(workbench: Workbench) -> None:
    other = workbench.add(tar_of({"start/a": b"1"}))
    mount = MountedCache(target="/c", id="filled", layers=(other,), source="start")
    assert workbench.printed("cat /c/a; echo 2 > /c/a", mounts=(mount,)) == "1"
    assert workbench.printed("cat /c/a", mounts=(mount,)) == "2\n"


@pytest.mark.parametrize("unsafe_id", ["../../../escape", "/etc", "a\0b", "..", "", "x" * 5000])
def test_ids_of_caches_are_only_names(workbench: Workbench, unsafe_id: str) -> None:
    mount = MountedCache(target="/c", id=unsafe_id, source="../../..")
    workbench.run("touch /c/file", mounts=(mount,))
    names = {name.partition(".")[0] for name in os.listdir(workbench.paths.build_cache_mounts)}
    assert all(len(name) == 64 for name in names)


def test_a_locked_cache_is_one_steps_at_a_time(workbench: Workbench) -> None:
    mount = MountedCache(target="/c", id="locked", sharing="locked")
    script = "[ ! -e /c/busy ] && touch /c/busy && sleep 0.2 && rm /c/busy"
    failures: list[BaseException] = []

    def run() -> None:
        try:
            workbench.run(script, mounts=(mount,))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failures


def test_tmpfs(workbench: Workbench) -> None:
    mount = MountedTmpfs(target="/big", size=1 << 20)
    with pytest.raises(StepFailed):
        workbench.run("head -c 2000000 /dev/zero > /big/f", mounts=(mount,))
    assert (
        workbench.run("echo > /big/f; mkdir /tmp/d", mounts=(mount, MountedTmpfs(target="/tmp"))).layer
        is None
    )


def test_secrets_are_never_on_disk(workbench: Workbench) -> None:
    word = "c" + "orrect-horse"
    mount = MountedSecret(target="/run/secrets/key", data=word.encode(), mode=0o440, uid=1000, gid=7)
    both = MountedSecret(target="", data=b"other", env="TOKEN")
    script = (
        "stat -c '%a %u %g %s' /run/secrets/key; cat /run/secrets/key; echo $TOKEN; "
        "grep /run/secrets /proc/mounts | cut -d' ' -f3; ls -d /run/*"
    )
    done = workbench.printed(script, mounts=(mount, both), user="me")
    assert done.split() == ["440", "1000", "7", str(len(word)), word + "other", "tmpfs", "/run/secrets"]
    assert workbench.run("cat /run/secrets/key >/dev/null", mounts=(mount,)).layer is None
    for directory, _, names in os.walk(workbench.home):
        for name in names:
            path = os.path.join(directory, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                assert word.encode() not in Path(path).read_bytes(), path


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a\0b"])
def test_a_secret_that_no_variable_can_hold(workbench: Workbench, data: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"secret.*TOKEN.*mount it as a file"):
        workbench.run("true", mounts=(MountedSecret(target="", data=data, env="TOKEN"),))
    assert workbench.printed("wc -c < /s", mounts=(MountedSecret(target="/s", data=data),)).strip() == str(
        len(data)
    )


def test_an_agent_is_reached_by_whom_it_is_for(workbench: Workbench, tmp_path: Path) -> None:
    path = str(tmp_path / "agent")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen()
    asked: list[bytes] = []

    def serve() -> None:
        for _ in range(1):
            client, _address = listener.accept()
            with client:
                asked.append(client.recv(100))
                client.sendall(b"answer")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        mount = MountedAgent(target="/run/buildkit/ssh_agent.0", socket=path, uid=1000)
        text = workbench.printed(
            "echo $SSH_AUTH_SOCK; stat -c '%F %a %u' $SSH_AUTH_SOCK", mounts=(mount,), user="me"
        )
        assert text == "/run/buildkit/ssh_agent.0\nsocket 600 1000\n"
        # busybox has no program for unix sockets: ask the relay itself
        from carboy.engine.building.agents import AgentRelay

        relay = AgentRelay(str(tmp_path), "relay", path, mode=0o600, uid=0, gid=0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(relay.path)
            client.sendall(b"question")
            assert client.recv(100) == b"answer"
            assert client.recv(100) == b""
        relay.close()
        assert asked == [b"question"]
    finally:
        thread.join(5)
        listener.close()


@pytest.mark.parametrize("target", ["/", "/proc/self", "/proc", "/a/..", "/x/../proc/sys"])
def test_places_where_nothing_is_mounted(workbench: Workbench, target: str) -> None:
    with pytest.raises(InvalidArgument, match="--mount"):
        workbench.run("true", mounts=(MountedTmpfs(target=target),))


def test_what_a_program_puts_beside_a_mount_point_is_its_own(workbench: Workbench) -> None:
    other = workbench.add(tar_of({"a": b"1"}))
    mount = MountedTree(target="/opt/app/data", layers=(other,))
    done = workbench.run("echo > /opt/app/mine; mkdir /opt/other", mounts=(mount,))
    assert list(workbench.members(done.layer)) == ["opt", "opt/app", "opt/app/mine", "opt/other"]
