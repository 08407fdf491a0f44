"""/sys/fs/cgroup as a container may see it: its own groups, on v1, v2 and hybrid machines.

v2 alone   one mount, rooted at the container's group
v1, both   a tmpfs with one mount for each hierarchy in which the container has a group
"""

from __future__ import annotations

import os

from carboy.linux import mount as m
from carboy.runtime import mountoptions
from carboy.runtime.detached import new_filesystem, set_attributes
from carboy.runtime.mountoptions import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.cgroups import Layout
    from carboy.runtime.cgroups.hierarchy import Hierarchy


def attach(
    layout: Layout, groups: dict[str, str], target: int, options: Options, *, own_namespace: bool
) -> None:
    """Attach the view to `target`; groups: the container's, by controller, empty when it has none."""
    if len(layout.hierarchies) == 1 and layout.hierarchies[0].version == 2:
        fd = _open(layout.hierarchies[0], groups, own_namespace=own_namespace)
        try:
            set_attributes(fd, options)
            m.attach(fd, target)
        finally:
            os.close(fd)
        return
    tmpfs = new_filesystem("tmpfs", "tmpfs", mountoptions.parse(["mode=755"]))
    try:
        m.mount_setattr(tmpfs, b"", m.AT_EMPTY_PATH, attr_set=options.attr_set & ~m.MOUNT_ATTR_RDONLY)
        m.attach(tmpfs, target)
        for hierarchy in layout.hierarchies:
            if _takes_part(hierarchy, groups):
                _add(tmpfs, hierarchy, groups, options, own_namespace=own_namespace)
        if options.attr_set & m.MOUNT_ATTR_RDONLY:
            m.mount_setattr(tmpfs, b"", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_RDONLY)
    finally:
        os.close(tmpfs)


def _add(
    tmpfs: int, hierarchy: Hierarchy, groups: dict[str, str], options: Options, *, own_namespace: bool
) -> None:
    name = os.path.basename(hierarchy.mount_point)
    try:
        fd = _open(hierarchy, groups, own_namespace=own_namespace)
    except FileNotFoundError:
        return  # the container's group there is gone
    try:
        os.mkdir(name, 0o755, dir_fd=tmpfs)
        set_attributes(fd, options)
        # By name: the tmpfs is new and nobody else can reach it.
        m.move_mount(fd, b"", tmpfs, name, m.MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(fd)


def _keys(hierarchy: Hierarchy) -> tuple[str, ...] | frozenset[str]:
    return ("unified", "") if hierarchy.version == 2 else hierarchy.controllers


def _takes_part(hierarchy: Hierarchy, groups: dict[str, str]) -> bool:
    """Whether the container has a group there: elsewhere it would be shown the host's."""
    if not groups:
        return True  # it has none at all: it lives in its creator's
    return any(key in groups for key in _keys(hierarchy))


def _open(hierarchy: Hierarchy, groups: dict[str, str], *, own_namespace: bool) -> int:
    """A detached mount of one hierarchy, rooted at the container's group."""
    if own_namespace:
        if hierarchy.version == 2:
            return new_filesystem("cgroup2", "cgroup", Options())
        options = Options()
        options.data = [(name, None) for name in hierarchy.controllers if not name.startswith("name=")]
        named = [name for name in hierarchy.controllers if name.startswith("name=")]
        if named:
            options.data = [("none", None), ("name", named[0].partition("=")[2])]
        return new_filesystem("cgroup", "cgroup", options)
    path = next((groups[key] for key in _keys(hierarchy) if key in groups), hierarchy.mount_point)
    return m.open_tree(m.AT_FDCWD, path, m.OPEN_TREE_CLONE)
