"""What the build cache takes, and how to have less of it.

    list_items ─▶ Items: cached steps and cache mounts      choose ─▶ those to go      prune ─▶ gone

What a build under way holds always stays.  An item is shared when an image needs all its layers, too: to
forget it frees nothing, so only `everything` does.  With bounds of space, what was not used for longest
goes first, until the rest fits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from carboy.build.caching.cache import BuildCache, Entry, entry_id
from carboy.build.caching.mounts import CacheMounts, MountUsage
from carboy.store.gc import LAYER, Key

REGULAR = "regular"
MOUNT = "exec.cachemount"
_TYPES = {"Git": "source.git.checkout"}
_SHORT = 25

Collect = Callable[[list[Key]], list[Key]]
"""Deletes those of some layers that nothing needs; returns what it deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that the build cache has, in the words of `GET /system/df`."""

    name: str
    """The key of a step, or the name of a mount's directory."""
    id: str
    parents: tuple[str, ...] = ()
    type: str = REGULAR
    description: str
    in_use: bool
    shared: bool = False
    size: int
    created_at: float
    last_used: float
    uses: int
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneOptions:
    """What goes.  Without any: all that is neither in use nor shared."""

    everything: bool = False
    """Also what is shared with images."""
    unused_since: float | None = None
    """Only what was not used after that moment (filters `until`, `unused-for`)."""
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """id, parent, type, description, inuse, shared, private: any value of each must fit."""
    reserved_space: int = 0
    """Bytes that may stay in any case (once `keep-storage`)."""
    max_used_space: int = 0
    """Bytes that may stay at most; 0: no such bound."""
    min_free_space: int = 0
    """Bytes that the disk should have free."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went."""

    ids: tuple[str, ...]
    freed: int


def list_items(cache: BuildCache, mounts: CacheMounts, *, shared: Collection[str] = ()) -> list[Item]:
    """Everything there is, oldest first; directories are measured now.

    shared: DiffIDs of the layers that images need.
    """
    items = [_of_entry(entry, cache, shared) for entry in cache.records()]
    items += [_of_mount(mount) for mount in mounts.list()]
    return sorted(items, key=lambda item: (item.created_at, item.id))


def prune(
    cache: BuildCache,
    mounts: CacheMounts,
    options: PruneOptions,
    *,
    collect: Collect,
    shared: Collection[str] = (),
    free: int = 0,
) -> Pruned:
    """Remove what the options say; its space is free on return, unless a build holds all layers.

    free: bytes that the disk has now.
    """
    chosen = choose(list_items(cache, mounts, shared=shared), options, free=free)
    if not chosen:
        return Pruned((), 0)
    steps = [item for item in chosen if item.type != MOUNT]
    gone = {entry.key for entry in cache.remove(item.name for item in steps)}
    gone |= mounts.remove(item.name for item in chosen if item.type == MOUNT)
    removed = [item for item in chosen if item.name in gone]
    sizes: dict[str, int] = {}
    for item in removed:
        # A step adds one layer; where it is several, the sum stands for the last.
        sizes.update(dict.fromkeys(item.layers, 0))
        if item.layers:
            sizes[item.layers[-1]] = item.size
    deleted = collect([(LAYER, layer) for layer in sizes])
    freed = sum(sizes.get(name, 0) for kind, name in deleted if kind == LAYER)
    freed += sum(item.size for item in removed if item.type == MOUNT)
    cache.history.sweep()
    return Pruned(tuple(item.id for item in removed), freed)


def keep_within(
    limit: int, cache: BuildCache, mounts: CacheMounts, *, collect: Collect, shared: Collection[str] = ()
) -> Pruned:
    """After a build: forget what was not used for longest, until `limit` bytes hold the rest."""
    return prune(cache, mounts, PruneOptions(max_used_space=limit), collect=collect, shared=shared)


def choose(items: Iterable[Item], options: PruneOptions, *, free: int = 0) -> list[Item]:
    """What goes; pure."""
    items = list(items)
    able = [item for item in items if _may_go(item, options)]
    bounded = options.reserved_space or options.max_used_space or options.min_free_space
    if not bounded:
        return able
    left = _total(items)
    keep = _bytes_to_keep(left, options, free)
    able.sort(key=lambda item: (item.last_used, item.uses, item.id))
    holders = _holders(items)
    chosen = []
    for item in able:
        if left <= keep:
            break
        chosen.append(item)
        for layer in item.layers:
            holders[layer] -= 1
        if not item.shared and all(not holders[layer] for layer in item.layers):
            left -= item.size
    return chosen


def _bytes_to_keep(total: int, options: PruneOptions, free: int) -> int:
    keep = options.max_used_space
    if options.min_free_space:
        wanted = total - max(0, options.min_free_space - free)
        keep = min(keep, wanted) if options.max_used_space else wanted
    return max(keep, options.reserved_space)


def _total(items: list[Item]) -> int:
    """Bytes that only the cache needs; a layer of two steps once."""
    seen: dict[tuple[str, ...], int] = {}
    for item in items:
        if not item.shared:
            seen[item.layers or (item.id,)] = item.size
    return sum(seen.values())


def _holders(items: list[Item]) -> dict[str, int]:
    holders: dict[str, int] = {}
    for item in items:
        for layer in item.layers:
            holders[layer] = holders.get(layer, 0) + 1
    return holders


def _may_go(item: Item, options: PruneOptions) -> bool:
    if item.in_use or (item.shared and not options.everything):
        return False
    if options.unused_since is not None and item.last_used > options.unused_since:
        return False
    return all(_fits(item, name, values) for name, values in options.filters.items() if values)


def _fits(item: Item, name: str, values: Sequence[str]) -> bool:
    match name:
        case "id":
            return any(item.id.startswith(value) or item.name == value for value in values if value)
        case "parent":
            return any(parent.startswith(value) for parent in item.parents for value in values if value)
        case "type":
            return item.type in values
        case "description":
            return any(value in item.description for value in values)
        case "inuse":
            return item.in_use in _booleans(values)
        case "shared":
            return item.shared in _booleans(values)
        case "private":
            return item.shared not in _booleans(values)
        case _:
            return True


def _booleans(values: Sequence[str]) -> set[bool]:
    return {value.lower() not in ("false", "0", "no") for value in values}


def _of_entry(entry: Entry, cache: BuildCache, shared: Collection[str]) -> Item:
    layers = tuple(str(layer) for layer in entry.layers)
    return Item(
        name=entry.key,
        id=entry.id(),
        parents=tuple(entry_id(parent) for parent in entry.parents),
        type=_TYPES.get(entry.operation, REGULAR),
        description=entry.description,
        in_use=cache.is_used(entry.key),
        shared=bool(layers) and all(layer in shared for layer in layers),
        size=entry.size,
        created_at=entry.created_at,
        last_used=entry.last_used,
        uses=entry.uses,
        layers=layers,
    )


def _of_mount(mount: MountUsage) -> Item:
    return Item(
        name=mount.name,
        id=mount.name[:_SHORT] + mount.name[64:],
        type=MOUNT,
        description=f"cache mount {mount.id}",
        in_use=mount.in_use,
        size=mount.size,
        created_at=mount.created_at,
        last_used=mount.last_used,
        uses=mount.uses,
    )
