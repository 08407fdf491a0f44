"""Flags of `carboy run` and `carboy create`, to their end: what the program sees, what stays on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.commands import Home, home
from support.daemon import IMAGE, busybox_tar

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["home"]


def run(home: Home, *arguments: str) -> str:
    """`run --rm --network none` with flags, image and command."""
    return home.text("run", "--rm", "--network", "none", *arguments)


def fails(home: Home, *arguments: str) -> str:
    """What a run prints that Carboy refuses."""
    done = home.run("run", "--rm", *arguments, code=125)
    return done.stderr.decode()


def test_files_of_variables_labels_and_the_id(home: Home, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\n# no\nB=two words\nNOWHERE\n")
    (tmp_path / "labels").write_text("a=1\n# no\nb\n")
    cid = tmp_path / "cid"
    files = ["--env-file", f"{tmp_path}/env", "--label-file", f"{tmp_path}/labels", "--label", "c=3"]
    lines = run(home, *files, "-e", "A=2", IMAGE, "env").splitlines()
    assert {"A=2", "B=two words"} <= set(lines)
    assert not any(line.startswith("NOWHERE") for line in lines)
    container = home.text("create", *files, "--cidfile", str(cid), "--annotation", "x=y", IMAGE, "true")
    assert cid.read_text() == container
    shown = json.loads(home.text("inspect", container))[0]
    assert shown["Config"]["Labels"] == {"a": "1", "b": "", "c": "3"}
    assert shown["HostConfig"]["Annotations"] == {"x": "y"}
    assert "container ID file found" in fails(home, "--cidfile", str(cid), IMAGE, "true")
    home.run("rm", container)
    assert "No such file" in fails(home, "--env-file", "/absent", IMAGE, "true")


def test_mounts_by_flags(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("host's")
    read_only = f"type=bind,src={tmp_path},dst=/m,readonly,bind-recursive=readonly,bind-propagation=rprivate"
    assert run(home, "--mount", read_only, IMAGE, "cat", "/m/file") == "host's"
    tmpfs = "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0750"
    assert run(home, "--mount", tmpfs, IMAGE, "stat", "-c", "%a", "/t") == "750"
    assert (
        run(home, "--tmpfs", "/t:exec,size=64k", IMAGE, "sh", "-c", "df -k /t | tail -n 1").split()[1] == "64"
    )
    volume = "type=volume,src=by-flag,dst=/v,volume-label=a=b,volume-opt=type=tmpfs,volume-opt=device=tmpfs"
    assert "tmpfs" in run(home, "--mount", volume, IMAGE, "df", "/v")
    assert json.loads(home.text("volume", "inspect", "by-flag"))[0]["Labels"] == {"a": "b"}
    home.run("volume", "rm", "by-flag")
    assert (
        run(home, "--mount", f"type=image,src={IMAGE},dst=/i,image-subpath=etc", IMAGE, "ls", "/i")
        == "group\npasswd"
    )
    for wrong, text in (
        ("type=bind,src=/x,dst=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
        ("type=foo,dst=/x", 'invalid mount config for type "foo": mount type unknown'),
        ("type=bind,dst=/x", "field Source must not be empty"),
    ):
        assert text in fails(home, "--mount", wrong, IMAGE, "true")


def test_volumes_from_and_anonymous_volumes(home: Home) -> None:
    donor = home.text("create", "-v", "/data", "-v", "named-v:/named", IMAGE, "true")
    before = home.text("volume", "ls", "-q").split()
    assert len(before) == 2
    run(home, "--volumes-from", donor, IMAGE, "touch", "/data/made", "/named/made")
    assert (
        run(home, "--volumes-from", f"{donor}:ro", "-v", "/gone", IMAGE, "ls", "/data", "/named").count(
            "made"
        )
        == 2
    )
    assert home.text("volume", "ls", "-q").split() == before
    home.run("rm", "-v", donor)
    assert home.text("volume", "ls", "-q") == "named-v"
    home.run("volume", "rm", "named-v")


def test_security_by_flags(home: Home, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    script = "mkdir /x 2>/dev/null || echo refused"
    assert run(home, "--security-opt", f"seccomp={profile}", IMAGE, "sh", "-c", script) == "refused"
    options = ["--security-opt", "systempaths=unconfined", "--security-opt", "no-new-privileges"]
    text = run(
        home,
        *options,
        "--cap-drop",
        "ALL",
        IMAGE,
        "sh",
        "-c",
        "grep -E 'NoNewPrivs|CapBnd' /proc/self/status; grep -c ' /proc/' /proc/mounts; true",
    )
    assert text.split() == ["CapBnd:", "0" * 16, "NoNewPrivs:", "1", "0"]
    assert "opening seccomp profile (/absent) failed" in fails(
        home, "--security-opt", "seccomp=/absent", IMAGE, "true"
    )


def test_sharing_by_flags(home: Home) -> None:
    other = home.detached("--ipc", "shareable", IMAGE, "sleep", "100", name="other")
    joined = ["--ipc", "container:other", "--pid", "container:other"]
    run(home, *joined, IMAGE, "sh", "-c", "echo text > /dev/shm/x")
    assert home.text("exec", other, "cat", "/dev/shm/x") == "text"
    assert "sleep 100" in run(home, *joined, IMAGE, "ps")
    assert home.text("run", "--rm", "--network", "container:other", IMAGE, "ls", "/sys/class/net") == "lo"
    home.run("rm", "-f", other)


def test_an_image_of_another_machine_is_warned_about(home: Home) -> None:
    home.run("import", "--platform", "linux/s390x", "-", "far:1", stdin=busybox_tar())
    done = home.run("run", "--rm", "--network", "none", "far:1", "echo", "ran")
    # It is our own busybox, so it runs; a true one would go through binfmt_misc, or fail to execute.
    assert done.stdout == b"ran\n"
    warning = done.stderr.decode()
    assert (
        "The requested image's platform (linux/s390x) does not match the detected host platform (linux/"
        in warning
    )
    assert "no specific platform was requested" in warning
    assert (
        home.run("run", "--rm", "--network", "none", "--platform", "linux/s390x", "far:1", "true").stderr
        == b""
    )
    assert "does not match the specified platform" in fails(home, "--platform", "linux/s390x", IMAGE, "true")
    home.run("rmi", "far:1")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--gpus", "all"], 'could not select device driver "" with capabilities: [[gpu]]'),
        (["--device", "vendor.com/class=x"], "unresolvable CDI devices vendor.com/class=x"),
        (["--pull", "always"], "pull"),
        (["--pull", "foo"], 'must be one of "always", "missing" or "never"'),
        (["--ip", "10.0.0.9"], "user specified IP address is supported on user defined networks only"),
        (["--network-alias", "x"], "network-scoped aliases are only supported for user-defined networks"),
        (["--network", "nowhere"], "network nowhere not found"),
        (["--link", "absent"], "o such container"),
        (["--runtime", "foo"], "unknown or invalid runtime name: foo"),
        (["--isolation", "hyperv"], "linux only supports 'default'"),
        (["--storage-opt", "size=1g"], "--storage-opt is supported only for overlay over xfs"),
        (["--cpu-count", "1"], "only supported on a Docker daemon running on windows"),
        (["--ipc", "foo"], "nvalid IPC mode: foo"),
        (["--restart", "always"], "cannot specify both --restart and --rm"),
        (["--no-healthcheck", "--health-cmd", "x"], "--no-healthcheck conflicts with --health-* options"),
        (["--volume-driver", "foo", "-v", "x1:/y"], 'plugin "foo" not found'),
    ],
)
def test_what_is_refused(home: Home, arguments: list[str], text: str) -> None:
    assert text in fails(home, *arguments, IMAGE, "true")


def test_the_api_socket(home: Home) -> None:
    text = run(home, "--use-api-socket", IMAGE, "ls", "-l", "/var/run/docker.sock")
    assert text.startswith("s")
