"""Mounts of containers, asked from inside: every type and option, and what they must not do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carboy.linux import mount as m
from support.daemon import IMAGE, Daemon, RequestError, busybox_tar, daemon, own_daemon

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["daemon", "own_daemon"]


def mounted(daemon: Daemon, script: str, *mounts: dict[str, Any], **host: Any) -> str:
    return daemon.shell(script, host={"Mounts": list(mounts), **host})


def refused(daemon: Daemon, *mounts: dict[str, Any], **host: Any) -> str:
    with pytest.raises(RequestError) as caught:
        container = daemon.create("true", host={"Mounts": list(mounts), "NetworkMode": "none", **host})
        try:
            daemon.post(f"/containers/{container}/start")
        finally:
            daemon.request("DELETE", f"/containers/{container}?force=1&v=1")
    assert caught.value.status in (400, 404), caught.value
    return caught.value.message


@contextlib.contextmanager
def tmpfs(path: Path, *, propagation: int = m.MS_PRIVATE) -> Iterator[Path]:
    """A tmpfs of the host at `path`."""
    path.mkdir(exist_ok=True)
    m.mount("tmpfs", str(path), "tmpfs", 0)
    m.mount(None, str(path), None, propagation)
    try:
        yield path
    finally:
        m.umount2(str(path), m.MNT_DETACH)


# -- bind


def test_read_only_binds_are_read_only_all_the_way_down(daemon: Daemon, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "below"):
        for how in ({"Binds": [f"{tmp_path}:/b:ro"]}, {"Binds": [f"{tmp_path}:/b:rro"]}):
            assert daemon.shell("touch /b/x /b/below/x 2>/dev/null; ls /b /b/below", host=how).split() == [
                "/b:",
                "below",
                "/b/below:",
            ]
        plain = {"Type": "bind", "Source": str(tmp_path), "Target": "/b", "ReadOnly": True}
        script = "touch /b/below/x 2>/dev/null && echo wrote; ls /b/below"
        assert mounted(daemon, script, plain) == ""
        assert mounted(daemon, script, {**plain, "BindOptions": {"ReadOnlyForceRecursive": True}}) == ""
        assert mounted(daemon, script, {**plain, "BindOptions": {"NonRecursive": True}}) == ""
        (tmp_path / "below" / "seen").touch()
        assert mounted(daemon, "ls /b/below", {**plain, "BindOptions": {"NonRecursive": True}}) == ""
        shown = mounted(daemon, script, {**plain, "BindOptions": {"ReadOnlyNonRecursive": True}})
        assert shown.split() == ["wrote", "seen", "x"]


def test_propagation_into_and_out_of_a_container(daemon: Daemon, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "top", propagation=m.MS_SHARED) as top:
        (top / "in").mkdir()
        for mode, sees in (("rslave", True), ("rshared", True), ("rprivate", False)):
            container = daemon.create(
                "sleep", "60", host={"Binds": [f"{top}:/b:{mode}"], "NetworkMode": "none"}
            )
            daemon.post(f"/containers/{container}/start")
            try:
                pid = daemon.get(f"/containers/{container}/json")["State"]["Pid"]
                with tmpfs(top / "in"):
                    (top / "in" / "file").touch()
                    assert Path(f"/proc/{pid}/root/b/in/file").exists() is sees, mode
            finally:
                daemon.request("DELETE", f"/containers/{container}?force=1")
        script = "mount -t tmpfs tmpfs /b/in && touch /b/in/made && sleep 0"
        daemon.shell(script, host={"Binds": [f"{top}:/b:rshared"], "Privileged": True})
        assert (top / "in" / "made").exists()
        m.umount2(str(top / "in"), m.MNT_DETACH)
        daemon.shell(script, host={"Binds": [f"{top}:/b:rslave"], "Privileged": True})
        assert not (top / "in" / "made").exists()


def test_a_mountpoint_is_created_only_when_asked_for(daemon: Daemon, tmp_path: Path) -> None:
    mount = {"Type": "bind", "Source": f"{tmp_path}/new", "Target": "/b"}
    assert "bind source path does not exist" in refused(daemon, mount)
    mounted(daemon, "true", {**mount, "BindOptions": {"CreateMountpoint": True}})
    assert (tmp_path / "new").is_dir()


def test_a_file_can_be_bound_and_consistency_is_nothing(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    mount = {"Type": "bind", "Source": f"{tmp_path}/file", "Target": "/a/b", "Consistency": "cached"}
    assert mounted(daemon, "cat /a/b", mount) == "text"


@pytest.mark.parametrize(
    ("mount", "text"),
    [
        ({"Type": "bind", "Source": "/a", "Target": ""}, "field Target must not be empty"),
        ({"Type": "bind", "Target": "/b"}, "field Source must not be empty"),
        ({"Type": "bind", "Source": "/a", "Target": "/"}, "destination can't be '/'"),
        ({"Type": "bind", "Source": "/a", "Target": "b"}, "mount path must be absolute"),
        (
            {"Type": "bind", "Source": "/tmp", "Target": "/b", "VolumeOptions": {"NoCopy": True}},
            "VolumeOptions",
        ),
        (
            {"Type": "bind", "Source": "/tmp", "Target": "/b", "BindOptions": {"Propagation": "rslave,rw"}},
            "invalid propagation mode",
        ),
        (
            {
                "Type": "bind",
                "Source": "/tmp",
                "Target": "/b",
                "BindOptions": {"ReadOnlyForceRecursive": True},
            },
            "needs a read-only mount",
        ),
        ({"Type": "volume", "Target": "/b", "ReadOnly": True}, "must not set ReadOnly mode"),
        ({"Type": "volume", "Target": "/b", "VolumeOptions": {"Subpath": "x"}}, "must not set Subpath"),
        (
            {"Type": "volume", "Source": "vv", "Target": "/b", "VolumeOptions": {"Subpath": "../x"}},
            "subpath must be a relative path",
        ),
        ({"Type": "tmpfs", "Source": "x", "Target": "/b"}, "field Source must not be specified"),
        ({"Type": "image", "Source": "absent:1", "Target": "/b"}, "o such image"),
        ({"Type": "volume", "Source": "../etc", "Target": "/b"}, "includes invalid characters"),
    ],
)
def test_what_makes_no_sense_is_refused(daemon: Daemon, mount: dict[str, Any], text: str) -> None:
    assert text in refused(daemon, mount)


def test_a_propagation_cannot_smuggle_options(daemon: Daemon) -> None:
    # buildah CVE-2024-9407: `bind-propagation=rslave,suid` and the like.
    for word in ("rshared,rw", "rw", "", "shared rw", "bind"):
        if word:
            mount = {
                "Type": "bind",
                "Source": "/tmp",
                "Target": "/b",
                "BindOptions": {"Propagation": word},
            }
            assert "invalid propagation mode" in refused(daemon, mount)


# -- volumes


def test_volumes_subpaths_nocopy_and_labels(daemon: Daemon) -> None:
    daemon.make_image("volumes:1", busybox_tar({"data/deep/file": (0o644, b"image's")}))
    base = {"Type": "volume", "Source": "vol-a", "Target": "/data"}
    empty = {**base, "Source": "vol-b", "VolumeOptions": {"NoCopy": True, "Labels": {"a": "b"}}}
    assert mounted(daemon, "ls /data", empty) == ""
    assert daemon.get("/volumes/vol-b")["Labels"] == {"a": "b"}
    code, out, err = daemon.run_container(
        "cat", "/data/deep/file", host={"Mounts": [base]}, Image="volumes:1"
    )
    assert (code, out) == (0, b"image's"), err
    part = {**base, "Target": "/p", "VolumeOptions": {"Subpath": "deep"}}
    file = {**base, "Target": "/f", "VolumeOptions": {"Subpath": "deep/file"}}
    assert mounted(daemon, "cat /p/file /f", part, file) == "image'simage's"
    assert "cannot use its part" in refused(daemon, {**base, "VolumeOptions": {"Subpath": "absent"}})
    for name in ("vol-a", "vol-b"):
        daemon.request("DELETE", f"/volumes/{name}")


def test_a_subpath_that_is_a_link_stays_in_the_volume(daemon: Daemon) -> None:
    mounted(daemon, "ln -s /etc /v/out; ln -s ../../../../etc /v/up; mkdir /v/etc; echo in > /v/etc/hostname",
            {"Type": "volume", "Source": "vol-l", "Target": "/v"})  # fmt: skip
    for name in ("out", "up"):
        mount = {"Type": "volume", "Source": "vol-l", "Target": "/p", "VolumeOptions": {"Subpath": name}}
        assert mounted(daemon, "cat /p/hostname", mount) == "in\n"
    daemon.request("DELETE", "/volumes/vol-l")


def test_anonymous_volumes_go_with_rm(daemon: Daemon) -> None:
    before = {one["Name"] for one in daemon.get("/volumes")["Volumes"]}
    mount = {"Type": "volume", "Target": "/m"}
    container = daemon.create(
        "true", host={"AutoRemove": True, "Mounts": [mount], "NetworkMode": "none"}, Volumes={"/v": {}}
    )
    assert len(daemon.get(f"/containers/{container}/json")["Mounts"]) == 2
    daemon.post(f"/containers/{container}/start")
    with contextlib.suppress(RequestError):
        daemon.wait(container, "removed")
    assert {one["Name"] for one in daemon.get("/volumes")["Volumes"]} == before


def test_volumes_from_another_container(daemon: Daemon, tmp_path: Path) -> None:
    donor = daemon.create("true", name="donor", host={"Binds": [f"{tmp_path}:/b", "vol-f:/v:ro"]})
    script = "touch /b/made && echo b; touch /v/made 2>/dev/null && echo v; true"
    assert daemon.shell(script, host={"VolumesFrom": ["donor"]}) == "b\n"
    assert daemon.shell(script, host={"VolumesFrom": ["donor:ro"]}) == ""
    for text in ("donor:rslave", "donor:nocopy", "donor:x"):
        assert "invalid mode" in refused(daemon, VolumesFrom=[text])
    daemon.request("DELETE", f"/containers/{donor}?v=1")
    daemon.request("DELETE", "/volumes/vol-f")


def test_volumes_of_the_local_driver_with_options(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("bound")
    bound = {"type": "none", "o": "bind,ro", "device": str(tmp_path)}
    made = daemon.post("/volumes/create", {"Name": "vol-bound", "DriverOpts": bound})
    assert made["Options"] == bound
    script = "cat /v/file; touch /v/x 2>/dev/null && echo wrote; true"
    assert daemon.shell(script, host={"Binds": ["vol-bound:/v"]}) == "bound"
    in_memory = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"}
    daemon.post("/volumes/create", {"Name": "vol-tmp", "DriverOpts": in_memory})
    holder = daemon.create("sleep", "60", host={"Binds": ["vol-tmp:/v"], "NetworkMode": "none"})
    daemon.post(f"/containers/{holder}/start")
    place = daemon.get("/volumes/vol-tmp")["Mountpoint"]
    assert os.path.ismount(place)
    text = daemon.shell(
        "stat -c %u /v; df -k /v | tail -n 1; touch /v/shared", host={"Binds": ["vol-tmp:/v"]}
    )
    assert text.startswith("1000\n")
    assert " 1024 " in text
    pid = daemon.get(f"/containers/{holder}/json")["State"]["Pid"]
    assert Path(f"/proc/{pid}/root/v/shared").exists()
    daemon.request("DELETE", f"/containers/{holder}?force=1")
    assert not os.path.ismount(place)
    mount = {
        "Type": "volume",
        "Source": "vol-made",
        "Target": "/v",
        "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": in_memory}},
    }
    assert " 1024 " in mounted(daemon, "df -k /v | tail -n 1", mount)
    for name in ("vol-bound", "vol-tmp", "vol-made"):
        daemon.request("DELETE", f"/volumes/{name}")
    assert (tmp_path / "file").read_text() == "bound"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"foo": "1"}, 'invalid option: "foo"'),
        ({"type": "tmpfs"}, 'missing required option: "device"'),
        ({"type": "tmpfs", "device": "tmpfs", "size": "1g"}, "no quota support"),
        ({"type": "none", "device": "/tmp", "o": "bind,remount"}, "invalid option"),
    ],
)
def test_options_that_the_local_driver_refuses(daemon: Daemon, options: dict[str, str], text: str) -> None:
    with pytest.raises(RequestError, match="400") as caught:
        daemon.post("/volumes/create", {"Name": "never", "DriverOpts": options})
    assert text in caught.value.message


def test_a_volume_that_cannot_be_mounted_is_told(daemon: Daemon) -> None:
    options = {"type": "nonsense", "device": "x"}
    daemon.post("/volumes/create", {"Name": "vol-bad", "DriverOpts": options})
    assert "failed to mount local volume" in refused(daemon, Binds=["vol-bad:/v"])
    daemon.request("DELETE", "/volumes/vol-bad")


def test_z_is_warned_about(daemon: Daemon, tmp_path: Path) -> None:
    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"Binds": [f"{tmp_path}:/b:z"]}}
    made = daemon.post("/containers/create", body)
    assert any("SELinux" in text for text in made["Warnings"])
    daemon.request("DELETE", f"/containers/{made['Id']}")


# -- tmpfs


def test_tmpfs_size_mode_and_options(daemon: Daemon) -> None:
    mount = {
        "Type": "tmpfs",
        "Target": "/t",
        "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1750, "Options": [["exec"], ["uid", "1000"]]},
    }
    text = mounted(daemon, "stat -c '%a %u' /t; grep ' /t ' /proc/mounts", mount)
    assert text.startswith("1750 1000\n")
    options = text.splitlines()[1].split()[3].split(",")
    assert {"size=1024k", "nosuid", "nodev"} <= set(options)
    assert "noexec" not in options
    text = daemon.shell(
        "stat -c %a /etc /new; touch /ro/x || true",
        host={"Tmpfs": {"/etc": "", "/new": "", "/ro": "ro"}},
    )
    assert text.split() == ["755", "1777"]


# -- images


@pytest.mark.needs_erofs
def test_an_image_can_be_mounted(daemon: Daemon) -> None:
    tar = busybox_tar({"data/deep/file": (0o644, b"image's"), "data/one": (0o600, b"1")})
    daemon.make_image("mounted:1", tar)
    mount = {"Type": "image", "Source": "mounted:1", "Target": "/i"}
    assert mounted(daemon, "cat /i/data/one; touch /i/x 2>/dev/null && echo wrote; true", mount) == "1"
    part = {**mount, "ImageOptions": {"Subpath": "data/deep"}}
    file = {**mount, "Target": "/f", "ImageOptions": {"Subpath": "data/one"}}
    assert mounted(daemon, "ls /i; cat /f", part, file) == "file\n1"
    assert "cannot use" in refused(daemon, {**mount, "ImageOptions": {"Subpath": "absent"}})
    container = daemon.create("true", host={"Mounts": [mount]})
    shown = daemon.get(f"/containers/{container}/json")["Mounts"][0]
    assert (shown["Type"], shown["Source"], shown["RW"]) == ("image", "mounted:1", False)
    with pytest.raises(RequestError, match="409"):
        daemon.request("DELETE", "/images/mounted:1")
    daemon.request("DELETE", f"/containers/{container}")
    daemon.request("DELETE", "/images/mounted:1")


def test_only_shared_mounts_can_be_shared(daemon: Daemon, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "own") as own:
        assert f"is mounted on {own} but it is not a shared mount" in refused(
            daemon, Binds=[f"{own}:/b:shared"]
        )
        assert "but it is not a shared or slave mount" in refused(daemon, Binds=[f"{own}:/b:rslave"])


def test_a_volume_with_links_is_never_filled_through_them(daemon: Daemon, tmp_path: Path) -> None:
    # podman CVE-2020-1726
    (tmp_path / "sentinel").write_text("host's")
    tar = busybox_tar({"data/file": (0o644, b"image's"), "data/inner/file": (0o644, b"image's")})
    daemon.make_image("filled:1", tar)
    mount = {"Type": "volume", "Source": "vol-link", "Target": "/data"}
    mounted(daemon, f"ln -s {tmp_path}/sentinel /data/file; ln -s {tmp_path} /data/inner", mount)
    code, out, _ = daemon.run_container("ls", "-A", "/data", host={"Mounts": [mount]}, Image="filled:1")
    assert (code, out) == (0, b"file\ninner\n")
    assert (tmp_path / "sentinel").read_text() == "host's"
    assert [path.name for path in tmp_path.iterdir()] == ["sentinel"]
    daemon.request("DELETE", "/volumes/vol-link")
    daemon.request("DELETE", "/images/filled:1")


def test_inspect_shows_every_mount(daemon: Daemon, tmp_path: Path) -> None:
    mounts = [
        {"Type": "bind", "Source": str(tmp_path), "Target": "/b", "ReadOnly": True},
        {"Type": "tmpfs", "Target": "/t"},
        {"Type": "volume", "Source": "vol-shown", "Target": "/v"},
    ]
    container = daemon.create("true", host={"Mounts": mounts, "Tmpfs": {"/u": ""}})
    shown = {one["Destination"]: one for one in daemon.get(f"/containers/{container}/json")["Mounts"]}
    assert {place: one["Type"] for place, one in shown.items()} == {
        "/b": "bind",
        "/t": "tmpfs",
        "/v": "volume",
    }
    assert (shown["/b"]["RW"], shown["/b"]["Propagation"]) == (False, "rprivate")
    assert (shown["/v"]["Name"], shown["/v"]["Driver"]) == ("vol-shown", "local")
    daemon.request("DELETE", f"/containers/{container}?v=1")
    daemon.request("DELETE", "/volumes/vol-shown")


def test_mounts_of_volumes_end_with_the_daemon_dead(own_daemon: Daemon) -> None:
    daemon = own_daemon
    options = {"type": "tmpfs", "device": "tmpfs"}
    daemon.post("/volumes/create", {"Name": "vol-t", "DriverOpts": options})
    host = {"Binds": ["vol-t:/v"], "NetworkMode": "none"}
    ended, lives = (daemon.create("sleep", "1000", host=host) for _ in range(2))
    for one in (ended, lives):
        daemon.post(f"/containers/{one}/start")
    place = daemon.get("/volumes/vol-t")["Mountpoint"]
    daemon.kill()
    daemon.start()
    daemon.request("DELETE", f"/containers/{ended}?force=1")
    assert os.path.ismount(place)
    daemon.request("DELETE", f"/containers/{lives}?force=1")
    assert not os.path.ismount(place)
