"""What is known of each image: in SQLite, and in memory for reading.

An image's ID is the digest of its config, a blob in the content store.  The record holds what
the bytes of the image do not: when it came here, how large its layers are, what it was
committed from.  Changes are made under the leases' guard, so that the collector sees either
all or nothing of one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import msgspec

from carboy.digest import Digest
from carboy.errors import CarboyError, Corrupt, InvalidArgument, NotFound
from carboy.formats import oci
from carboy.formats.reference import Reference, id_prefix, parse
from carboy.store.content import ContentStore
from carboy.store.gc import BLOB, IMAGE, LAYER, Key
from carboy.store.leases import Leases
from carboy.store.metadata import Database


class _Stored(msgspec.Struct, kw_only=True):
    """The `document` column."""

    version: int = 1
    diff_ids: list[str]
    layer_sizes: list[int]
    parent: str = ""
    tagged_at: float = 0.0
    format: str = ""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image in the store."""

    id: Digest
    created_at: float
    diff_ids: tuple[Digest, ...]
    layer_sizes: tuple[int, ...]
    parent: Digest | None = None
    tagged_at: float = 0.0
    format: str = ""
    """The form that the builder had when it made the image here (`carboy-build-1`)."""

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return sum(self.layer_sizes)

    @property
    def short_id(self) -> str:
        """The twelve digits that people are shown."""
        return self.id.hex[:12]

    def needs(self) -> list[Key]:
        """What the image needs in the stores."""
        return [(BLOB, str(self.id)), *((LAYER, str(diff_id)) for diff_id in self.diff_ids)]


class ImageRecords:
    """All images and tags, written through to the database."""

    def __init__(
        self,
        database: Database,
        content: ContentStore,
        leases: Leases,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._content = content
        self._guard = leases.guard
        self._clock = clock
        self._images: dict[Digest, ImageRecord] = {}
        self._tags: dict[str, Digest] = {}
        self._documents: dict[Digest, oci.ImageDocument] = {}
        self._load()

    def _load(self) -> None:
        with self._database.read() as connection:
            images = connection.execute("SELECT id, created_at, document FROM images").fetchall()
            tags = connection.execute("SELECT reference, image_id FROM tags").fetchall()
        for text, created_at, document in images:
            try:
                stored = msgspec.json.decode(document, type=_Stored)
            except msgspec.DecodeError as error:
                raise Corrupt(f"the record of image {text} cannot be read: {error}") from error
            image_id = Digest.parse(text)
            self._images[image_id] = ImageRecord(
                id=image_id,
                created_at=created_at,
                diff_ids=tuple(Digest.parse(diff_id) for diff_id in stored.diff_ids),
                layer_sizes=tuple(stored.layer_sizes),
                parent=Digest.parse(stored.parent) if stored.parent else None,
                tagged_at=stored.tagged_at,
                format=stored.format,
            )
        self._tags = {reference: Digest.parse(image_id) for reference, image_id in tags}

    def all(self) -> list[ImageRecord]:
        """Every image, newest first."""
        return sorted(self._images.copy().values(), key=lambda record: (-record.created_at, record.id))

    def get(self, image_id: Digest) -> ImageRecord | None:
        """The record, when the image is here."""
        return self._images.get(image_id)

    def document(self, image_id: Digest) -> oci.ImageDocument:
        """The image's config; do not change it."""
        document = self._documents.get(image_id)
        if document is None:
            document = oci.parse_image(self._content.read(image_id))
            self._documents[image_id] = document
        return document

    def references(self, image_id: Digest) -> list[Reference]:
        """The image's tags, sorted."""
        return sorted(parse(text) for text, tagged in self._tags.copy().items() if tagged == image_id)

    def tagged(self, reference: Reference) -> Digest | None:
        """The image with this tag."""
        return self._tags.get(str(reference))

    def names(self) -> tuple[str, ...]:
        """All tags as people write them."""
        return tuple(parse(text).familiar for text in self._tags.copy())

    def tags_of_repository(self, repository: str) -> list[Reference]:
        """All tags in one repository, sorted."""
        parsed = (parse(text) for text in self._tags.copy())
        return sorted(reference for reference in parsed if reference.repository == repository)

    def children(self, image_id: Digest) -> list[ImageRecord]:
        """Images that were committed from this one."""
        return [record for record in self._images.copy().values() if record.parent == image_id]

    def resolve(self, unsafe_ref: str) -> tuple[ImageRecord, Reference | None]:
        """The image and the tag that `unsafe_ref` means: a full ID, a tag, or the beginning of an ID."""
        prefix = id_prefix(unsafe_ref)
        if prefix is not None and len(prefix) == 64:
            record = self._images.get(Digest(prefix))
            if record is None:
                raise NotFound(f"No such image: {unsafe_ref}")
            return record, None
        reference = None if unsafe_ref.startswith("sha256:") else parse(unsafe_ref).tagged()
        if reference is not None:
            if reference.digest is not None:
                record = self._images.get(reference.digest)
                if record is not None:
                    return record, None
            tagged = self._tags.get(str(reference))
            if tagged is not None:
                return self._images[tagged], reference
        return self._by_prefix(prefix, unsafe_ref), None

    def with_descendants(self, unsafe_refs: Iterable[str]) -> set[Digest]:
        """The images that these mean, and all that stand on them; what is not here means none."""
        found: set[Digest] = set()
        waiting: list[Digest] = []
        for unsafe_ref in unsafe_refs:
            with contextlib.suppress(CarboyError):
                waiting.append(self.resolve(unsafe_ref)[0].id)
        while waiting:
            image_id = waiting.pop()
            if image_id not in found:
                found.add(image_id)
                waiting.extend(child.id for child in self.children(image_id))
        return found

    def _by_prefix(self, prefix: str | None, unsafe_ref: str) -> ImageRecord:
        found = [
            record
            for image_id, record in self._images.copy().items()
            if image_id.hex.startswith(prefix or "?")
        ]
        if len(found) > 1:
            raise InvalidArgument(f"the ID prefix {unsafe_ref} is ambiguous: {len(found)} images begin so")
        if not found:
            raise NotFound(f"No such image: {_with_tag(unsafe_ref)}")
        return found[0]

    def add(self, images: Iterable[tuple[ImageRecord, Iterable[Reference]]]) -> dict[str, Digest]:
        """Make images and their tags visible, all at once; returns what tags meant before."""
        moved: dict[str, Digest] = {}
        with self._guard:
            records: dict[Digest, ImageRecord] = {}
            tags: dict[str, Digest] = {}
            now = self._clock()
            for record, references in images:
                record = self._images.get(record.id, record)
                names = [_unambiguous(reference) for reference in references]
                moved.update(
                    {name: self._tags[name] for name in names if self._tags.get(name, record.id) != record.id}
                )
                tags.update(dict.fromkeys(names, record.id))
                records[record.id] = replace(record, tagged_at=now) if names else record
            with self._database.write() as connection:
                connection.executemany(
                    "INSERT INTO images VALUES (?, ?, ?, ?)"
                    " ON CONFLICT(id) DO UPDATE SET document=excluded.document",
                    [_row(record) for record in records.values()],
                )
                connection.executemany(
                    "INSERT OR REPLACE INTO tags VALUES (?, ?, ?)",
                    [(name, str(image_id), now) for name, image_id in tags.items()],
                )
            self._images.update(records)
            self._tags.update(tags)
        return moved

    def untag(self, references: Iterable[Reference]) -> None:
        """Remove tags."""
        names = [str(reference) for reference in references]
        with self._guard:
            with self._database.write() as connection:
                connection.executemany("DELETE FROM tags WHERE reference=?", [(name,) for name in names])
            for name in names:
                self._tags.pop(name, None)

    def delete(self, image_id: Digest) -> None:
        """Remove the image and its tags; its layers and blobs are the collector's."""
        with self._guard:
            with self._database.write() as connection:
                connection.execute("DELETE FROM tags WHERE image_id=?", (str(image_id),))
                connection.execute("DELETE FROM images WHERE id=?", (str(image_id),))
            self._images.pop(image_id, None)
            self._documents.pop(image_id, None)
            self._tags = {name: tagged for name, tagged in self._tags.items() if tagged != image_id}

    def roots(self) -> tuple[list[Key], Mapping[Key, list[Key]]]:
        """The images, and what they refer to, for the collector."""
        references = {(IMAGE, str(image_id)): record.needs() for image_id, record in self._images.items()}
        return list(references), references


def _row(record: ImageRecord) -> tuple[str, float, int, bytes]:
    stored = _Stored(
        diff_ids=[str(diff_id) for diff_id in record.diff_ids],
        layer_sizes=list(record.layer_sizes),
        parent=str(record.parent) if record.parent else "",
        tagged_at=record.tagged_at,
        format=record.format,
    )
    return str(record.id), record.created_at, record.size, msgspec.json.encode(stored)


def _unambiguous(reference: Reference) -> str:
    """The canonical name; `sha256:<tag>` would look like an image's id."""
    if reference.familiar_repository == "sha256":
        raise InvalidArgument("refusing to create an ambiguous tag using digest algorithm as name")
    return str(reference)


def _with_tag(unsafe_ref: str) -> str:
    """What Docker shows of a name that was not found: with its tag."""
    try:
        return parse(unsafe_ref).tagged().familiar
    except InvalidArgument:
        return unsafe_ref
