"""Archives that lie, explode or never end, through `load` and `import`.

After each the daemon is up, nothing is left of it in the store, its memory has not grown with
the claim, and the answer is a client's error with one line of text.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard

from support.archives import Members, config_of, docker_archive, make_tar, oci_archive
from support.daemon import IMAGE, Daemon, RequestError, _running, demultiplex
from support.tars import Member, directory, file, hardlink, make, symlink

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]

MEMORY = 150 << 20
"""What a hostile archive may cost the daemon at most while it is read."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon without an image."""
    yield from _running()


def peak(daemon: Daemon) -> int:
    """The highest memory of the daemon's process so far."""
    assert daemon.process is not None
    with open(f"/proc/{daemon.process.pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))


def forget_peak(daemon: Daemon) -> int:
    """Start the measurement again; gives the memory now."""
    assert daemon.process is not None
    with open(f"/proc/{daemon.process.pid}/clear_refs", "w") as refs:
        refs.write("5")
    return peak(daemon)


def state(daemon: Daemon) -> tuple[object, ...]:
    """Everything that an archive could leave behind."""
    names = [
        sorted(os.listdir(f"{daemon.root}/{name}")) for name in ("blobs/sha256", "layers/sha256", "ingest")
    ]
    return (*map(tuple, names), len(daemon.get("/images/json?all=1")), "")


def attempt(daemon: Daemon, data: bytes, path: str) -> bytes | RequestError:
    """Send it; a refusal, which has to be the client's, is a result, too."""
    try:
        return daemon.request("POST", path, data)
    except RequestError as error:
        refusal = error
    assert refusal.status == 400, refusal
    assert "internal error" not in refusal.message
    return refusal


def refused(daemon: Daemon, data: bytes, path: str = "/images/load") -> str:
    """Send it; gives the text of the refusal."""
    before, memory = state(daemon), forget_peak(daemon)
    answer = attempt(daemon, data, path)
    if isinstance(answer, RequestError):
        text = answer.message
    else:
        lines = answer.strip().splitlines()
        last = json.loads(lines[-1]) if lines else {}
        remove_images(daemon)
        assert "error" in last, answer[-300:]
        text = last["error"]
    assert peak(daemon) - memory < MEMORY
    assert state(daemon) == before
    assert "internal error" not in text
    assert "\n" not in text
    assert len(text) < 2000
    return text


def remove_images(daemon: Daemon) -> None:
    """Remove every image but the fixture's."""
    for one in daemon.get("/images/json?all=1"):
        if IMAGE not in (one["RepoTags"] or []):
            daemon.request("DELETE", f"/images/{one['Id']}?force=1")


IMPORT = "/images/create?fromSrc=-&repo=hostile&tag=1"


def raw_header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A tar header with any bytes as its size, and a right checksum."""
    head = bytearray(512)
    head[0 : len(name)] = name
    head[100:108], head[108:116], head[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    head[124 : 124 + len(size)] = size
    head[136:148] = b"00000000000\0"
    head[148:156] = b" " * 8
    head[156:157] = kind
    head[257:265] = b"ustar\x0000"
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


# -- tars


@pytest.mark.parametrize("path", ["/images/load", IMPORT])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"garbage" * 1000,
        b"\x1f\x8b",
        b"\x1f\x8b\x08" + b"\xff" * 600,
        b"\x28\xb5\x2f\xfd" + b"x" * 600,
        b"BZh9" + b"x" * 600,
        b"\xfd7zXZ\0" + b"x" * 600,
        b"PK\x03\x04" + b"x" * 600,
        raw_header(b"a", b"-0000000001\0"),
        raw_header(b"a", b"\xff" * 12),
        raw_header(b"a", b"\x80" + b"\xff" * 11),
        raw_header(b"a", b"77777777777\0"),
        raw_header(b"a", b"9999999\0"),
        raw_header(b"", b"00000000000\0") + b"x" * 511,
        raw_header(b"x", b"77777777777\0", b"x"),
        raw_header(b"x", b"77777777777\0", b"L"),
        raw_header(b"x", b"00000000020\0", b"x") + b"99999999999999 a".ljust(512, b"\0"),
        raw_header(b"x", b"00000000020\0", b"x") + b"-5 path=a\n".ljust(512, b"\0"),
        raw_header(b"x", b"00000000030\0", b"x") + b"20 size=-1111111111\n".ljust(512, b"\0"),
        raw_header(b"x", b"00000000030\0", b"x") + b"24 GNU.sparse.major=1\n\n\n".ljust(512, b"\0"),
        raw_header(b"x", b"00000000000\0", b"S"),
        gzip.compress(raw_header(b"a", b"77777777777\0")),
    ],
)
def test_broken_tars_are_refused(daemon: Daemon, data: bytes, path: str) -> None:
    refused(daemon, data, path)


@pytest.mark.parametrize(
    "members",
    [
        [file("../escape", b"x")],
        [file("a/../../escape", b"x")],
        [symlink("d", "/tmp"), file("d/../../x", b"x")],
        [hardlink("h", "../../../etc/passwd")],
        [hardlink("h", "/etc/shadow")],
        [hardlink("h", "h")],
        [symlink("l", "/etc"), hardlink("h", "l/shadow")],
        [file("f", b""), file("f/x", b"")],
        [Member("/", type=tarfile.SYMTYPE, link="/etc")],
        [Member(".", type=tarfile.SYMTYPE, link="/etc")],
        [Member("n\udcff")],
        [file("a" * 256)],
        [symlink("s", "x" * 5000)],
        [symlink("e", "")],
        [Member("p", pax={"SCHILY.xattr.trusted.overlay.opaque": "y"})],
        [Member("p", pax={"SCHILY.xattr.trusted.overlay.redirect": "/etc"})],
        [Member("w", type=tarfile.CHRTYPE, device=(0, 0))],
        [Member("p", pax={"SCHILY.xattr.user.x": "y" * 200000})],
        [file(".wh..wh..opq"), file(".wh..", b""), file(".wh...", b""), file(".wh.", b"")],
        [file("d/.wh.a/../../../x", b"")],
    ],
)
def test_members_that_want_out(daemon: Daemon, members: list[Member]) -> None:
    """Refused, or kept inside: either way no file of the host is touched and the daemon lives."""
    data = make(*members)
    before = state(daemon)
    if not isinstance(attempt(daemon, data, IMPORT), RequestError):
        assert "root:x:0:0" not in ls(daemon)
        remove_images(daemon)
    assert state(daemon) == before
    assert not os.path.exists("/tmp/escape")
    assert not os.path.exists(f"{daemon.root}/escape")
    assert not os.path.exists(f"{daemon.root}/layers/escape")


def ls(daemon: Daemon) -> str:
    """What a container sees of the image, by our own busybox in a volume."""
    script = "/b/busybox find / -xdev -exec /b/busybox ls -ld {} +; /b/busybox cat /h /d/shadow"
    host = {"NetworkMode": "none", "Binds": ["/bin/busybox:/b/busybox:ro"]}
    container = daemon.create("/b/busybox", "sh", "-c", script, Image="hostile:1", host=host)
    try:
        daemon.post(f"/containers/{container}/start")
        daemon.wait(container)
        streams = demultiplex(daemon.request("GET", f"/containers/{container}/logs?stdout=1&stderr=1"))
        return (streams[1] + streams[2]).decode(errors="replace")
    except RequestError as error:
        return error.message
    finally:
        daemon.request("DELETE", f"/containers/{container}?force=1&v=1")


def test_a_path_of_ten_thousand_levels(daemon: Daemon) -> None:
    refused(daemon, make(file("a/" * 10000 + "f", b"x")), IMPORT)


def test_a_tree_deeper_than_a_path_can_be(daemon: Daemon) -> None:
    """Each member is short, the links make them deep: nothing recurses without a bound."""
    members = [directory("d")]
    for number in range(200):
        members += [symlink(f"l{number}", ("d/" * 20 if number == 0 else f"l{number - 1}/" + "d/" * 20))]
    data = make(*members, file("l199/f", b"x"))
    before = state(daemon)
    attempt(daemon, data, IMPORT)
    remove_images(daemon)
    assert state(daemon) == before


def test_half_a_million_members_have_a_bound(daemon: Daemon) -> None:
    """512 bytes each cost the sender little: the daemon's memory per member must be little, too."""
    one = bytearray(make(file("0000000", b""))[:512])
    out = bytearray()
    for number in range(120_000):
        one[0:7] = b"%07d" % number
        one[148:156] = b" " * 8
        one[148:156] = b"%06o\0 " % sum(one)
        out += one
    memory = forget_peak(daemon)
    attempt(daemon, gzip.compress(bytes(out) + b"\0" * 1024, 1), IMPORT)
    remove_images(daemon)
    assert (peak(daemon) - memory) / 120_000 < 3000


# -- bombs


ZEROS = bytes(16 << 20)


def _gzip() -> Any:
    return zlib.compressobj(1, zlib.DEFLATED, 31)


def bomb(packer: Any, size: int) -> bytes:
    """A tar with one member of zeros, by a compressor."""
    parts = [packer.compress(raw_header(b"big", b"%011o\0" % size))]
    parts += [packer.compress(ZEROS) for _ in range(size // len(ZEROS))]
    return b"".join([*parts, packer.compress(bytes(1024)), packer.flush()])


def test_a_gzip_bomb_costs_no_memory_and_gives_its_space_back(daemon: Daemon) -> None:
    """A thousand to one is what gzip can do: such a layer is honest, and its size is bounded by the disk."""
    before, memory = state(daemon), forget_peak(daemon)
    status = daemon.make_image("hostile:1", bomb(_gzip(), 512 << 20))
    assert peak(daemon) - memory < MEMORY
    daemon.request("DELETE", f"/images/{status}?force=1")
    assert state(daemon) == before


@functools.cache
def bomb_of(kind: str) -> bytes:
    """They are small, but take seconds to make."""
    match kind:
        case "gzip twice":
            return gzip.compress(bomb(_gzip(), 256 << 20))
        case "bzip2":
            return bomb(bz2.BZ2Compressor(), 256 << 20)
        case "xz":
            return bomb(lzma.LZMACompressor(preset=0), 512 << 20)
        case _:
            return bomb(zstandard.ZstdCompressor(level=1).compressobj(), 512 << 20)


@pytest.mark.parametrize("path", ["/images/load", IMPORT])
@pytest.mark.parametrize("kind", ["gzip twice", "bzip2", "xz", "zstd"])
def test_bombs_are_refused(daemon: Daemon, path: str, kind: str) -> None:
    refused(daemon, bomb_of(kind), path)


def test_a_bomb_in_a_layer_of_an_archive(daemon: Daemon) -> None:
    data = bomb_of("bzip2")
    config = config_of([b"x"])
    digest = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{digest}.json", "RepoTags": ["h:1"], "Layers": ["l/layer.tar"]}]
    members: Members = {
        f"{digest}.json": config, "l/layer.tar": data, "manifest.json": json.dumps(manifest).encode(),
    }  # fmt: skip
    refused(daemon, make_tar(members))


# -- image archives

MANIFEST = b"application/vnd.oci.image.manifest.v1+json"
LAYER = make(file("f", b"x"))


def archive(*, manifest: Any = None, config: Any = None, extra: Members | None = None) -> bytes:
    """A good Docker archive, with its manifest or its config replaced."""
    members = docker_archive([LAYER], ["hostile:1"])
    name = next(name for name in members if name.endswith(".json") and name != "manifest.json")
    if manifest is not None:
        text = members["manifest.json"]
        assert isinstance(text, bytes)
        entry = json.loads(text)[0]
        members["manifest.json"] = (
            manifest if isinstance(manifest, bytes) else json.dumps(manifest(entry)).encode()
        )
    if config is not None:
        members[name] = config if isinstance(config, bytes) else json.dumps(config).encode()
    members.update(extra or {})
    return make_tar(members)


def test_the_archive_that_the_others_are_made_of_is_good(daemon: Daemon) -> None:
    before = state(daemon)
    assert b"hostile:1" in daemon.request("POST", "/images/load", archive())
    daemon.request("DELETE", "/images/hostile:1")
    assert state(daemon) == before


@pytest.mark.parametrize(
    "manifest",
    [
        lambda one: [{**one, "Config": "/etc/passwd"}],
        lambda one: [{**one, "Config": "../../../etc/passwd"}],
        lambda one: [{**one, "Layers": ["/etc/passwd"]}],
        lambda one: [{**one, "Layers": ["../layer.tar"]}],
        lambda one: [{**one, "Layers": []}],
        lambda one: [{**one, "Layers": one["Layers"] * 2}],
        lambda one: [{**one, "Layers": one["Layers"] * 100000}],
        lambda one: [{**one, "Config": ""}],
        lambda one: [{**one, "RepoTags": ["../../x:1"]}],
        lambda one: [{**one, "RepoTags": ["UPPER:1"]}],
        lambda one: [{**one, "RepoTags": ["a\0b:1"]}],
        lambda one: [{**one, "RepoTags": ["sha256:" + "a" * 64]}],
        lambda one: [{**one, "RepoTags": ["a@sha256:" + "a" * 64]}],
        lambda one: [{**one, "RepoTags": "x"}],
        lambda one: [{**one, "RepoTags": ["x" * 100000]}],
        lambda one: [],
        lambda one: {},
        lambda one: None,
        lambda one: [None],
        lambda one: [[]],
        lambda one: "x",
        lambda one: [{**one, "Layers": [None]}],
        lambda one: [{**one, "Layers": [1]}],
        lambda one: [{}],
        b"",
        b"{",
        b"[" * 100000,
        b'[{"a":' * 50000,
        b"\xff\xfe",
        b"null",
        b"1" * 100000,
        b'"\\ud800"',
        b"[" + b" " * (40 << 20),
    ],
)
def test_manifests_that_lie(daemon: Daemon, manifest: Any) -> None:
    text = refused(daemon, archive(manifest=manifest))
    assert "root:x" not in text


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"1",
        b"{}",
        b'{"rootfs":{}}',
        b'{"rootfs":null}',
        b'{"a":' * 50000,
        {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}},
        {"rootfs": {"type": "layers", "diff_ids": ["../../../etc"]}},
        {"rootfs": {"type": "layers", "diff_ids": ["sha256:../x"]}},
        {"rootfs": {"type": "layers", "diff_ids": []}},
        {"rootfs": {"type": "layers", "diff_ids": [1]}},
        {"rootfs": {"type": "layers", "diff_ids": ["md5:" + "0" * 32]}},
        {"os": "windows"},
        {"architecture": 5},
        {"config": []},
        {"config": {"Env": "x"}},
        {"config": {"Env": [1]}},
        {"config": {"Cmd": {}}},
        {"config": {"Labels": [1]}},
        {"config": {"Labels": {"a": 1}}},
        {"config": {"Volumes": []}},
        {"history": {}},
        {"history": [1]},
        {"created": 5},
        {"created": "bogus"},
        {"config": {"ExposedPorts": {"x": 1}}},
    ],
)
def test_configs_that_lie(daemon: Daemon, config: Any) -> None:
    if isinstance(config, dict) and "rootfs" not in config:
        digest = "sha256:" + hashlib.sha256(LAYER).hexdigest()
        good = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest]}}
        config = {**good, **config}
    before = state(daemon)
    answer = attempt(daemon, archive(config=config), "/images/load")
    if not isinstance(answer, RequestError):
        last = json.loads(answer.strip().splitlines()[-1])
        assert "internal error" not in last.get("error", "")
        if "error" not in last:  # taken in: then it can be shown and removed
            daemon.get("/images/hostile:1/json")
            daemon.get("/images/hostile:1/history")
            remove_images(daemon)
    assert state(daemon) == before


def test_a_config_under_a_false_name(daemon: Daemon) -> None:
    members = docker_archive([LAYER], ["hostile:1"])
    name = next(name for name in members if name.endswith(".json") and name != "manifest.json")
    text = members["manifest.json"]
    assert isinstance(text, bytes)
    members["f" * 64 + ".json"] = members.pop(name)
    members["manifest.json"] = text.replace(name.encode(), b"f" * 64 + b".json")
    assert "digest" in refused(daemon, make_tar(members))


def test_wrong_digests_of_a_layout(daemon: Daemon) -> None:
    good = oci_archive([LAYER], [gzip.compress(LAYER)], "hostile:1")
    for name in [name for name in good if name.startswith("blobs/")]:
        data = good[name]
        assert isinstance(data, bytes)
        for wrong in (data[:-1] + b"~", data + b" ", data[:-1], b""):
            refused(daemon, make_tar({**good, name: wrong}))
        refused(daemon, make_tar({key: value for key, value in good.items() if key != name}))
        refused(daemon, make_tar({**good, name: ("->", "/etc/passwd")}))
        refused(daemon, make_tar({**good, name: None}))


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"{}",
        b"[]",
        b"[" * 100000,
        b'{"manifests": 5}',
        b'{"manifests": [{}]}',
        b'{"manifests": [null]}',
        b'{"manifests": [{"digest": "sha256:../../../../etc/passwd", "size": 1, "mediaType": "x"}]}',
        b'{"manifests": [{"digest": "../x", "size": 1, "mediaType": "%s"}]}' % MANIFEST,
        b'{"manifests": [{"digest": "sha256:%s", "size": -1, "mediaType": "%s"}]}' % (b"0" * 64, MANIFEST),
        b'{"manifests": [], "layers": []}',
    ],
)
def test_indexes_that_lie(daemon: Daemon, index: bytes) -> None:
    good = oci_archive([LAYER], [LAYER], "hostile:1")
    refused(daemon, make_tar({**good, "index.json": index}))


def test_a_manifest_that_is_also_an_index(daemon: Daemon) -> None:
    """CVE-2021-41190: one document, two meanings."""
    good = oci_archive([LAYER], [LAYER], "hostile:1")
    index = good["index.json"]
    assert isinstance(index, bytes)
    entry = json.loads(index)["manifests"][0]
    name = "blobs/sha256/" + entry["digest"].removeprefix("sha256:")
    text = good.pop(name)
    assert isinstance(text, bytes)
    both = json.dumps({**json.loads(text), "manifests": [entry]}).encode()
    digest = hashlib.sha256(both).hexdigest()
    entry.update(digest=f"sha256:{digest}", size=len(both))
    good[f"blobs/sha256/{digest}"] = both
    good["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    refused(daemon, make_tar(good))


def test_members_of_an_archive_with_hostile_names(daemon: Daemon) -> None:
    """Links and strange names among the members are never followed or written."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
        for name in ("../../../tmp/escape", "/tmp/escape", "a/../../b"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    text = refused(daemon, out.getvalue())
    assert "root:x" not in text
    assert not os.path.exists("/tmp/escape")
    extra: Members = {"../../../tmp/escape": b"x", "/tmp/escape": b"x", "layer": ("->", "/etc")}
    before = state(daemon)
    daemon.request("POST", "/images/load", archive(extra=extra))
    daemon.request("DELETE", "/images/hostile:1")
    assert state(daemon) == before
    assert not os.path.exists("/tmp/escape")


def test_a_layer_that_is_a_link_to_a_file_of_the_host(daemon: Daemon) -> None:
    members = docker_archive([LAYER], ["hostile:1"])
    name = next(name for name in members if name.endswith("layer.tar"))
    refused(daemon, make_tar({**members, name: ("->", "/etc/passwd")}))
    refused(daemon, make_tar({**members, name: ("->", "../" * 20 + "etc/passwd")}))
