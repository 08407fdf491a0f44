"""Images in the form of `save` as one tree: layers applied by the rules of the OCI, with no code of ours."""

from __future__ import annotations

import io
import json
import os
import tarfile

Tree = dict[str, list[str]]
"""Path -> type, mode, owner, what it holds, and the other names of the same file."""


def flatten(archive: bytes, *, below: str) -> Tree:
    """What the image's layers come to below a directory."""
    nodes: dict[str, list[str]] = {}  # names of one file have one list
    with tarfile.open(fileobj=io.BytesIO(archive)) as saved:
        manifest = json.loads(_read(saved, "manifest.json"))[0]
        for name in manifest["Layers"]:
            _apply(nodes, _read(saved, name))
    names: dict[int, list[str]] = {}
    for path, told in sorted(nodes.items()):
        names.setdefault(id(told), []).append(path)
    return {
        path: [*told, *(other for other in names[id(told)] if other != path)]
        for path, told in sorted(nodes.items())
        if path.startswith(f"{below}/")
    }


def _apply(nodes: dict[str, list[str]], layer: bytes) -> None:
    mine: set[str] = set()
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        for member in tar:
            path = os.path.normpath(member.name).lstrip("/")
            head, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                _remove(nodes, [old for old in nodes if old.startswith(f"{head}/")], mine)
                continue
            if name.startswith(".wh."):
                gone = f"{head}/{name[4:]}" if head else name[4:]
                _remove(nodes, [old for old in nodes if f"{old}/".startswith(f"{gone}/")], mine)
                continue
            if not member.isdir():
                _remove(nodes, [old for old in nodes if old.startswith(f"{path}/")], set())
            mine.add(path)
            if member.islnk():
                nodes[path] = nodes[os.path.normpath(member.linkname).lstrip("/")]
            else:
                nodes[path] = _told(tar, member)


def _remove(nodes: dict[str, list[str]], paths: list[str], kept: set[str]) -> None:
    for path in paths:
        if path not in kept:
            del nodes[path]


def _told(tar: tarfile.TarFile, member: tarfile.TarInfo) -> list[str]:
    data = tar.extractfile(member) if member.isreg() else None
    content = data.read().decode("latin-1") if data is not None else member.linkname
    if member.ischr() or member.isblk():
        content = f"{member.devmajor}:{member.devminor}"
    kind = (
        "file" if member.isreg() else {b"5": "directory", b"2": "link"}.get(member.type, member.type.decode())
    )
    mode = "" if member.issym() else f"{member.mode & 0o7777:o}"
    return [kind, mode, f"{member.uid}:{member.gid}", content]


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    found = tar.extractfile(name)
    assert found is not None, name
    return found.read()
