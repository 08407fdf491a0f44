"""A layer as a tree: what a tar's members amount to once all have been seen.

    TarEntry, TarEntry, ... ──▶ TreeBuilder.add ──▶ TreeBuilder.finish() ──▶ Node (the root)

Both layer drivers are made from this tree, so hostile names, repeated members, links and
whiteouts are decided here, once, without a filesystem:

- paths are relative to the root; `..` in one is refused; a symlink that an earlier member
  put in the way is followed inside the layer's own root, as containerd does;
- the last member of a name wins; a directory met twice keeps what is in it;
- `.wh.NAME` removes NAME of the layers below, `.wh..wh..opq` everything of them in its directory
  (OCI image specification, layer.md); either way the layer's own entries stay;
- overlay's private attributes and its whiteout device in a tar would let an image write
  the overlay's own language: refused;
- parents that no member describes are made 0755 root:root and marked `implied`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from carboy.errors import Corrupt
from carboy.formats.tar.entry import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Segments,
    TarEntry,
)

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
IMPLIED = b"trusted.carboy.implied"
"""The attribute of a directory that no member of the tar describes; its value is empty."""
_RESERVED = b".wh..wh."
_NAME_MAX = 255
_MAX_DEPTH = 256
_MAX_LINKS = 40
# Labels of the machine that made the tar, and marks of overlays in user namespaces: dropped.
_DROPPED_XATTRS = (b"security.selinux", b"security.ima", b"security.evm")
_XATTR_NAMESPACES = (b"user.", b"trusted.", b"security.", b"system.posix_acl_")


class Node:
    """One inode of a layer.  Names live in the parent's `children`; several may share a Node."""

    __slots__ = (
        "children",
        "data_offset",
        "gid",
        "implied",
        "kind",
        "link",
        "mode",
        "mtime",
        "mtime_nsec",
        "nlink",
        "opaque",
        "parent_position",
        "position",
        "rdev",
        "segments",
        "size",
        "uid",
        "whiteouts",
        "xattrs",
    )

    def __init__(self, kind: int, mode: int) -> None:
        self.kind = kind
        self.mode = mode
        self.uid = 0
        self.gid = 0
        self.mtime = 0
        self.mtime_nsec = 0
        self.size = 0
        self.link = b""
        self.rdev = (0, 0)
        self.xattrs: dict[bytes, bytes] | None = None
        self.children: dict[bytes, Node] = {} if kind == DIRECTORY else _NO_CHILDREN
        self.whiteouts: set[bytes] | None = None
        self.opaque = False
        self.implied = False
        self.data_offset = 0
        self.segments: Segments | None = None
        self.nlink = 1
        self.position = 0
        """For a writer of images: where the inode is, and its directory's."""
        self.parent_position = 0

    @property
    def is_whiteout(self) -> bool:
        """True for overlay's mark that a name is gone."""
        return self.kind == CHARACTER and self.rdev == (0, 0)


_NO_CHILDREN: dict[bytes, Node] = {}
"""Of everything but directories: a dictionary for each file would be a seventh of a layer's memory."""


class TreeBuilder:
    """Collects members; `finish` gives the tree."""

    def __init__(self) -> None:
        self._root = _implied_directory()
        # Parents by their spelling in the tar.  Emptied when anything that may be a parent goes.
        self._parents: dict[bytes, Node] = {b"": self._root}

    def add(self, entry: TarEntry) -> None:
        """Put one member in its place; raises Corrupt for one that has none."""
        unsafe_path = entry.unsafe_path
        head, _, name = unsafe_path.rpartition(b"/")
        parent = self._parents.get(head)
        if parent is None or name in (b"", b".", b".."):
            parts = split_path(unsafe_path)
            if not parts:
                self._set_root(entry)
                return
            name = parts.pop()
            parent = self._directory(parts, unsafe_path)
            if unsafe_path[-1] != 0x2F:
                self._parents[head] = parent
        if len(name) > _NAME_MAX and not (name.startswith(WHITEOUT) and len(name) <= _NAME_MAX + 4):
            raise Corrupt(f"layer: a name in {unsafe_path[:200]!r} is longer than 255 bytes")
        if name.startswith(WHITEOUT):
            self._whiteout(parent, name, unsafe_path)
        elif entry.kind == HARDLINK:
            self._hard_link(parent, name, entry)
        elif entry.kind == DIRECTORY:
            self._add_directory(parent, name, entry)
        else:
            self._replace(parent, name, _node(entry))

    def finish(self) -> Node:
        """The root, with whiteouts in place and links counted.  Call it once, last."""
        stack = [self._root]
        self._root.nlink = 2
        seen: set[int] = set()
        while stack:
            node = stack.pop()
            if node.whiteouts:
                _place_whiteouts(node)
            for child in node.children.values():
                if child.kind == DIRECTORY:
                    node.nlink += 1
                    child.nlink = 2
                    stack.append(child)
                elif child.nlink > 1 and id(child) not in seen:
                    # Links that a later member replaced no longer count: count again.
                    seen.add(id(child))
                    child.nlink = 1
                elif id(child) in seen:
                    child.nlink += 1
        return self._root

    def _set_root(self, entry: TarEntry) -> None:
        if entry.kind != DIRECTORY:
            raise Corrupt(f"layer: {entry.unsafe_path[:200]!r}, the root, is not a directory")
        _describe(self._root, entry)

    def _directory(self, parts: list[bytes], unsafe_path: bytes) -> Node:
        """The directory at `parts`, made if need be; symlinks are followed inside the root."""
        trail = [self._root]
        todo = parts[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                if len(trail) > 1:
                    trail.pop()
                continue
            if len(part) > _NAME_MAX or len(trail) > _MAX_DEPTH:
                raise Corrupt(f"layer: the path {unsafe_path[:200]!r} is too long or too deep")
            child = trail[-1].children.get(part)
            if child is None:
                if part.startswith(WHITEOUT):
                    raise Corrupt(f"layer: {unsafe_path[:200]!r} lies inside a whiteout")
                child = trail[-1].children[part] = _implied_directory()
            if child.kind == SYMLINK:
                links += 1
                if links > _MAX_LINKS:
                    raise Corrupt(f"layer: {unsafe_path[:200]!r} lies behind a loop of symbolic links")
                if child.link.startswith(b"/"):
                    del trail[1:]
                todo.extend(p for p in reversed(child.link.split(b"/")) if p not in (b"", b"."))
            elif child.kind == DIRECTORY:
                trail.append(child)
            else:
                raise Corrupt(
                    f"layer: {unsafe_path[:200]!r} lies inside {part[:100]!r}, which is not a directory"
                )
        return trail[-1]

    def _replace(self, parent: Node, name: bytes, node: Node) -> None:
        old = parent.children.get(name)
        if old is not None and old.kind in (DIRECTORY, SYMLINK):
            self._parents = {b"": self._root}
        parent.children[name] = node

    def _add_directory(self, parent: Node, name: bytes, entry: TarEntry) -> None:
        node = parent.children.get(name)
        if node is None or node.kind != DIRECTORY:
            node = Node(DIRECTORY, entry.mode)
            self._replace(parent, name, node)
        _describe(node, entry)

    def _hard_link(self, parent: Node, name: bytes, entry: TarEntry) -> None:
        path, link = entry.unsafe_path, entry.link
        parts = split_path(link)
        target: Node | None = None
        if parts:
            last = parts.pop()
            target = self._existing(parts).get(last)
        if target is None or target.kind == DIRECTORY:
            raise Corrupt(
                f"layer: hard link {path[:200]!r} to {link[:200]!r}, which is no file of this layer"
            )
        if parent.children.get(name) is not target:
            target.nlink += 1
            self._replace(parent, name, target)

    def _existing(self, parts: list[bytes]) -> dict[bytes, Node]:
        """The names in a directory that must already be there; empty when it is not."""
        trail = [self._root]
        todo = parts[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                if len(trail) > 1:
                    trail.pop()
                continue
            child = trail[-1].children.get(part)
            if child is None:
                return {}
            if child.kind == SYMLINK and links < _MAX_LINKS:
                links += 1
                if child.link.startswith(b"/"):
                    del trail[1:]
                todo.extend(p for p in reversed(child.link.split(b"/")) if p not in (b"", b"."))
            elif child.kind == DIRECTORY:
                trail.append(child)
            else:
                return {}
        return trail[-1].children

    @staticmethod
    def _whiteout(parent: Node, name: bytes, unsafe_path: bytes) -> None:
        if name == OPAQUE:
            parent.opaque = True
            return
        if name.startswith(_RESERVED):
            return  # aufs's own bookkeeping, in very old images
        victim = name[len(WHITEOUT) :]
        if victim in (b"", b".", b".."):
            raise Corrupt(f"layer: {unsafe_path[:200]!r} is a whiteout of nothing that may be removed")
        if parent.whiteouts is None:
            parent.whiteouts = set()
        parent.whiteouts.add(victim)


def build_tree(entries: Iterable[TarEntry]) -> Node:
    """The tree of a whole layer."""
    builder = TreeBuilder()
    add = builder.add
    for entry in entries:
        add(entry)
    return builder.finish()


def split_path(unsafe_path: bytes) -> list[bytes]:
    """The components of a member's path; a leading slash and `.` mean nothing, `..` is refused."""
    parts = [part for part in unsafe_path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise Corrupt(f"layer: the path {unsafe_path[:200]!r} climbs with '..'")
    return parts


def walk(root: Node) -> Iterator[tuple[bytes, Node]]:
    """(path, node) for every name, the root (an empty path) first, sorted inside each directory."""
    stack = [(b"", root)]
    while stack:
        path, node = stack.pop()
        yield path, node
        prefix = path + b"/" if path else b""
        stack.extend((prefix + name, node.children[name]) for name in sorted(node.children, reverse=True))


def _implied_directory() -> Node:
    node = Node(DIRECTORY, 0o755)
    node.implied = True
    return node


def _place_whiteouts(node: Node) -> None:
    for name in node.whiteouts or ():
        child = node.children.get(name)
        if child is None:
            node.children[name] = Node(CHARACTER, 0)
        elif child.kind == DIRECTORY:
            child.opaque = True
    node.whiteouts = None


def _describe(node: Node, entry: TarEntry) -> None:
    """Give `node` the owner, mode, times and attributes of `entry`."""
    node.mode = entry.mode
    node.uid = entry.uid
    node.gid = entry.gid
    node.mtime = entry.mtime
    node.mtime_nsec = entry.mtime_nsec
    node.implied = False
    node.xattrs = _checked_xattrs(entry) if entry.xattrs else None


def _node(entry: TarEntry) -> Node:
    kind = entry.kind
    node = Node(kind, entry.mode)
    _describe(node, entry)
    if kind == REGULAR:
        node.size = entry.size
        node.data_offset = entry.data_offset
        node.segments = entry.segments
    elif kind == SYMLINK:
        node.link = entry.link
        node.size = len(entry.link)
    elif kind in (CHARACTER, BLOCK):
        major, minor = node.rdev = entry.rdev
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
            raise Corrupt(f"layer: {entry.unsafe_path[:200]!r} is an impossible device, {major}:{minor}")
        if node.is_whiteout:
            raise Corrupt(
                f"layer: {entry.unsafe_path[:200]!r} is overlay's whiteout device (0:0): no image may have it"
            )
    return node


def _checked_xattrs(entry: TarEntry) -> dict[bytes, bytes] | None:
    kept = {}
    for name, value in (entry.xattrs or {}).items():
        if name.startswith(b"trusted.overlay."):
            raise Corrupt(
                f"layer: {entry.unsafe_path[:200]!r} has overlay's attribute {name!r}: no image may"
            )
        if (
            name.startswith(_XATTR_NAMESPACES)
            and name not in _DROPPED_XATTRS
            and not name.startswith(b"user.overlay.")
        ):
            kept[name] = value
    return kept or None
