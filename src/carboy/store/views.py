"""Reading what layers amount to, without a container: a detached mount that nobody else sees."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from carboy.digest import Digest
from carboy.errors import InvalidArgument
from carboy.linux import layers as linux_layers
from carboy.linux import tree as linux_tree
from carboy.linux.mount import MOUNT_ATTR_RDONLY, fsconfig_create, fsmount, fsopen
from carboy.store.layers import MAX_LAYERS, LayerStore
from carboy.store.lower import Lowers
from carboy.store.paths import Paths


@contextmanager
def mounted(layers: LayerStore, diff_ids: Sequence[Digest], paths: Paths) -> Iterator[int]:
    """A descriptor of the root of `diff_ids` (bottom first), to read below; valid inside the block.

    One layer is its own mount, where a character device 0:0 stands for nothing, as in overlay's layers.
    """
    if len(diff_ids) > MAX_LAYERS:
        raise InvalidArgument(f"there are {len(diff_ids)} layers; at most {MAX_LAYERS} can be mounted")
    # Overlay refuses the same directory twice, and what a lower one could still show, the upper one shows.
    distinct = list(dict.fromkeys(reversed(diff_ids)))[::-1]
    with ExitStack() as stack:
        if not distinct:
            root = _empty()
        elif len(distinct) == 1:
            root = layers.mount(distinct[0])
        else:
            root = _overlay(layers, distinct, paths, stack)
        stack.callback(os.close, root)
        yield root


def _empty() -> int:
    context = fsopen("tmpfs")
    try:
        fsconfig_create(context)
        return fsmount(context, MOUNT_ATTR_RDONLY)
    finally:
        os.close(context)


def _overlay(layers: LayerStore, diff_ids: Sequence[Digest], paths: Paths, stack: ExitStack) -> int:
    lower_fds: list[int] = []
    if any(layers.implied(diff_id) for diff_id in diff_ids[1:]):
        _add_parents(layers, diff_ids, paths, stack, lower_fds)
    for diff_id in reversed(diff_ids):
        fd = layers.mount(diff_id)
        stack.callback(os.close, fd)
        lower_fds.append(fd)
    return linux_layers.mount_overlay(lower_fds, None, None)


def _add_parents(
    layers: LayerStore, diff_ids: Sequence[Digest], paths: Paths, stack: ExitStack, lower_fds: list[int]
) -> None:
    """Directories that upper layers only imply keep what lower ones say of them."""
    name = f"view-{secrets.token_hex(8)}"
    with Lowers(layers, diff_ids) as lowers:
        stack.callback(linux_tree.remove_in, paths.ingest, name)
        lowers.make_parents(f"{paths.ingest}/{name}")
    try:
        fd = os.open(f"{paths.ingest}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    stack.callback(os.close, fd)
    lower_fds.append(fd)
