"""Images in and out: import, load, save, names, removal."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import zstandard

from carboy.digest import Digest
from carboy.engine.images.users import CommitSubject, ContainerUse
from carboy.errors import CarboyError, Conflict, Corrupt, InvalidArgument, NotFound
from carboy.formats.dockerapi.filters import Filters
from support.archives import (
    LocalFile,
    Members,
    Memory,
    Store,
    Stream,
    config_of,
    docker_archive,
    make_tar,
    oci_archive,
    store_at,
    unpack,
)

LAYER = make_tar({"bin/": None, "bin/tool": b"#!/bin/sh\n", "etc/": None, "etc/name": b"one\n"})
OTHER = make_tar({"etc/": None, "etc/name": b"two\n"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with store_at(tmp_path) as made:
        yield made


class Uses:
    """Containers, as far as images know them."""

    def __init__(self, *uses: ContainerUse) -> None:
        self.uses = list(uses)

    def image_uses(self) -> Iterable[ContainerUse]:
        return list(self.uses)

    def for_commit(self, unsafe_ref: str) -> CommitSubject:
        raise NotFound(f"No such container: {unsafe_ref}")


def use_of(store: Store, name: str, *, running: bool) -> ContainerUse:
    image = store.images.image_for_container(name)
    return ContainerUse("c" * 64, image.id, image.diff_ids, running)


def saved(store: Store, *names: str) -> bytes:
    sink = Memory()
    store.images.save(list(names), sink)
    return sink.value()


# Import


def test_import_makes_an_image_with_the_changes(store: Store) -> None:
    image_id = store.import_tar(
        LAYER, "base", "1", message="hello", changes=["CMD tool", "ENV A=1 B='2 3'", "WORKDIR /x"]
    )
    shown = store.images.inspect("base:1")
    assert shown.id == image_id
    assert shown.repo_tags == ["base:1"]
    assert shown.comment == "hello"
    assert shown.config.cmd == ["/bin/sh", "-c", "tool"]
    assert shown.config.env == ["A=1", "B=2 3"]
    assert shown.root_fs.layers == [str(Digest.of(LAYER))]
    assert store.events == [("import", image_id)]


def test_importing_twice_gives_the_same_id(store: Store, tmp_path: Path) -> None:
    with store_at(tmp_path / "other") as other:
        assert store.import_tar(LAYER, "a") == other.import_tar(LAYER, "b")
    assert store.import_tar(LAYER, "c") == store.import_tar(LAYER)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_import_of_compressed_tars(store: Store, compress: object) -> None:
    assert callable(compress)
    store.import_tar(compress(LAYER), "a")
    assert store.images.inspect("a").root_fs.layers == [str(Digest.of(LAYER))]


def test_import_from_a_file(store: Store, tmp_path: Path) -> None:
    for name, data in (("plain", LAYER), ("packed", gzip.compress(LAYER))):
        (tmp_path / name).write_bytes(b"skip" + data)
        with open(tmp_path / name, "rb", buffering=0) as file:
            file.seek(4)
            store.images.import_(
                LocalFile(file.fileno()), repository=name, tag="", message="", changes=[], platform=None
            )
        assert store.images.inspect(name).root_fs.layers == [str(Digest.of(LAYER))]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (LAYER[:700], Corrupt),
        (b"no tar at all" * 100, Corrupt),
        (gzip.compress(LAYER)[:-20], Corrupt),
        (gzip.compress(LAYER) + b"rest", Corrupt),
        (bz2.compress(bytes(64 << 20)), Corrupt),
        (b"", Corrupt),
    ],
)
def test_bad_imports_leave_nothing(store: Store, data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        store.import_tar(data, "bad")
    assert store.is_empty()


def test_wrong_changes_and_names_are_refused_before_reading(store: Store) -> None:
    for repository, changes in (("UPPER", []), ("a", ["FROM x"]), ("a", ["EXPOSE 70000"])):
        with pytest.raises(InvalidArgument):
            store.import_tar(LAYER, repository, changes=changes)
    assert store.is_empty()


# Load


def test_load_of_a_docker_archive(store: Store) -> None:
    lines = store.load(make_tar(docker_archive([LAYER, OTHER], ["app:1", "app:latest"])))
    assert lines == ["Loaded image: app:1\n", "Loaded image: app:latest\n"]
    assert store.images.inspect("app").root_fs.layers == [str(Digest.of(LAYER)), str(Digest.of(OTHER))]
    assert list(Path(store.paths.ingest).iterdir()) == []


def test_load_tells_of_layers(store: Store) -> None:
    messages = list(store.images.load(Stream(make_tar(docker_archive([LAYER], ["a:1"])))))
    assert [message.status for message in messages[:2]] == ["Loading layer"] * 2
    again = list(store.images.load(Stream(make_tar(docker_archive([LAYER], ["a:1"])))))
    assert [message.stream for message in again] == ["Loaded image: a:1\n"]


def test_load_of_an_untagged_image(store: Store) -> None:
    lines = store.load(make_tar(docker_archive([LAYER], [])))
    image_id = store.images.records.all()[0].id
    assert lines == [f"Loaded image ID: {image_id}\n"]


def test_load_of_layers_that_are_symlinks(store: Store) -> None:
    members = docker_archive([LAYER, OTHER], ["a:1"])
    first, second = f"{0:064x}/layer.tar", f"{1:064x}/layer.tar"
    members["elsewhere/layer.tar"] = members[second]
    members[second] = ("->", "../elsewhere/layer.tar")
    members[first] = LAYER
    store.load(make_tar(members))
    assert len(store.images.inspect("a:1").root_fs.layers) == 2


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
def test_load_of_an_oci_layout(store: Store, compress: object) -> None:
    assert callable(compress)
    archive = make_tar(oci_archive([LAYER], [compress(LAYER)], "docker.io/library/a:1"))
    assert store.load(archive) == ["Loaded image: a:1\n"]
    assert store.images.inspect("a:1").root_fs.layers == [str(Digest.of(LAYER))]


def test_load_of_compressed_archives(store: Store) -> None:
    store.load(gzip.compress(make_tar(docker_archive([LAYER], ["a:1"]))))
    store.load(lzma.compress(make_tar(docker_archive([OTHER], ["a:2"]))))
    assert [image.repo_tags for image in store.images.list(all=False, digests=False, filters=Filters())] == [
        ["a:2"],
        ["a:1"],
    ]


def test_load_of_an_archive_from_before_docker_1_10(store: Store) -> None:
    bottom, top = "a" * 64, "b" * 64
    members: Members = {
        f"{bottom}/json": json.dumps(
            {"id": bottom, "os": "linux", "created": "2015-01-01T00:00:00Z"}
        ).encode(),
        f"{bottom}/layer.tar": LAYER,
        f"{top}/json": json.dumps({"id": top, "parent": bottom, "config": {"Cmd": ["x"]}}).encode(),
        f"{top}/layer.tar": OTHER,
        "repositories": json.dumps({"old": {"1": top}}).encode(),
    }
    assert store.load(make_tar(members)) == ["Loaded image: old:1\n"]
    shown = store.images.inspect("old:1")
    assert shown.config.cmd == ["x"]
    assert shown.root_fs.layers == [str(Digest.of(LAYER)), str(Digest.of(OTHER))]


def test_loading_another_image_of_the_same_name_says_so(store: Store) -> None:
    store.load(make_tar(docker_archive([LAYER], ["a:1"])))
    old = store.images.inspect("a:1").id
    lines = store.load(make_tar(docker_archive([OTHER], ["a:1"])))
    assert lines[0].startswith(f"The image a:1 already exists, renaming the old one with ID {old} to empty")
    assert store.images.inspect(old).repo_tags == []


def replace(members: Members, path: str, contents: bytes) -> bytes:
    return make_tar({**members, path: contents})


def hostile_archives() -> Iterator[tuple[str, bytes]]:
    good = docker_archive([LAYER], ["a:1"])
    manifest = json.loads(good["manifest.json"] or b"")  # type: ignore[arg-type]  # it is bytes
    config = manifest[0]["Config"]
    yield "truncated in a layer", make_tar(good)[:1700]
    yield "empty", b""
    yield "no archive", b"hello" * 1000
    yield "a root filesystem", LAYER
    yield "layer is not there", make_tar({key: value for key, value in good.items() if "layer" not in key})
    yield "wrong layer", replace(good, f"{0:064x}/layer.tar", OTHER)
    yield "layer is no tar", replace(good, f"{0:064x}/layer.tar", b"x" * 2048)
    yield "config with another digest", replace(good, config, config_of([LAYER], author="evil"))
    yield "manifest is no JSON", replace(good, "manifest.json", b"[{")
    yield "manifest is recursive", replace(good, "manifest.json", b"[" * 100000)
    yield "manifest is huge", replace(good, "manifest.json", b" " * (5 << 20) + b"[]")
    for path in ("../../etc/passwd", "/etc/passwd", "manifest.json/..", "\0", "a" * 5000):
        for key in ("Config", "Layers"):
            changed = [{**manifest[0], key: path if key == "Config" else [path]}]
            yield f"{key} is {path[:12]!r}", replace(good, "manifest.json", json.dumps(changed).encode())
    for tag in ("../../x", "A:1", "a:1\n", "", "a@sha256:" + "0" * 64):
        changed = [{**manifest[0], "RepoTags": [tag]}]
        yield f"tag is {tag!r}", replace(good, "manifest.json", json.dumps(changed).encode())
    yield (
        "too many layers named",
        replace(
            good, "manifest.json", json.dumps([{**manifest[0], "Layers": manifest[0]["Layers"] * 2}]).encode()
        ),
    )
    loop = {**good, f"{0:064x}/layer.tar": ("->", "layer.tar")}
    yield "a link to itself", make_tar(loop)
    outside = {**good, f"{0:064x}/layer.tar": ("->", "../../../../etc/passwd")}
    yield "a link to the outside", make_tar(outside)
    second = [*manifest, {"Config": "missing.json", "RepoTags": ["b:1"], "Layers": []}]
    yield "the second image is bad", replace(good, "manifest.json", json.dumps(second).encode())
    layout = oci_archive([LAYER], [gzip.compress(LAYER)], "a:1")
    blobs = [path for path in layout if path.startswith("blobs/")]
    for number, path in enumerate(blobs):
        yield f"blob {number} is changed", replace(layout, path, b"{}")
        yield (
            f"blob {number} is missing",
            make_tar({key: value for key, value in layout.items() if key != path}),
        )
    yield "layout of the future", replace(layout, "oci-layout", b'{"imageLayoutVersion": "9.0.0"}')
    index = json.loads(layout["index.json"] or b"")  # type: ignore[arg-type]  # it is bytes
    yield "index with layers", replace(layout, "index.json", json.dumps({**index, "layers": []}).encode())
    index["manifests"][0]["digest"] = "sha256:../../../../etc/passwd"
    yield "digest is a path", replace(layout, "index.json", json.dumps(index).encode())
    bomb = gzip.compress(gzip.compress(bytes(32 << 20)))
    yield "bomb", bomb
    yield "cut gzip", gzip.compress(make_tar(good))[:-30]
    loops = {"a" * 64 + "/json": json.dumps({"parent": "a" * 64}).encode(), "a" * 64 + "/layer.tar": LAYER}
    yield "its own parent", make_tar({**loops, "repositories": json.dumps({"a": {"b": "a" * 64}}).encode()})
    yield "v1 id is a path", make_tar({"repositories": b'{"a": {"b": "../../x"}}'})


@pytest.mark.parametrize(("name", "data"), list(hostile_archives()), ids=lambda value: str(value)[:40])
def test_hostile_archives_leave_nothing(store: Store, name: str, data: bytes) -> None:
    with pytest.raises(CarboyError) as caught:
        store.load(data)
    assert isinstance(caught.value, InvalidArgument | Corrupt), name
    assert store.is_empty()
    store.load(make_tar(docker_archive([LAYER], ["good:1"])))


def test_a_client_that_goes_away_leaves_nothing(store: Store) -> None:
    messages = store.images.load(Stream(make_tar(docker_archive([LAYER, OTHER], ["a:1"]))))
    next(iter(messages))
    messages.close()  # type: ignore[attr-defined]  # it is a generator
    assert store.is_empty()


# Save


def test_saved_archives_are_equal_and_load_again(store: Store, tmp_path: Path) -> None:
    store.load(make_tar(docker_archive([LAYER, OTHER], ["app:1", "reg.io/x:2"], config={"Cmd": ["a"]})))
    data = saved(store, "app:1", "reg.io/x:2")
    with store_at(tmp_path / "other") as other:
        assert other.load(data) == ["Loaded image: app:1\n", "Loaded image: reg.io/x:2\n"]
        assert saved(other, "reg.io/x:2", "app:1") == data
        assert other.images.inspect("app:1").id == store.images.inspect("app:1").id


def test_saved_archives_are_both_formats(store: Store, tmp_path: Path) -> None:
    store.load(make_tar(docker_archive([LAYER], ["app:1"])))
    files = unpack(saved(store, "app"))
    assert list(files) == sorted(files)
    assert files[f"blobs/sha256/{Digest.of(LAYER).hex}"] == LAYER
    del files["manifest.json"]
    with store_at(tmp_path / "other") as other:
        assert other.load(make_tar({path: data for path, data in files.items() if data is not None})) == [
            "Loaded image: app:1\n"
        ]


def test_save_to_a_file_is_the_same(store: Store, tmp_path: Path) -> None:
    store.load(make_tar(docker_archive([LAYER], ["app:1"])))
    with open(tmp_path / "out.tar", "wb", buffering=0) as file:
        store.images.save(["app:1"], LocalFile(file.fileno()))
    assert (tmp_path / "out.tar").read_bytes() == saved(store, "app:1")
    with open(tmp_path / "append.tar", "ab", buffering=0) as file:
        store.images.save(["app:1"], LocalFile(file.fileno()))
    assert (tmp_path / "append.tar").read_bytes() == saved(store, "app:1")


def test_save_by_repository_takes_all_tags_and_by_id_none(store: Store) -> None:
    image_id = store.import_tar(LAYER, "app", "1")
    store.images.tag("app:1", repository="app", tag="2")
    store.import_tar(OTHER, "app", "3")
    for name, tags in (("app", {"app:1", "app:2", "app:3"}), (image_id, set())):
        entries = json.loads(unpack(saved(store, name))["manifest.json"] or b"")
        assert {tag for entry in entries for tag in entry["RepoTags"] or []} == tags


def test_save_of_what_is_not_there(store: Store) -> None:
    with pytest.raises(NotFound, match="No such image: nothing:latest"):
        saved(store, "nothing")
    with pytest.raises(InvalidArgument):
        saved(store)


def test_standard_tools_read_a_saved_archive(store: Store, tmp_path: Path) -> None:
    store.import_tar(LAYER, "a")
    (tmp_path / "a.tar").write_bytes(saved(store, "a"))
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert {(member.uid, member.mtime, member.uname) for member in tar} == {(0, 0, "")}


# Names


def test_tag_and_lookup(store: Store) -> None:
    image_id = store.import_tar(LAYER, "a", "1")
    store.images.tag("a:1", repository="reg.io/b", tag="")
    assert store.images.inspect("reg.io/b").repo_tags == ["a:1", "reg.io/b:latest"]
    for name in (image_id, image_id[7:], image_id[7:19], image_id[:12], "docker.io/library/a:1"):
        assert store.images.inspect(name).id == image_id
    for name in ("b", "a", "0000", "sha256:00", "f" * 64):
        with pytest.raises(NotFound, match="No such image"):
            store.images.inspect(name)


def test_records_outlive_the_service(store: Store, tmp_path: Path) -> None:
    image_id = store.import_tar(LAYER, "a", "1")
    with store_at(tmp_path) as again:
        assert again.images.inspect("a:1").id == image_id
        assert again.images.collect() == []


# Removal


def test_rmi_frees_everything(store: Store) -> None:
    image_id = store.import_tar(LAYER, "a")
    answer = store.images.remove("a", force=False, prune_parents=True)
    assert answer[0].untagged == "a:latest"
    assert answer[1].deleted == image_id
    assert store.is_empty()


def test_rmi_of_one_of_two_names_untags(store: Store) -> None:
    image_id = store.import_tar(LAYER, "a")
    store.images.tag("a", repository="b", tag="")
    assert len(store.images.remove("a", force=False, prune_parents=True)) == 1
    assert store.images.inspect("b").id == image_id


def test_rmi_by_id_with_two_names_must_be_forced(store: Store) -> None:
    image_id = store.import_tar(LAYER, "a")
    store.images.tag("a", repository="b", tag="")
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is referenced in multiple repositories"):
        store.images.remove(image_id, force=False, prune_parents=True)
    store.images.remove(image_id, force=True, prune_parents=True)
    assert store.is_empty()


def test_shared_layers_stay(store: Store) -> None:
    store.load(make_tar(docker_archive([LAYER, OTHER], ["a:1"])))
    store.load(make_tar(docker_archive([LAYER], ["b:1"])))
    store.images.remove("a:1", force=False, prune_parents=True)
    assert [layer.diff_id for layer in store.layers.list()] == [Digest.of(LAYER)]


def test_rmi_with_a_running_container(store: Store) -> None:
    image_id = store.import_tar(LAYER, "a")
    store.images.set_containers(Uses(use_of(store, "a", running=True)))
    with pytest.raises(
        Conflict,
        match=r'unable to remove repository reference "a" \(must force\) - container cccccccccccc is using',
    ):
        store.images.remove("a", force=False, prune_parents=True)
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is being used by running container"):
        store.images.remove(image_id, force=True, prune_parents=True)
    assert [one.untagged for one in store.images.remove("a", force=True, prune_parents=True)] == ["a:latest"]
    assert store.images.inspect(image_id).id == image_id


def test_rmi_forced_with_a_stopped_container_keeps_its_layers(store: Store) -> None:
    image_id = store.import_tar(LAYER, "a")
    uses = Uses(use_of(store, "a", running=False))
    store.images.set_containers(uses)
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is being used by stopped container"):
        store.images.remove(image_id, force=False, prune_parents=True)
    store.images.remove(image_id, force=True, prune_parents=True)
    assert len(store.layers.list()) == 1
    uses.uses.clear()
    store.images.collect()
    assert store.is_empty()


def test_pinned_layers_stay_until_the_end(store: Store) -> None:
    store.import_tar(LAYER, "a")
    with store.images.pinned("a") as image:
        store.images.remove("a", force=False, prune_parents=True)
        assert store.layers.exists(image.diff_ids[0])
    store.images.collect()
    assert store.is_empty()


# Listing


def names(store: Store, **filters: str) -> list[str]:
    chosen = Filters({name.replace("_not", "!"): [value] for name, value in filters.items()})
    found = store.images.list(all=False, digests=False, filters=chosen)
    return [tag for image in found for tag in image.repo_tags or ["<none>"]]


def test_filters(store: Store) -> None:
    store.import_tar(LAYER, "app/one", "1", changes=["LABEL kind=x"])
    store.import_tar(OTHER, "two", "2")
    store.import_tar(make_tar({"a": b"3"}))
    assert names(store) == ["<none>", "two:2", "app/one:1"]
    assert names(store, dangling="true") == ["<none>"]
    assert names(store, dangling="false") == ["two:2", "app/one:1"]
    assert names(store, label="kind") == names(store, label="kind=x") == ["app/one:1"]
    assert names(store, label_not="kind") == ["<none>", "two:2"]
    assert names(store, reference="*") == ["two:2"]
    assert names(store, reference="app/*:1") == ["app/one:1"]
    assert names(store, reference="tw[^a]") == ["two:2"]
    assert names(store, before="two:2") == ["app/one:1"]
    assert names(store, since="two:2") == ["<none>"]
    assert names(store, until="2001-01-01") == []
    with pytest.raises(InvalidArgument):
        names(store, wrong="1")
    with pytest.raises(NotFound):
        names(store, before="nothing")


def test_history(store: Store) -> None:
    history = [{"created_by": "one"}, {"created_by": "env", "empty_layer": True}, {"created_by": "two"}]
    store.load(make_tar(docker_archive([LAYER, OTHER], ["a:1"], history=history)))
    items = store.images.history("a:1")
    assert [(item.created_by, item.size) for item in items] == [
        ("two", len(OTHER)),
        ("env", 0),
        ("one", len(LAYER)),
    ]
    assert items[0].tags == ["a:1"]
    assert items[1].id == "<missing>"


def test_no_descriptors_leak(store: Store) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        store.load(make_tar(docker_archive([LAYER], ["a:1"])))
        saved(store, "a:1")
        store.images.remove("a:1", force=True, prune_parents=True)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_usage_counts_each_layer_once(store: Store) -> None:
    store.load(make_tar(docker_archive([LAYER], ["a:1"])))
    store.load(make_tar(docker_archive([LAYER, OTHER], ["b:1"])))
    found, layers = store.images.usage()
    sizes = {item.repo_tags[0]: item.size for item in found}
    assert layers == sizes["b:1"] > sizes["a:1"]
    assert {item.shared_size for item in found} == {sizes["a:1"]}
