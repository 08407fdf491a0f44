"""Trees as tars, for clients that send tars; and trees compared."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path


def make_tree(root: Path) -> None:
    """A tree with what trees have: many files, an empty folder, links, modes, odd names, old times."""
    for folder in range(20):
        inner = root / f"folder-{folder}"
        inner.mkdir(parents=True)
        for number in range(30):
            file = inner / f"file-{number}.txt"
            file.write_bytes(f"{folder}/{number}\n".encode() * (number * 50))
            os.utime(file, (1_500_000_000 + number, 1_500_000_000 + folder))
    (root / "empty").mkdir()
    (root / "a name with spaces, ünïcode and 'quotes'").write_text("text")
    (root / ("long-" * 45)).write_text("a name too long for a plain header")
    program = root / "program"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    (root / "private").write_text("x")
    (root / "private").chmod(0o600)
    (root / "link").symlink_to("folder-1/file-1.txt")
    (root / "dangling").symlink_to("/nowhere")
    (root / "big").write_bytes(os.urandom(1 << 20) * 8)


def describe(root: Path) -> dict[str, tuple[object, ...]]:
    """What a copy has to keep, by relative path."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = None
        if stat.S_ISLNK(status.st_mode):
            found[str(path.relative_to(root))] = ("link", os.readlink(path))
            continue
        if stat.S_ISREG(status.st_mode):
            content = (path.read_bytes(), int(status.st_mtime))
        found[str(path.relative_to(root))] = (oct(status.st_mode), content)
    return found


def pack(root: Path) -> bytes:
    """The content of a folder as a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, arcname=path.name)
    return out.getvalue()


def unpack(tar: tarfile.TarFile, root: Path) -> None:
    """The other way; our own tree, so a plain loop does."""
    root.mkdir(exist_ok=True)
    # An attribute, not an argument: the 3.11 of Debian 12 knows no filters, and ignores it.
    tar.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
    for member in tar:
        tar.extract(member, root)
