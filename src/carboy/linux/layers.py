"""Detached mounts of layers and of the overlay that joins them; nothing appears in the mount tree.

Kernel 6.13 takes overlay layers by descriptor (FSCONFIG_SET_FD); before it, the same layers
are named by their /proc/self/fd link, short enough for fsconfig's 255 bytes.
"""

from __future__ import annotations

import errno
import os

from carboy.linux.mount import (
    MOUNT_ATTR_RDONLY,
    fsconfig_create,
    fsconfig_set_fd,
    fsconfig_set_flag,
    fsconfig_set_string,
    fsmount,
    fsopen,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OVERLAY_DEFAULTS: dict[str, str] = {
    "xino": "on",  # one st_dev and stable inode numbers over all layers
    "metacopy": "off",  # a hostile layer must not be able to point into another one,
    "redirect_dir": "nofollow",  # neither by metadata copies nor by redirects
}


def mount_erofs(meta_fd: int, data_fds: Sequence[int], *, attributes: int = 0) -> int:
    """A detached, read-only mount of the EROFS image `meta_fd` whose extra devices are `data_fds`."""
    context = fsopen("erofs")
    try:
        fsconfig_set_string(context, "source", f"/proc/self/fd/{meta_fd}")
        for fd in data_fds:
            fsconfig_set_string(context, "device", f"/proc/self/fd/{fd}")
        fsconfig_set_flag(context, "ro")
        fsconfig_create(context)
        return fsmount(context, attributes | MOUNT_ATTR_RDONLY)
    finally:
        os.close(context)


def mount_overlay(
    lower_fds: Sequence[int],
    upper_fd: int | None,
    work_fd: int | None,
    *,
    options: Mapping[str, str] | None = None,
    attributes: int = 0,
) -> int:
    """A detached overlay of `lower_fds`, topmost first; without `upper_fd` it is read-only.

    options: added to and overriding OVERLAY_DEFAULTS; an empty value sets a flag.
    attributes: MOUNT_ATTR_* of the mount.
    """
    merged = {**OVERLAY_DEFAULTS, **(options or {})}
    try:
        return assemble_overlay(lower_fds, upper_fd, work_fd, merged, attributes, by_descriptor=True)
    except OSError as error:
        # EINVAL from an older kernel: "lowerdir+" is not known with a descriptor.
        if error.errno != errno.EINVAL:
            raise
    return assemble_overlay(lower_fds, upper_fd, work_fd, merged, attributes, by_descriptor=False)


def assemble_overlay(
    lower_fds: Sequence[int],
    upper_fd: int | None,
    work_fd: int | None,
    options: Mapping[str, str],
    attributes: int,
    *,
    by_descriptor: bool,
) -> int:
    """One attempt of `mount_overlay`: layers go by descriptor, or by a path to it."""

    def set_layer(key: str, fd: int) -> None:
        if by_descriptor:
            fsconfig_set_fd(context, key, fd)
        else:
            fsconfig_set_string(context, key, f"/proc/self/fd/{fd}")

    context = fsopen("overlay")
    try:
        fsconfig_set_string(context, "source", "carboy")
        for fd in lower_fds:
            set_layer("lowerdir+", fd)
        if upper_fd is not None and work_fd is not None:
            set_layer("upperdir", upper_fd)
            set_layer("workdir", work_fd)
        for key, value in options.items():
            if value:
                fsconfig_set_string(context, key, value)
            else:
                fsconfig_set_flag(context, key)
        fsconfig_create(context)
        return fsmount(context, attributes)
    finally:
        os.close(context)


def supports_erofs_files() -> bool:
    """Whether EROFS images can be mounted from plain files here (kernel 6.12, CAP_SYS_ADMIN).

    This very file is offered: a kernel that reads files says "not an EROFS image" (EINVAL), an
    older one that it wants a block device (ENOTBLK), as any does of a memfd.
    """
    image = os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.close(mount_erofs(image, ()))
    except OSError as error:
        return error.errno == errno.EINVAL and kernel_version() >= (6, 12)
    finally:
        os.close(image)
    return True


def kernel_version() -> tuple[int, int]:
    """Major and minor number of the kernel that runs."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(char for char in minor if char.isdigit()) or "0")
