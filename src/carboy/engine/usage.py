"""How much space things take: `GET /system/df`, `ps --size`.

Sizes are Docker's: the bytes of all files, each inode once, without directories.  Trees are
walked by descriptors (linux/treesize.py), several at once, in threads of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.system import DiskUsage
from carboy.linux.treesize import directory_size as directory_size

if TYPE_CHECKING:
    from carboy.engine.building.joining import Building
    from carboy.engine.containers.document import Container
    from carboy.engine.containers.service import Containers
    from carboy.engine.images.service import ImageService
    from carboy.engine.volumes import Volumes

T = TypeVar("T")
KINDS = ("container", "image", "volume", "build-cache")
_AT_ONCE = 4


def log_size(path: str) -> int:
    """Bytes of a log and of the older ones that were rotated away; 0 when there is none."""
    directory, _, name = path.rpartition("/")
    if not directory:
        return 0
    total = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(name) and entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:
        return total
    return total


def in_parallel(jobs: Iterable[Callable[[], T]]) -> list[T]:
    """The results, in order; the disk is asked several things at once."""
    waiting = list(jobs)
    if len(waiting) < 2:
        return [job() for job in waiting]
    with ThreadPoolExecutor(min(_AT_ONCE, len(waiting)), thread_name_prefix="usage") as pool:
        return list(pool.map(lambda job: job(), waiting))


def parse_kinds(unsafe_kinds: list[str]) -> frozenset[str]:
    """The objects that are asked for, all when none is named; raises InvalidArgument."""
    for kind in unsafe_kinds:
        if kind not in KINDS:
            raise InvalidArgument(f"unknown object type: {kind[:80]}")
    return frozenset(unsafe_kinds or KINDS)


def disk_usage(
    kinds: frozenset[str],
    containers: Containers,
    images: ImageService,
    volumes: Volumes,
    building: Building,
) -> DiskUsage:
    """What takes how much space; what was not asked for is null."""
    report = DiskUsage(images=None, containers=None, volumes=None, build_cache=None)
    if "image" in kinds:
        report.images, report.layers_size = images.usage()
    if "container" in kinds:
        report.containers = containers.list(all=True, limit=None, size=True, filters=Filters())
        by_id = {container.id: container for container in containers.index}
        for summary in report.containers:
            container = by_id.get(summary.id)
            if container is not None and isinstance(summary.size_rw, int):
                # Here the log counts too: it goes with the container.
                summary.size_rw += log_size(containers.lifecycle.log_path(container))
    if "volume" in kinds:
        report.volumes = volumes.usage()
    if "build-cache" in kinds:
        report.build_cache = list(building.records())
        report.builder_size = sum(one.size for one in report.build_cache if not one.shared)
    return report


def container_size(container: Container, containers: Containers, upper: str) -> int:
    """What the removal of a container gives back: its writable layer and its log."""
    return directory_size(upper) + log_size(containers.lifecycle.log_path(container))
