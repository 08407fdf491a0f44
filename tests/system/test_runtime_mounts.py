"""Mounts: kinds, options, propagation, id maps, masks, read-only paths, the root itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.errors import CarboyError
from support.oci import Config, Running, base_config, bind, mount, rootfs, run, use_user_namespace

__all__ = ["rootfs"]
pytestmark = pytest.mark.needs_root


def mountinfo(config: Config, target: str) -> list[str]:
    """The lines of the inside's mountinfo for one mount point, in fields."""
    config["process"]["args"] = ["cat", "/proc/self/mountinfo"]
    return [line for line in run(config).lines() if line.split()[4] == target]


def test_the_root_can_be_read_only(rootfs: Path) -> None:
    config = base_config(rootfs, "sh", "-c", "touch /x || touch /dev/shm/x")
    config["root"]["readonly"] = True
    done = run(config)
    assert (done.code, "Read-only" in done.err) == (0, True)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("private", ""), ("slave", "master:"), ("shared", "shared:"), ("unbindable", "unbindable")],
)
def test_root_propagation(rootfs: Path, word: str, expected: str) -> None:
    config = base_config(rootfs)
    config["linux"]["rootfsPropagation"] = word
    optional = " ".join(mountinfo(config, "/")[0].partition(" - ")[0].split()[6:])
    if word == "slave":
        assert "shared" not in optional  # a slave of nobody is private
    else:
        assert expected in optional
        assert bool(expected) == bool(optional)


def test_binds_of_files_and_directories_are_made_and_written(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    (tmp_path / "dir").mkdir()
    config = base_config(rootfs, "sh", "-c", "cat /new/place/file; echo inside > /data/made")
    config["mounts"] += [bind(tmp_path / "file", "/new/place/file"), bind(tmp_path / "dir", "/data", "rbind")]
    assert run(config).out == "from outside\n"
    assert (tmp_path / "dir/made").read_text() == "inside\n"


def test_a_read_only_bind_refuses_writes(rootfs: Path, tmp_path: Path) -> None:
    config = base_config(rootfs, "touch", "/data/x")
    config["mounts"].append(bind(tmp_path, "/data", "rbind", "ro", "nosuid", "noexec"))
    assert "Read-only" in run(config).err
    options = mountinfo(config, "/data")[0].split()[5].split(",")
    assert {"ro", "nosuid", "noexec"} <= set(options)


def test_recursive_attributes_reach_what_is_mounted_below(rootfs: Path) -> None:
    plain, recursive = base_config(rootfs), base_config(rootfs)
    plain["mounts"].append(bind("/dev", "/mnt", "rbind", "ro"))
    recursive["mounts"].append(bind("/dev", "/mnt", "rbind", "rro"))
    assert mountinfo(plain, "/mnt/pts")[0].split()[5].startswith("rw")
    assert mountinfo(recursive, "/mnt/pts")[0].split()[5].startswith("ro")


def test_a_missing_source_is_named(rootfs: Path) -> None:
    config = base_config(rootfs, "true")
    config["mounts"].append(bind("/nowhere/at/all", "/data"))
    with pytest.raises(CarboyError, match="bind source /nowhere/at/all does not exist"):
        run(config)


def test_tmpfs_options_and_copy_up(rootfs: Path) -> None:
    (rootfs / "var").mkdir(mode=0o750)
    (rootfs / "var/file").write_text("of the image\n")
    (rootfs / "var/link").symlink_to("file")
    os.chown(rootfs / "var/file", 1000, 1000)
    config = base_config(
        rootfs, "sh", "-c", "cat /var/link; stat -c '%a %u' /var /var/file; echo x > /var/new"
    )
    config["mounts"].append(mount("/var", "tmpfs", "tmpcopyup", "size=1m", "mode=700"))
    assert run(config).lines() == ["of the image", "750 0", "644 1000"]
    assert not (rootfs / "var/new").exists()


def test_an_id_mapped_bind_shows_other_owners(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").touch()
    os.chown(tmp_path / "data/file", 1000, 1000)
    config = base_config(rootfs, "stat", "-c", "%u:%g", "/data/file")
    one = bind(tmp_path / "data", "/data", "bind", "idmap")
    one["uidMappings"] = one["gidMappings"] = [{"containerID": 1000, "hostID": 5000, "size": 10}]
    config["mounts"].append(one)
    assert run(config).lines() == ["5000:5000"]


def test_an_id_mapped_bind_takes_the_containers_user_namespace(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o777)
    os.chown(tmp_path / "data", 0, 0)
    (rootfs / "data").mkdir()  # the container's root is nobody to this root filesystem
    config = base_config(rootfs, "sh", "-c", "stat -c %u /data; touch /data/made")
    use_user_namespace(config)
    config["mounts"].append(bind(tmp_path / "data", "/data", "bind", "ridmap"))
    assert run(config).lines() == ["0"]
    assert (tmp_path / "data/made").stat().st_uid == 0


def test_masked_and_read_only_paths(rootfs: Path) -> None:
    script = "cat /proc/kcore | wc -c; ls /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/domainname"
    done = run(base_config(rootfs, "sh", "-c", script))
    assert done.lines() == ["0", "0"]
    assert "Read-only" in done.err


def test_default_devices_and_links(rootfs: Path) -> None:
    script = (
        "for d in null zero full random urandom tty; do stat -c '%t:%T %a' /dev/$d; done; "
        "readlink /dev/fd; readlink /dev/stdin; readlink /dev/ptmx; echo x > /dev/null"
    )
    numbers = ["1:3 666", "1:5 666", "1:7 666", "1:8 666", "1:9 666", "5:0 666"]
    links = ["/proc/self/fd", "/proc/self/fd/0", "pts/ptmx"]
    assert run(base_config(rootfs, "sh", "-c", script)).lines() == [*numbers, *links]


def test_further_devices(rootfs: Path) -> None:
    config = base_config(rootfs, "stat", "-c", "%F %t:%T %a %u:%g", "/dev/deep/mine", "/dev/pipe")
    config["linux"]["devices"] = [
        {
            "path": "/dev/deep/mine",
            "type": "c",
            "major": 10,
            "minor": 229,
            "fileMode": 0o640,
            "uid": 5,
            "gid": 6,
        },
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
    ]
    assert run(config).lines() == ["character special file a:e5 640 5:6", "fifo 0:0 600 0:0"]


@pytest.mark.parametrize("own", [True, False])
def test_cgroups_are_shown_read_only_and_only_its_own(rootfs: Path, own: bool) -> None:
    config = base_config(
        rootfs, "sh", "-c", "cat /sys/fs/cgroup/pids/cgroup.procs; mkdir /sys/fs/cgroup/pids/x"
    )
    config["mounts"].append(mount("/sys/fs/cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev"))
    if not own:
        spaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [one for one in spaces if one["type"] != "cgroup"]
    if not os.path.isdir("/sys/fs/cgroup/pids"):
        pytest.skip("no v1 hierarchy of pids here")
    done = run(config)
    assert done.lines()[0] == "1"
    assert len(done.lines()) <= 2
    assert "Read-only" in done.err


def test_nothing_of_it_is_seen_on_the_host(rootfs: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    with Running(base_config(rootfs, "sleep", "100"), rootfs.parent):
        assert str(rootfs) not in Path("/proc/self/mountinfo").read_text()
    assert str(rootfs) not in before
