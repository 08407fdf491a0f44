"""Removing images: what a name or an ID takes away, and what stands in the way.

The rules and the texts are Docker's, since clients and people know them:

    by name, other names left       only that name goes
    by name, the last one           the image goes too, unless something stands in the way
    by ID                           its one name goes, and the image
    in the way, hard                a running container, an image committed from this one
    in the way unless forced        a stopped container, names in several repositories
"""

from __future__ import annotations

from collections.abc import Callable

from carboy.engine.images.records import ImageRecord, ImageRecords
from carboy.engine.images.users import ContainerUse
from carboy.errors import Conflict
from carboy.formats.reference import Reference


class Remover:
    """One removal; `untagged` and `deleted` say what it did."""

    def __init__(
        self,
        records: ImageRecords,
        uses: Callable[[], list[ContainerUse]],
        *,
        force: bool,
        prune_parents: bool,
    ) -> None:
        self._records = records
        self._uses = uses
        self._force = force
        self._prune_parents = prune_parents
        self.untagged: list[Reference] = []
        self.deleted: list[ImageRecord] = []

    def remove(self, unsafe_ref: str) -> None:
        """Do it; Conflict when something stands in the way."""
        record, reference = self._records.resolve(unsafe_ref)
        references = self._records.references(record.id)
        if reference is not None:
            self._check_named(unsafe_ref, record, references)
            self._untag([reference])
            if len(references) > 1:
                return
        elif len(references) <= 1:
            conflict = self._in_the_way(record, force=self._force, check_names=False)
            if conflict is not None:
                raise conflict[0]
            self._untag(references)
        self._delete(record, force=self._force, quiet=reference is not None)

    def _check_named(self, unsafe_ref: str, record: ImageRecord, references: list[Reference]) -> None:
        if self._force or len(references) > 1:
            return
        for use in self._uses_of(record):
            raise Conflict(
                f'conflict: unable to remove repository reference "{unsafe_ref}" (must force) - container'
                f" {use.container_id[:12]} is using its referenced image {record.short_id}"
            )

    def _delete(self, record: ImageRecord, *, force: bool, quiet: bool) -> None:
        conflict = self._in_the_way(record, force=force, check_names=True)
        if conflict is not None:
            error, used = conflict
            if quiet and (used or not self._is_dangling(record)):
                return
            raise error
        self._untag(self._records.references(record.id))
        self._records.delete(record.id)
        self.deleted.append(record)
        parent = self._records.get(record.parent) if record.parent else None
        if self._prune_parents and parent is not None:
            # Only one that nothing names or uses: the rest is quietly left.
            self._delete_parent(parent)

    def _delete_parent(self, parent: ImageRecord) -> None:
        if self._is_dangling(parent) and self._in_the_way(parent, force=False, check_names=True) is None:
            self._delete(parent, force=False, quiet=True)

    def _untag(self, references: list[Reference]) -> None:
        if references:
            self._records.untag(references)
            self.untagged.extend(references)

    def _is_dangling(self, record: ImageRecord) -> bool:
        return not self._records.references(record.id) and not self._records.children(record.id)

    def _uses_of(self, record: ImageRecord) -> list[ContainerUse]:
        return [use for use in self._uses() if use.image_id == record.id]

    def _in_the_way(
        self, record: ImageRecord, *, force: bool, check_names: bool
    ) -> tuple[Conflict, bool] | None:
        """The conflict, and whether it is a container's."""
        if self._records.children(record.id):
            return _conflict(record, "cannot be forced", "image has dependent child images"), False
        uses = self._uses_of(record)
        for use in uses:
            if use.running:
                reason = f"image is being used by running container {use.container_id[:12]}"
                return _conflict(record, "cannot be forced", reason), True
        if force:
            return None
        if check_names and self._records.references(record.id):
            return _conflict(record, "must be forced", "image is referenced in multiple repositories"), False
        for use in uses:
            reason = f"image is being used by stopped container {use.container_id[:12]}"
            return _conflict(record, "must be forced", reason), True
        return None


def _conflict(record: ImageRecord, force: str, reason: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {record.short_id} ({force}) - {reason}")
