"""Cases of COPY, ADD and WORKDIR: a context, a base image, instructions.

What Docker makes of them is in tests/golden/copy/buildkit.json, recorded from BuildKit by
`python -m support.copyrecord DOCKER_HOST` (in tests/).
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
from collections.abc import Callable

Pack = Callable[[bytes], bytes]

Tree = dict[str, list[str]]
"""Path to kind, mode (not of links), owner, and a link's target or the beginning of a file's contents."""

CASES: dict[str, tuple[str, ...]] = {
    "file to new file": ("COPY a.txt /new",),
    "file to new dir": ("COPY a.txt /new/",),
    "file to deep new file": ("COPY a.txt /n1/n2/new",),
    "file to existing dir": ("COPY a.txt /dir",),
    "file to existing dir slash": ("COPY a.txt /dir/",),
    "file over file": ("COPY a.txt /file",),
    "file to file slash": ("COPY a.txt /file/",),
    "file below file": ("COPY a.txt /file/x",),
    "dir to new": ("COPY src /new",),
    "dir to new slash": ("COPY src/ /new/",),
    "dir 0700 to new": ("COPY closed /new",),
    "dir to existing": ("COPY src /dir",),
    "dir to file": ("COPY src /file",),
    "dir with nested existing": ("COPY nest /dir",),
    "dir over file nested": ("COPY over /dir",),
    "file over dir nested": ("COPY under /dir",),
    "dir over link nested": ("COPY linked /dir",),
    "file over link nested": ("COPY flinked /dir",),
    "file to link to dir": ("COPY a.txt /dirlink",),
    "file to link to dir slash": ("COPY a.txt /dirlink/",),
    "dir to link to dir": ("COPY src /dirlink",),
    "file to link to file": ("COPY a.txt /filelink",),
    "file to dangling link": ("COPY a.txt /dangling",),
    "dir to dangling link": ("COPY src /dangling",),
    "file below dangling link": ("COPY a.txt /dangling/x/y",),
    "link climbing out": ("COPY a.txt /climb/x",),
    "absolute link": ("COPY a.txt /abslink/x",),
    "source link file": ("COPY link.txt /x/",),
    "source link dir": ("COPY linkdir /x",),
    "source link out": ("COPY linkout /x/",),
    "source dangling": ("COPY dang /x/",),
    "wildcard files": ("COPY *.txt /x/",),
    "wildcard no slash one": ("COPY a*.txt /x",),
    "wildcard question": ("COPY ?.txt /x/",),
    "wildcard class": ("COPY [ab].txt /x/",),
    "wildcard dirs": ("COPY s* /x/",),
    "wildcard in dir": ("COPY src/*.txt /x/",),
    "wildcard two levels": ("COPY */*.txt /x/",),
    "wildcard nothing": ("COPY nope* /x/",),
    "wildcard nothing and something": ("COPY a.txt nope* /x/",),
    "missing": ("COPY nope /x/",),
    "dotdot source": ("COPY ../../a.txt /x/",),
    "absolute source": ("COPY /src/c.txt /x/",),
    "all": ("COPY . /x/",),
    "all to root": ("COPY . /",),
    "workdir relative": (
        "WORKDIR /w",
        "COPY a.txt .",
    ),
    "workdir relative name": (
        "WORKDIR /w",
        "COPY a.txt b/",
    ),
    "workdir dotdot": (
        "WORKDIR /w/v",
        "COPY a.txt ../",
    ),
    "workdir dotdot2": (
        "WORKDIR /w/v",
        "COPY a.txt ../q",
    ),
    "two sources": ("COPY a.txt b.txt /x/",),
    "two dirs": ("COPY src nest /x/",),
    "same twice": ("COPY a.txt src/a.txt /x/",),
    "chown number": ("COPY --chown=5 a.txt /n1/n2/",),
    "chown numbers": ("COPY --chown=5:6 src /n1/n2",),
    "chown name": ("COPY --chown=joe a.txt /n1/",),
    "chown name group": ("COPY --chown=joe:staff a.txt /n1/",),
    "chown name gid": ("COPY --chown=joe:77 src /dir",),
    "chown uid group": ("COPY --chown=9:staff a.txt /n1/",),
    "chown unknown": ("COPY --chown=nobodyhere a.txt /n1/",),
    "chown empty user": ("COPY --chown=:7 a.txt /n1/",),
    "chmod file": ("COPY --chmod=0777 a.txt /n1/",),
    "chmod dir": ("COPY --chmod=640 src /n1/",),
    "dir trailing dot": ("COPY src/. /x",),
    "dest dot": (
        "WORKDIR /dir",
        "COPY src .",
    ),
    "modes": ("COPY modes /x/",),
    "hard links": ("COPY hard /x/",),
    "fifo": ("COPY fifo /x/",),
    "stage owners": ("COPY --from=base /own /x",),
    "stage file": ("COPY --from=base /own/f /x/",),
    "stage link": ("COPY --from=base /ownlink /x/",),
    "stage dir slash": ("COPY --from=base /own/ /x/",),
    "stage chown": ("COPY --from=base --chown=3 /own /x/",),
    "stage hard": ("COPY --from=base /hl /x/",),
    "stage wildcard": ("COPY --from=base /own/* /x/",),
    "stage root": ("COPY --from=base / /x/",),
    "add tar": ("ADD t.tar /x",),
    "add tar existing": ("ADD t.tar /dir",),
    "add txz": ("ADD t.txz /x/",),
    "add tbz": ("ADD t.tbz /x/",),
    "add tgz": ("ADD t.tgz /x/",),
    "add tar link in base": ("ADD tl.tar /",),
    "add tar dir over link": ("ADD td.tar /",),
    "add tar chown": ("ADD --chown=5 t.tar /x/",),
    "add file": ("ADD a.txt /x/",),
    "add not a tar": ("ADD fake.tar /x/",),
    "add wildcard tars": ("ADD *.tar /x/",),
    "add dir": ("ADD src /x/",),
    "add tar link to tar": ("ADD tarlink /x/",),
    "add dot entry": ("ADD dot.tar /x/",),
    "add dotdot tar": ("ADD climb.tar /x/y",),
    "workdir new": ("WORKDIR /w1/w2",),
    "workdir user": (
        "USER joe",
        "WORKDIR /w1/w2",
    ),
    "workdir user number": (
        "USER 5",
        "WORKDIR /w1/w2",
    ),
    "workdir user group": (
        "USER joe:staff",
        "WORKDIR /w1/w2",
    ),
    "workdir link": ("WORKDIR /dirlink/w",),
    "workdir existing": ("WORKDIR /dir/sub",),
    "workdir file": ("WORKDIR /file/w",),
    "workdir chown copy": (
        "USER joe",
        "WORKDIR /w1",
        "COPY a.txt .",
    ),
    "tmp": ("COPY a.txt /tmp/",),
    "etc": ("COPY etc /etc",),
    "stage fifo": ("COPY --from=base /pipes /x/",),
    "wildcard link to dir": ("COPY linkd* /x/",),
    "wildcard only dirs": ("COPY sr* clos* /x/",),
    "workdir climbing link": ("WORKDIR /climb/new",),
    "workdir dangling": ("WORKDIR /dangling/new",),
    "copy below tmp": ("COPY a.txt /tmp/new/",),
}

_REG, _DIR, _SYM, _HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE

_BASE: tuple[tuple[str, bytes, int, int, int, str], ...] = (
    # name, type, mode, uid, gid, link target or contents
    ("dir", _DIR, 0o750, 1, 2, ""),
    ("dir/sub", _DIR, 0o700, 3, 3, ""),
    ("dir/old", _REG, 0o640, 0, 0, "old"),
    ("dir/tofile", _SYM, 0o777, 0, 0, "old"),
    ("file", _REG, 0o600, 6, 0, "file"),
    ("dirlink", _SYM, 0o777, 0, 0, "dir"),
    ("filelink", _SYM, 0o777, 0, 0, "file"),
    ("dangling", _SYM, 0o777, 0, 0, "gone/far"),
    ("climb", _SYM, 0o777, 0, 0, "../../../../dir"),
    ("abslink", _SYM, 0o777, 0, 0, "/dir/sub"),
    ("etc", _DIR, 0o755, 0, 0, ""),
    ("etc/passwd", _REG, 0o644, 0, 0, "root:x:0:0::/root:/bin/sh\njoe:x:1001:1002::/home/joe:/bin/sh\n"),
    ("etc/group", _REG, 0o644, 0, 0, "root:x:0:\nstaff:x:50:joe\n"),
    ("own", _DIR, 0o770, 11, 12, ""),
    ("own/f", _REG, 0o666, 13, 14, "of"),
    ("own/d", _DIR, 0o733, 15, 16, ""),
    ("own/d/g", _REG, 0o6755, 17, 0, "g"),
    ("ownlink", _SYM, 0o777, 0, 0, "own/f"),
    ("hl", _DIR, 0o755, 0, 0, ""),
    ("hl/a", _REG, 0o644, 0, 0, "hl"),
    ("hl/b", _HARD, 0o644, 0, 0, "hl/a"),
    ("pipes", _DIR, 0o755, 0, 0, ""),
    ("tmp", _DIR, 0o1777, 0, 0, ""),
)


def _write(path: str, data: bytes, mode: int = 0o644) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def _tar(path: str, *members: tuple[str, bytes, int, int, int, str], pack: Pack = bytes) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, kind, mode, uid, gid, rest in members:
            info = tarfile.TarInfo(name)
            data = rest.encode() if kind == _REG else b""
            info.type, info.mode, info.uid, info.gid, info.size, info.mtime = (
                kind,
                mode,
                uid,
                gid,
                len(data),
                5,
            )
            info.linkname = rest if kind in (_SYM, _HARD) else ""
            archive.addfile(info, io.BytesIO(data))
    _write(path, pack(plain.getvalue()))


def make_base(path: str) -> None:
    """The base image's only layer."""
    _tar(path, *_BASE)


def make_context(top: str) -> None:
    """The build context."""
    old = os.umask(0o022)
    try:
        _make_files(top)
        _make_archives(top)
    finally:
        os.umask(old)


def _make_files(top: str) -> None:
    for name, text in {
        "a.txt": "a",
        "b.txt": "b",
        "src/a.txt": "src a",
        "src/c.txt": "c",
        "src/deep/er/d.txt": "d",
        "closed/x": "x",
        "nest/sub/n": "n",
        "over/old/x": "x",
        "under/sub": "file",
        "linked/tofile/x": "x",
        "flinked/tofile": "new",
        "hard/one": "1",
        "etc/own.conf": "x",
        "fake.tar": "no tar" * 200,
    }.items():
        _write(f"{top}/{name}", text.encode())
    _write(f"{top}/src/run", b"#!", 0o755)
    os.mkdir(f"{top}/src/empty")
    os.chmod(f"{top}/closed", 0o700)
    os.chmod(f"{top}/nest/sub", 0o751)
    for name, target in {
        "src/l": "c.txt",
        "link.txt": "a.txt",
        "linkdir": "src",
        "linkout": "../../../../etc/hostname",
        "dang": "nowhere",
        "tarlink": "t.tar",
    }.items():
        os.symlink(target, f"{top}/{name}")
    for mode in (0o600, 0o444, 0o4755, 0o2755, 0o1777, 0o755):
        _write(f"{top}/modes/m{mode:o}", b"m", mode)
    os.link(f"{top}/hard/one", f"{top}/hard/two")
    os.mkdir(f"{top}/fifo")
    os.mkfifo(f"{top}/fifo/p")


def _make_archives(top: str) -> None:
    _tar(
        f"{top}/t.tar",
        ("top", _DIR, 0o750, 7, 8, ""),
        ("top/f", _REG, 0o4640, 9, 10, "tf"),
        ("other/g", _REG, 0o666, 0, 0, "g"),
        ("top/h", _HARD, 0o4640, 9, 10, "top/f"),
        ("top/s", _SYM, 0o777, 0, 0, "f"),
    )
    _tar(f"{top}/t.tgz", ("z", _REG, 0o644, 0, 0, "z"), pack=gzip.compress)
    _tar(f"{top}/t.txz", ("z", _REG, 0o644, 0, 0, "z"), pack=lzma.compress)
    _tar(f"{top}/t.tbz", ("z", _REG, 0o644, 0, 0, "z"), pack=bz2.compress)
    _tar(f"{top}/tl.tar", ("dirlink/inside", _REG, 0o644, 0, 0, "i"))
    _tar(f"{top}/td.tar", ("dirlink", _DIR, 0o755, 0, 0, ""), ("dirlink/inside", _REG, 0o644, 0, 0, "i"))
    _tar(f"{top}/dot.tar", ("./", _DIR, 0o711, 4, 4, ""), ("./q", _REG, 0o644, 0, 0, "q"))
    _tar(f"{top}/climb.tar", ("../up", _REG, 0o644, 0, 0, "q"))


_KINDS = {_REG: "file", _DIR: "dir", _SYM: "link", _HARD: "hard", tarfile.FIFOTYPE: "fifo"}


def tree_of_tar(path: str) -> Tree:
    """What a tar holds; names of one file are told as that file."""
    tree: Tree = {}
    with tarfile.open(path) as archive:
        for info in archive:
            name = info.name.strip("/")
            if name in ("", ".", "proc", "sys", "dev"):
                continue
            kind = _KINDS[info.type]
            facts = [kind, "" if kind == "link" else f"{info.mode & 0o7777:04o}", f"{info.uid}:{info.gid}"]
            if kind in ("link", "hard"):
                facts.append(info.linkname)
            file = archive.extractfile(info) if kind == "file" else None
            if file is not None:
                facts.append(file.read().hex()[:40])
            tree[name] = list(tree[info.linkname.strip("/")]) if kind == "hard" else facts
    return tree


def tree_of_directory(fd: int) -> Tree:
    """What is below a directory."""
    tree: Tree = {}
    for place, directories, files, place_fd in os.fwalk(".", dir_fd=fd):
        for name in (*directories, *files):
            status = os.stat(name, dir_fd=place_fd, follow_symlinks=False)
            path = os.path.normpath(f"{place}/{name}")
            mode, owner = f"{status.st_mode & 0o7777:04o}", f"{status.st_uid}:{status.st_gid}"
            if stat.S_ISDIR(status.st_mode):
                tree[path] = ["dir", mode, owner]
            elif stat.S_ISLNK(status.st_mode):
                tree[path] = ["link", "", owner, os.readlink(name, dir_fd=place_fd)]
            elif stat.S_ISREG(status.st_mode):
                file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=place_fd)
                try:
                    tree[path] = ["file", mode, owner, os.read(file, 1 << 16).hex()[:40]]
                finally:
                    os.close(file)
            else:
                tree[path] = ["fifo", mode, owner]
    return tree
