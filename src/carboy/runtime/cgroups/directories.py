"""Steps on the directories of a hierarchy: down, into new ones, over all below, and away.

Groups come and go beside us, so a child that is gone in this moment is skipped.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.runtime.cgroups.hierarchy import Directory, Hierarchy


V2_DELEGATED = frozenset(("memory", "cpu", "cpuset", "io", "pids", "hugetlb", "rdma", "misc"))


def into(directory: Directory, name: str, *, keep: bool = False) -> Directory:
    """The child, with its parent closed; when it is missing and `keep`, the parent stays open."""
    try:
        child = directory.child(name)
    except OSError:
        if not keep:
            directory.close()
        raise
    directory.close()
    return child


def join(hierarchy: Hierarchy, names: list[str]) -> Directory:
    """The group at this path of a hierarchy, made as far as it is missing."""
    directory = hierarchy.root()
    try:
        for name in names:
            if hierarchy.version == 2:
                _delegate(directory, hierarchy)
            try:
                directory = into(directory, name, keep=True)
            except FileNotFoundError:
                directory = _make(directory, name, hierarchy)
    except OSError:
        directory.close()
        raise
    return directory


def _make(parent: Directory, name: str, hierarchy: Hierarchy) -> Directory:
    try:
        parent.make(name)
    except FileExistsError:
        pass  # somebody else was quicker: the same group is meant
    made = parent.child(name)
    if "cpuset" in hierarchy.controllers and hierarchy.version == 1:
        _inherit_cpuset(parent, made)
    parent.close()
    return made


def _delegate(directory: Directory, hierarchy: Hierarchy) -> None:
    """Offer v2 controllers to the groups below, as many as the kernel lets us."""
    wanted = hierarchy.controllers & V2_DELEGATED
    enabled = set(directory.read("cgroup.subtree_control").split())
    for controller in sorted(wanted - enabled):
        try:
            directory.write("cgroup.subtree_control", [f"+{controller}"])
        except OSError:
            # Not available here, or processes are in the way: asked-for limits will say so.
            continue


def _inherit_cpuset(parent: Directory, child: Directory) -> None:
    """A new v1 cpuset is empty, and takes no process before it has processors and memory nodes."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not child.read(file).strip():
            child.write(file, [parent.read(file).strip()])


def process_ids(directory: Directory) -> list[int]:
    """Who is in the group itself; nobody when it is gone."""
    try:
        return [int(line) for line in directory.read("cgroup.procs").split()]
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENOENT):  # removed in this moment
            return []
        raise


def walk(directory: Directory, visit: Callable[[Directory], None]) -> None:
    """Call `visit` with the group and every group below it."""
    visit(directory)
    try:
        names = directory.children()
    except OSError:
        return
    for name in names:
        try:
            child = directory.child(name)
        except FileNotFoundError:
            continue
        try:
            walk(child, visit)
        finally:
            child.close()


def remove_below(directory: Directory) -> None:
    """Remove the groups below as far as they are empty."""
    try:
        names = directory.children()
    except OSError:
        return
    for name in names:
        try:
            child = directory.child(name)
        except OSError:
            continue
        try:
            remove_below(child)
        finally:
            child.close()
        try:
            directory.remove(name)
        except OSError:
            continue
