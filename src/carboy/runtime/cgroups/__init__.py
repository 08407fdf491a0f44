"""Control groups: v1, v2 and the hybrid of both behind one face, picked by looking at the machine.

May import: `errors`, `linux`, small modules of the standard library.

    group = open_cgroup("/carboy/<id>")      nothing is touched yet
    group.create(); group.apply(resources); group.add_process(pid)
    group.delete()

Start reading at `hierarchy.py` (what there is), then `settings.py` (resources to files, pure)
and `group.py` (the executor).
"""

from __future__ import annotations

from carboy.runtime.cgroups.group import Cgroup, Machine
from carboy.runtime.cgroups.hierarchy import Layout, read_layout, resolve_path
from carboy.runtime.cgroups.oom import drain_oom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.cgroups.hierarchy import Hierarchy

__all__ = ["Cgroup", "Layout", "Machine", "attach", "drain_oom", "open_cgroup", "read_layout", "resolve_path"]


def open_cgroup(path: str, *, layout: Layout | None = None, machine: Machine | None = None) -> Cgroup:
    """The group `path` below every hierarchy's root; `create` makes it."""
    return Cgroup(path, layout or read_layout(), machine or Machine())


def attach(paths: dict[str, str], *, layout: Layout | None = None, machine: Machine | None = None) -> Cgroup:
    """The existing group that `Cgroup.paths()` described, opened again by another process."""
    layout = layout or read_layout()
    for key, path in paths.items():
        for hierarchy in layout.hierarchies:
            if _serves(hierarchy, key) and path.startswith(hierarchy.mount_point + "/"):
                group = Cgroup(path[len(hierarchy.mount_point) :], layout, machine or Machine())
                group.open_existing()
                return group
    from carboy.errors import NotFound

    raise NotFound(f"none of the control groups {sorted(paths.values())} is in a hierarchy of this machine")


def _serves(hierarchy: Hierarchy, key: str) -> bool:
    return hierarchy.version == 2 if key in ("unified", "") else key in hierarchy.controllers
