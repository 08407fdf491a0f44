"""Looking at images: `images`, `inspect`, `history`."""

from __future__ import annotations

import contextlib
import fnmatch
from collections import Counter
from collections.abc import Iterable

import msgspec

from carboy.digest import Digest
from carboy.engine.images.records import ImageRecord, ImageRecords
from carboy.engine.images.users import ContainerUse
from carboy.errors import CarboyError, NotFound
from carboy.formats import oci
from carboy.formats.dockerapi.containers import GraphDriver
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.images import (
    HistoryItem,
    ImageInspect,
    ImageMetadata,
    ImageSummary,
    RootFS,
)
from carboy.formats.dockerapi.times import ZERO_TIME, parse_moment, parse_rfc3339, rfc3339
from carboy.formats.reference import Reference

FILTERS = ("before", "dangling", "label", "label!", "reference", "since", "until")
_LONGEST_PATTERN = 256


def list_images(
    records: ImageRecords,
    uses: Iterable[ContainerUse],
    *,
    everything: bool,
    filters: Filters,
    now: float,
) -> list[ImageSummary]:
    """Summaries, newest first; images that only others stand on are left out unless `everything`."""
    filters.require_known(FILTERS)
    counts = Counter(use.image_id for use in uses)
    chosen = _Chosen(records, filters, now)
    summaries = []
    for record in records.all():
        references = records.references(record.id)
        if not references and not everything and records.children(record.id):
            continue
        with contextlib.suppress(NotFound):  # it is being removed
            if chosen.has(record, references):
                summaries.append(_summary(records, record, chosen.shown(references), counts[record.id]))
    return summaries


def share_sizes(records: ImageRecords, summaries: Iterable[ImageSummary]) -> int:
    """Fill in how much of each image others have too; the bytes of all layers, each counted once."""
    sizes: dict[Digest, int] = {}
    users: Counter[Digest] = Counter()
    for record in records.all():
        layers = dict(zip(record.diff_ids, record.layer_sizes, strict=True))
        sizes |= layers
        users.update(layers.keys())
    for summary in summaries:
        found = records.get(Digest.parse(summary.id))
        if found:
            summary.shared_size = sum(sizes[one] for one in found.diff_ids if users[one] > 1)
    return sum(sizes.values())


class _Chosen:
    """The filters, prepared once."""

    def __init__(self, records: ImageRecords, filters: Filters, now: float) -> None:
        self._records = records
        self._filters = filters
        self._dangling = filters.boolean("dangling", default=False) if "dangling" in filters else None
        self._patterns = filters.get("reference")
        self._before = [records.resolve(text)[0].created_at for text in filters.get("before")]
        self._before += [parse_moment(text, now=int(now * 1e9)) / 1e9 for text in filters.get("until")]
        self._since = [records.resolve(text)[0].created_at for text in filters.get("since")]

    def has(self, record: ImageRecord, references: list[Reference]) -> bool:
        """Whether every filter lets the image through."""
        filters = self._filters
        if self._dangling is not None and self._dangling == bool(references):
            return False
        if self._patterns and not self.shown(references):
            return False
        if any(record.created_at >= moment for moment in self._before):
            return False
        if any(record.created_at <= moment for moment in self._since):
            return False
        if "label" not in filters and "label!" not in filters:
            return True
        labels = self._records.document(record.id).config.labels
        return filters.labels(labels) and filters.without_labels(labels)

    def shown(self, references: list[Reference]) -> list[Reference]:
        """Of an image's names, those that a `reference` filter lets through."""
        if not self._patterns:
            return references
        return [one for one in references if any(matches(pattern, one) for pattern in self._patterns)]


def matches(pattern: str, reference: Reference) -> bool:
    """Whether the familiar name, with or without its tag, has the form of a shell pattern."""
    if len(pattern) > _LONGEST_PATTERN:
        return False
    return any(_glob(pattern, text) for text in (reference.familiar, reference.familiar_repository))


def _glob(pattern: str, text: str) -> bool:
    """A star does not cross a slash."""
    patterns, parts = pattern.replace("[^", "[!").split("/"), text.split("/")
    return len(patterns) == len(parts) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _summary(
    records: ImageRecords, record: ImageRecord, references: list[Reference], containers: int
) -> ImageSummary:
    return ImageSummary(
        id=str(record.id),
        parent_id=str(record.parent) if record.parent else "",
        repo_tags=[reference.familiar for reference in references],
        created=int(record.created_at),
        size=record.size,
        virtual_size=record.size,
        labels=records.document(record.id).config.labels or None,
        containers=containers,
    )


def inspect_image(records: ImageRecords, record: ImageRecord, *, driver: str) -> ImageInspect:
    """Everything about one image."""
    document = records.document(record.id)
    newest = document.history[-1] if document.history else oci.History()
    return ImageInspect(
        id=str(record.id),
        repo_tags=[reference.familiar for reference in records.references(record.id)],
        parent=str(record.parent) if record.parent else "",
        comment=document.comment or newest.comment,
        created=document.created or rfc3339(int(record.created_at * 1e9)),
        docker_version=document.docker_version,
        author=document.author,
        config=document.config,
        architecture=document.architecture,
        variant=document.variant or msgspec.UNSET,
        os=document.os,
        os_version=document.os_version or msgspec.UNSET,
        size=record.size,
        virtual_size=record.size,
        graph_driver=GraphDriver(name=driver),
        root_fs=RootFS(layers=[str(diff_id) for diff_id in record.diff_ids]),
        metadata=ImageMetadata(
            last_tag_time=rfc3339(int(record.tagged_at * 1e9)) if record.tagged_at else ZERO_TIME
        ),
    )


def history_of(records: ImageRecords, record: ImageRecord) -> list[HistoryItem]:
    """The steps, newest first; layers that the history does not tell of get a step of their own."""
    document = records.document(record.id)
    steps = list(document.history)
    told = sum(not step.empty_layer for step in steps)
    steps += [oci.History()] * max(0, len(record.diff_ids) - told)
    sizes = iter(record.layer_sizes)
    items = [
        HistoryItem(
            id="<missing>",
            created=_seconds(step.created, record.created_at),
            created_by=step.created_by,
            size=0 if step.empty_layer else next(sizes, 0),
            comment=step.comment,
        )
        for step in steps
    ]
    items.reverse()
    if items:
        items[0].id = str(record.id)
        items[0].tags = [reference.familiar for reference in records.references(record.id)] or None
    return items


def _seconds(created: str, otherwise: float) -> int:
    """When a step was made; when the image does not say, when it came here."""
    try:
        return parse_rfc3339(created) // 10**9 if created else int(otherwise)
    except CarboyError:
        return int(otherwise)
