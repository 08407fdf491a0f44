"""Images that want out: every row of the security table that an image can try, through the engine.

The judge is the host: a sentinel directory next to the daemon's home, the interpreter's own
bytes, and what the program inside sees.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.commands import until
from support.daemon import Daemon, RequestError, _running, busybox_tar

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon made under a careless umask."""
    before = os.umask(0)
    try:
        yield from _running()
    finally:
        os.umask(before)


@pytest.fixture
def sentinel() -> Iterator[Path]:
    """A host directory that images point at: nobody may read, change or add anything."""
    with tempfile.TemporaryDirectory(prefix="carboy-sentinel-") as path:
        home = Path(path)
        (home / "secret").write_text("SECRET")
        (home / "secret").chmod(0o600)
        before = snapshot(home)
        yield home
        assert snapshot(home) == before


def snapshot(home: Path) -> list[tuple[str, int, int, bytes]]:
    return sorted(
        (str(path), path.lstat().st_mode, path.lstat().st_uid, path.read_bytes() if path.is_file() else b"")
        for path in [home, *home.rglob("*")]
    )


def rootfs(*, without: tuple[str, ...] = (), members: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    """The busybox tree, some names left out, some hostile members added."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(busybox_tar())) as source,
        tarfile.open(fileobj=out, mode="w") as target,
    ):
        for member in source.getmembers():
            if member.name not in without and not member.name.startswith(tuple(f"{w}/" for w in without)):
                target.addfile(member, source.extractfile(member) if member.isreg() else None)
        for member in members:
            data = member.data if isinstance(member, File) else b""
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))
    return out.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return info


class File(tarfile.TarInfo):
    """A regular member with its contents."""

    data = b""


def regular(name: str, data: bytes, mode: int = 0o644) -> tarfile.TarInfo:
    info = File(name)
    info.mode = mode
    info.data = data
    return info


def special(name: str, kind: bytes, device: tuple[int, int] = (0, 0), mode: int = 0o666) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, (info.devmajor, info.devminor) = kind, mode, device
    return info


class Image:
    """An image of one test, and containers of it."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def make(self, tar: bytes, **config: Any) -> None:
        """Import it with a config, the way a hostile `load` would bring it."""
        layer = hashlib.sha256(tar).hexdigest()
        document = {
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        }  # fmt: skip
        text = json.dumps(document).encode()
        manifest = [{"Config": "c.json", "RepoTags": ["hostile:1"], "Layers": ["l.tar"]}]
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, data in (
                ("c.json", text),
                ("l.tar", tar),
                ("manifest.json", json.dumps(manifest).encode()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        self.daemon.request("POST", "/images/load?quiet=1", out.getvalue())

    def run(self, *command: str, host: dict[str, Any] | None = None, **config: Any) -> tuple[int, str]:
        """Exit code and output; RequestError when it does not start."""
        code, out, err = self.daemon.run_container(*command, host=host, Image="hostile:1", **config)
        return code, (out + err).decode(errors="replace")

    def attempt(self, *command: str, **more: Any) -> tuple[int, str] | RequestError:
        """Like run; a refusal is a result, too."""
        try:
            return self.run(*command, **more)
        except RequestError as error:
            return error

    def create(self, *command: str, host: dict[str, Any] | None = None, **config: Any) -> str:
        return self.daemon.create(
            *command, host={"NetworkMode": "none", **(host or {})}, Image="hostile:1", **config
        )


@pytest.fixture
def image(daemon: Daemon) -> Iterator[Image]:
    yield Image(daemon)
    daemon.remove_all()
    for volume in daemon.get("/volumes")["Volumes"] or []:
        daemon.request("DELETE", f"/volumes/{volume['Name']}")


def test_state_directories_are_closed_whatever_the_umask(daemon: Daemon, image: Image) -> None:
    image.make(busybox_tar(), Volumes={"/data": {}})
    container = image.create("sleep", "100")
    daemon.post(f"/containers/{container}/start")
    for directory in (daemon.root, daemon.run):
        assert os.stat(directory).st_mode & 0o066 == 0, directory
        for path, names, files in os.walk(directory):
            if path.endswith("/_data") or "/upper" in path or "/tree" in path:
                names.clear()
                continue
            for name in [*names, *files]:
                mode = os.lstat(f"{path}/{name}").st_mode
                if name not in ("_data", "upper") and not stat.S_ISLNK(mode):
                    # The group of the socket is the administrator's choice; nobody else gets in.
                    open_to_group = 0o002 if stat.S_ISSOCK(mode) else 0o022
                    assert mode & open_to_group == 0, (path, name, oct(mode))
    assert os.stat(daemon.socket).st_mode & 0o007 == 0


@pytest.mark.parametrize(
    "path", ["/proc", "/proc/", "/proc/self", "/proc/1/attr", "/proc/../proc/sys", "//proc"]
)
def test_a_volume_of_an_image_over_proc_is_refused(image: Image, path: str) -> None:
    image.make(busybox_tar(), Volumes={path: {}})
    with pytest.raises(RequestError, match="/proc"):
        image.run("true")
    assert not image.daemon.get("/volumes")["Volumes"]
    assert not image.daemon.get("/containers/json?all=1")


def test_a_working_directory_is_never_a_descriptor_of_the_host(image: Image) -> None:
    for number in range(3, 21):
        image.make(busybox_tar(), WorkingDir=f"/proc/self/fd/{number}")
        with pytest.raises(RequestError):
            code, seen = image.run("sh", "-c", "ls ../../../..; pwd")
            raise AssertionError(f"{number}: {code}, {seen}")


def test_exec_has_no_working_directory_on_the_host(daemon: Daemon, image: Image) -> None:
    image.make(busybox_tar())
    container = image.create("sleep", "100")
    daemon.post(f"/containers/{container}/start")
    for number in range(3, 21):
        for path in (f"/proc/self/fd/{number}", f"/proc/1/fd/{number}", f"/proc/thread-self/fd/{number}/.."):
            body = {"Cmd": ["cat", "etc/passwd"], "AttachStdout": True, "WorkingDir": path}
            one = daemon.post(f"/containers/{container}/exec", body)["Id"]
            with pytest.raises(RequestError):
                daemon.post(f"/exec/{one}/start", {"Detach": True})
            assert daemon.get(f"/exec/{one}/json")["ExitCode"] in (126, 127)


def test_an_entrypoint_that_is_the_interpreter_changes_nothing(image: Image) -> None:
    def digest() -> str:
        return hashlib.sha256(Path(os.path.realpath(sys.executable)).read_bytes()).hexdigest()

    before = digest()
    script = b"#!/proc/self/exe\nopen('/proc/self/exe','r+b').write(b'x')\n"
    image.make(rootfs(members=(regular("evil", script, 0o755),)), Entrypoint=["/evil"])
    image.attempt("-c", "print(1)")
    image.make(busybox_tar(), Entrypoint=["/proc/self/exe"])
    image.attempt("sh", "-c", "echo x >> /proc/self/exe")
    script = b"for p in /proc/[0-9]*; do echo x > $p/exe; done; echo x > /proc/1/exe; true\n"
    image.make(busybox_tar())
    container = image.create("sh", "-c", script.decode() + "sleep 100")
    image.daemon.post(f"/containers/{container}/start")
    for _ in range(20):
        body = {"Cmd": ["sh", "-c", script.decode()]}
        one = image.daemon.post(f"/containers/{container}/exec", body)["Id"]
        image.daemon.post(f"/exec/{one}/start", {"Detach": True})
    assert digest() == before


@pytest.mark.parametrize("kind", ["symlink", "fifo", "huge", "directory", "device", "binary"])
def test_account_files_may_be_anything(image: Image, sentinel: Path, kind: str) -> None:
    huge = b"x:x:1:1:::\n" * (1 << 20)
    binary = b"\xff\0:::\n" * 1000 + b":" * 100000 + b"\na:b:c:d\n" + b"9" * 100000

    def fake(name: str) -> tarfile.TarInfo:
        match kind:
            case "symlink":
                return link(name, f"{sentinel}/secret")
            case "fifo":
                return special(name, tarfile.FIFOTYPE)
            case "directory":
                return special(name, tarfile.DIRTYPE, mode=0o755)
            case "device":
                return special(name, tarfile.CHRTYPE, (1, 5))
            case _:
                return regular(name, huge if kind == "huge" else binary)

    names = ("etc/passwd", "etc/group")
    image.make(rootfs(without=names, members=tuple(fake(name) for name in names)))
    # Not `id`, which reads the files itself.
    assert image.run("grep", "Uid", "/proc/self/status") == (0, "Uid:\t0\t0\t0\t0\n")
    assert image.run("grep", "Uid", "/proc/self/status", User="7")[1] == "Uid:\t7\t7\t7\t7\n"
    with pytest.raises(RequestError, match="no matching entries in passwd file"):
        image.run("id", User="nosuch")


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("1", "1 0"), ("1:1", "1 1"), (":1", "0 1"), ("1:", "1 0"), ("0001", "1 0"), ("me", "1000 1000"),
        ("me:1", "1000 1"), ("1000", "1000 1000"), ("", "0 0"), ("55", "55 0"),
    ],
)  # fmt: skip
def test_users_are_who_they_say(image: Image, user: str, ids: str) -> None:
    passwd = b"root:x:0:0::/:\n55:x:0:0::/:\nme:x:1000:1000::/:\nover:x:4294967296:0::/:\n"
    image.make(rootfs(without=("etc/passwd",), members=(regular("etc/passwd", passwd),)), User=user)
    assert image.run("sh", "-c", "echo $(id -u) $(id -g)")[1].strip() == ids


@pytest.mark.parametrize(
    "user", ["4294967296", "-1", "4294967295", "1:4294967296", "1:-1", "over", "1:2:3", "\n0", "0\0"]
)
def test_users_that_wrap_around_are_refused(image: Image, user: str) -> None:
    passwd = b"root:x:0:0::/:\nover:x:4294967296:0::/:\n"
    image.make(rootfs(without=("etc/passwd",), members=(regular("etc/passwd", passwd),)), User=user)
    with pytest.raises(RequestError) as error:
        image.run("id")
    assert error.value.status == 400, error.value


def test_groups_capabilities_and_descriptors_inside(daemon: Daemon, image: Image) -> None:
    image.make(busybox_tar(), User="me")
    script = "id -G; grep CapInh /proc/self/status; ls /proc/self/fd | tr '\\n' ' '"
    seen = "1000 2000\nCapInh:\t0000000000000000\n0 1 2 3 "  # 3 is the directory that ls reads
    assert image.run("sh", "-c", script) == (0, seen)
    assert image.run("sh", "-c", "id -G", User="me:me")[1] == "1000\n"
    assert image.run("sh", "-c", "id -G", User="9")[1] == "0\n"
    assert image.run("sh", "-c", "id -G", User="9", host={"GroupAdd": ["77", "extra"]})[1] == "0 77 2000\n"
    container = image.create("sh", "-c", "read x; cat /tmp/out", OpenStdin=True)
    daemon.post(f"/containers/{container}/start")
    one = daemon.post(
        f"/containers/{container}/exec", {"Cmd": ["sh", "-c", f"({script}) > /tmp/o; mv /tmp/o /tmp/out"]}
    )["Id"]
    daemon.post(f"/exec/{one}/start", {"Detach": True})
    text = Path(f"/proc/{daemon.get(f'/containers/{container}/json')['State']['Pid']}/root/tmp/out")
    until(text.exists)
    assert text.read_text() == seen


@pytest.mark.parametrize(
    "name", ["proc", "sys", "dev", "etc", "etc/resolv.conf", "etc/hosts", "etc/hostname", "tmp"]
)
@pytest.mark.parametrize("absolute", [True, False])
def test_mount_points_that_are_links_stay_inside(
    image: Image, sentinel: Path, name: str, absolute: bool
) -> None:
    target = f"{sentinel}" if absolute else "../" * 20 + str(sentinel)[1:]
    if name.startswith("etc/"):
        target += "/secret"
    image.make(rootfs(without=(name,), members=(link(name, target),)))
    assert "SECRET" not in str(image.attempt("sh", "-c", f"cat {sentinel}/secret; cat /etc/passwd /{name}"))


@pytest.mark.parametrize(
    "name",
    [
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "console",
        "ptmx",
        "pts",
        "shm",
        "mqueue",
        "fd",
        "core",
    ],
)
def test_the_images_own_dev_does_not_count(image: Image, sentinel: Path, name: str) -> None:
    image.make(rootfs(members=(link(f"dev/{name}", f"{sentinel}/secret"),)))
    for tty in (False, True):
        code, seen = image.run("sh", "-c", f"cat /dev/{name} < /dev/null | head -c 10; echo; true", Tty=tty) \
            if name not in ("zero", "full", "random", "urandom", "tty", "console", "ptmx") \
            else image.run("sh", "-c", f"test -c /dev/{name} || test {name} = console", Tty=tty)  # fmt: skip
        assert code == 0, seen
        assert "SECRET" not in seen


def test_masked_paths_are_not_redirected_by_the_images_null(image: Image) -> None:
    image.make(rootfs(members=(link("dev/null", "/proc/sys/kernel/core_pattern"),)))
    before = Path("/proc/sys/kernel/core_pattern").read_bytes()
    code, seen = image.run(
        "sh",
        "-c",
        "(echo evil > /proc/kcore; echo evil > /proc/sys/kernel/core_pattern) 2>&-;"
        "cat /proc/keys /proc/timer_list 2>&- | wc -c",
    )
    assert (code, seen) == (0, "0\n"), seen
    assert Path("/proc/sys/kernel/core_pattern").read_bytes() == before


def test_volumes_of_images_copy_only_what_is_the_images(image: Image, sentinel: Path) -> None:
    """containerd CVE-2022-23648: VOLUME with dots or links must not copy the host's files."""
    up = "../" * 20
    hostile = (
        link("abs", str(sentinel)), link("rel", up + str(sentinel)[1:]), link("loop", "loop"),
        special("data", tarfile.DIRTYPE, mode=0o755), link("data/l", str(sentinel)), regular("data/f", b"hi"),
        special("data/fifo", tarfile.FIFOTYPE), special("data/dev", tarfile.CHRTYPE, (1, 3)),
        regular("data/setuid", b"x", 0o4755),
    )  # fmt: skip
    tar = rootfs(members=hostile)
    for path in ("/abs", "/rel", f"/{up}{sentinel}", f"{sentinel}", "/abs/../abs", "/data/l", "/loop"):
        image.make(tar, Volumes={path: {}})
        seen = image.attempt("sh", "-c", f"ls -lR {path}; cat {path}/secret; true")
        assert not isinstance(seen, RequestError) or seen.status < 500, seen
        assert "SECRET" not in str(seen), path
    image.make(tar, Volumes={"/data": {}})
    assert image.run("sh", "-c", "ls -A /data | tr '\\n' ' '; cat /data/f")[1] == "f l setuid hi"


def test_a_create_that_fails_leaves_no_volume(image: Image) -> None:
    image.make(rootfs(members=(link("loop", "loop"),)), Volumes={"/loop": {}, "/data": {}, "/tmp": {}})
    with pytest.raises(RequestError) as error:
        image.run("true")
    assert error.value.status == 400
    assert not image.daemon.get("/volumes")["Volumes"]
    assert not image.daemon.get("/containers/json?all=1")
    assert not os.listdir(f"{image.daemon.root}/containers")


def test_the_image_sees_no_path_of_the_host(daemon: Daemon, image: Image) -> None:
    image.make(busybox_tar())
    seen = image.run("sh", "-c", "cat /proc/self/mountinfo /proc/self/mounts; cat /proc/1/cgroup")[1]
    roots = [line.split()[3] for line in seen.splitlines() if " - " in line]
    assert len(roots) > 5
    for line in seen.splitlines():
        # The three files that are bound from the container's own directory, as with Docker.
        assert daemon.home not in line or line.split()[4] in (
            "/etc/hosts",
            "/etc/hostname",
            "/etc/resolv.conf",
        ), line
    assert len([line for line in seen.splitlines() if " - overlay " in line]) == 1


def test_the_daemon_is_out_of_reach(daemon: Daemon, image: Image) -> None:
    image.make(busybox_tar())
    script = (
        "cat /proc/net/unix; for f in $(find / -xdev -type s 2>/dev/null); do echo socket $f; done;"
        f"ls {daemon.run} {daemon.root}"
    )
    for mode in ("none", "bridge", "host"):
        seen = image.run("sh", "-c", script, host={"NetworkMode": mode})[1]
        assert "socket " not in seen
        for line in seen.splitlines():
            # An abstract name would be reachable from a container on the host's network.
            assert not (line.split()[-1:] and line.split()[-1].startswith("@") and "carboy" in line), line


def test_labels_of_images_are_only_labels(daemon: Daemon, image: Image) -> None:
    hostile = {
        "containerd.io/restart.loguri": "binary:///bin/sh?-c=touch", "io.carboy.restart": "always", "": "x",
        "com.docker.volume.anonymous": "", "a" * 10000: "b" * 100000, "new\nline": "\x1b[2J", "\0": "\0",
    }  # fmt: skip
    image.make(busybox_tar(), Labels=hostile)
    assert image.run("true")[0] == 0
    container = image.create("true")
    assert daemon.get(f"/containers/{container}/json")["Config"]["Labels"] == hostile


@pytest.mark.parametrize(
    "config",
    [
        {"Env": ["A", "=b", "", "X=" + "y" * 100000]}, {"Env": ["A\0B=c"]},
        {"Env": [f"V{n}=1" for n in range(50000)]},
        {"Entrypoint": [""]}, {"Cmd": ["a\0b"]}, {"Cmd": ["x"] * 200000}, {"Shell": [""]},
        {"User": "x" * 100000},
        {"StopSignal": "SIGFOO"}, {"StopSignal": "-9"}, {"StopSignal": "RTMIN+\u00b2"},
        {"ExposedPorts": {"99999/tcp": {}, "x": {}, "../": {}}},
        {"WorkingDir": "../../x"}, {"WorkingDir": "/" + "a" * 5000}, {"WorkingDir": "/x\0y"},
        {"WorkingDir": "/a/../../b"}, {"WorkingDir": "/loop"},
        {"Healthcheck": {"Test": ["CMD", "x"], "Interval": -1}},
        {"Volumes": {"": {}}}, {"Volumes": {"rel": {}}}, {"Volumes": {"/etc:/x": {}}}, {"Volumes": {"/": {}}},
        {"Volumes": {"/dev": {}}}, {"Volumes": {"/sys": {}}}, {"Volumes": {f"/v{n}": {} for n in range(300)}},
    ],
)  # fmt: skip
def test_configs_of_images_never_break_the_daemon(image: Image, config: dict[str, Any]) -> None:
    """Refused with a reason, or run: never a bug's 500, and nothing of the host."""
    image.make(rootfs(members=(link("loop", "loop"),)), **config)
    seen = image.attempt("sh", "-c", "cat /x/shadow; pwd")
    if isinstance(seen, RequestError):
        assert "internal error" not in seen.message, seen
        assert seen.message.count("\n") == 0
        assert len(seen.message) < 3000
        assert seen.status == 400 or "OCI runtime" in seen.message, seen
