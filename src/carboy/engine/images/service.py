"""The images of an engine: the face that the API and the containers use.

Locking: the leases' guard is the only lock.  It is held for changes of records and for
collecting garbage, never while bytes are taken in.
"""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from carboy.digest import Descriptor, Digest
from carboy.engine.images import configs, listing, saving
from carboy.engine.images.changes import apply_changes
from carboy.engine.images.loading import Archive, PlannedImage, PlannedLayer, plan_archive
from carboy.engine.images.records import ImageRecord, ImageRecords
from carboy.engine.images.removing import Remover
from carboy.engine.images.sources import Source, plain_reader, seekable
from carboy.engine.images.users import ContainerImage, Containers, ContainerUse, NoContainers
from carboy.errors import Corrupt, InvalidArgument, Malformed
from carboy.formats import imagearchive, oci
from carboy.formats.dockerapi.containers import ContainerConfig
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.images import (
    DeletedImage,
    HistoryItem,
    ImageConfig,
    ImageInspect,
    ImageSummary,
)
from carboy.formats.dockerapi.progress import ProgressDetail, ProgressMessage
from carboy.formats.reference import Reference, parse, parse_repository
from carboy.store.archiveout import Sink
from carboy.store.content import ContentStore, storage_error
from carboy.store.gc import BLOB, LAYER, Collector, Key
from carboy.store.layers import Layer, LayerStore
from carboy.store.leases import Lease, Leases
from carboy.store.metadata import Database
from carboy.store.paths import Paths
from carboy.store.snapshots import Snapshots

Emit = Callable[[str, str, Mapping[str, str]], None]
"""(action, image id or name, attributes): an event of type `image` has happened."""


def _no_event(_action: str, _actor: str, _attributes: Mapping[str, str]) -> None:
    pass


class ImageService:
    """Fulfils `api.backend.Images`."""

    def __init__(
        self,
        paths: Paths,
        database: Database,
        layers: LayerStore,
        snapshots: Snapshots,
        *,
        emit: Emit = _no_event,
        driver: str = "carboy",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._paths = paths
        self._layers = layers
        self._snapshots = snapshots
        self._emit = emit
        self._driver = driver
        self._clock = clock
        self._containers: Containers = NoContainers()
        self._more_roots: builtins.list[Callable[[], builtins.list[Key]]] = []
        self.content = ContentStore(paths.blobs, paths.ingest)
        self.leases = Leases(database)
        self.leases.sweep()
        self.records = ImageRecords(database, self.content, self.leases, clock=clock)
        self._collector = Collector(layers, self.content, self.leases, self._roots)

    def set_containers(self, containers: Containers) -> None:
        """Join the containers, which are made after the images."""
        self._containers = containers

    def add_roots(self, roots: Callable[[], builtins.list[Key]]) -> None:
        """Have the collector ask `roots`, too, what must stay."""
        self._more_roots.append(roots)

    def collect(self, candidates: builtins.list[Key] | None = None) -> builtins.list[Key]:
        """Delete what nothing needs; without candidates in the whole store, as at the daemon's start."""
        return self._collector.collect(candidates)

    # For containers

    def image_for_container(self, unsafe_ref: str) -> ContainerImage:
        """The image that a container is to be made from; NotFound."""
        record, reference = self.records.resolve(unsafe_ref)
        name = reference.familiar if reference is not None else str(record.id)
        return ContainerImage(record.id, self.records.document(record.id), record.diff_ids, name)

    @contextmanager
    def pinned(self, unsafe_ref: str) -> Iterator[ContainerImage]:
        """The same, and until the end of the block its layers stay, whatever is removed meanwhile."""
        with self.leases.guard:
            image = self.image_for_container(unsafe_ref)
            needs = [(BLOB, str(image.id)), *((LAYER, str(diff_id)) for diff_id in image.diff_ids)]
            lease_id = self.leases.create(items=needs)
        try:
            yield image
        finally:
            self.leases.release(lease_id)

    # Looking

    def list(
        self,
        *,
        all: bool,  # noqa: A002 - the API's own word
        digests: bool,  # noqa: ARG002 - digests are always shown
        filters: Filters,
    ) -> builtins.list[ImageSummary]:
        """Images, newest first."""
        return listing.list_images(
            self.records, self._containers.image_uses(), everything=all, filters=filters, now=self._clock()
        )

    def usage(self) -> tuple[builtins.list[ImageSummary], int]:
        """Every image with what it shares with others, and the bytes of all layers."""
        found = self.list(all=True, digests=False, filters=Filters())
        return found, listing.share_sizes(self.records, found)

    def inspect(self, unsafe_ref: str) -> ImageInspect:
        """Everything about one image."""
        return listing.inspect_image(self.records, self.records.resolve(unsafe_ref)[0], driver=self._driver)

    def history(self, unsafe_ref: str) -> builtins.list[HistoryItem]:
        """An image's steps, newest first."""
        return listing.history_of(self.records, self.records.resolve(unsafe_ref)[0])

    # Names

    def tag(self, unsafe_ref: str, *, repository: str, tag: str) -> None:
        """Give an image one more name."""
        reference = parse_repository(repository, tag)
        with self.leases.guard:
            record, _ = self.records.resolve(unsafe_ref)
            self.records.add([(record, [reference])])
        self._emit("tag", str(record.id), {"name": reference.familiar})

    def remove(self, unsafe_ref: str, *, force: bool, prune_parents: bool) -> builtins.list[DeletedImage]:
        """Take away a name, or an image; its space is free on return."""
        remover = Remover(self.records, self._uses, force=force, prune_parents=prune_parents)
        with self.leases.guard:
            try:
                remover.remove(unsafe_ref)
            finally:
                freed = self.collect([key for record in remover.deleted for key in record.needs()])
        answer = []
        for reference in remover.untagged:
            self._emit("untag", reference.familiar, {"name": reference.familiar})
            answer.append(DeletedImage(untagged=reference.familiar))
        for record in remover.deleted:
            self._emit("delete", str(record.id), {"name": str(record.id)})
            answer.append(DeletedImage(deleted=str(record.id)))
        answer.extend(DeletedImage(deleted=name) for kind, name in freed if kind == LAYER)
        return answer

    # In

    def import_(
        self,
        source: Source,
        *,
        repository: str,
        tag: str,
        message: str,
        changes: builtins.list[str],
        platform: str | None,
    ) -> str:
        """Make an image of one layer from a tar, perhaps compressed."""
        references = _names(repository, tag)
        wanted = configs.parse_platform(platform)
        config = ImageConfig()
        apply_changes(config, changes)
        with _received(), self._making() as making:
            layer = making.layer(lambda: self._layers.ingest(plain_reader(source)))
            document = configs.imported(layer.diff_id, wanted, message=message, config=config)
            image_id = making.image(oci.encode_image(document), references)
            making.commit()
        self._emit("import", str(image_id), {"name": references[0].familiar if references else str(image_id)})
        return str(image_id)

    def load(self, source: Source) -> Iterator[ProgressMessage]:
        """Take in every image of an archive; all become visible together at the end."""
        with _received(), seekable(source, self._paths.ingest) as window:
            plans = plan_archive(Archive(window), architecture=configs.host_architecture())
            with self._making() as making:
                ids = []
                for image in plans:
                    diff_ids = []
                    for layer in image.layers:
                        diff_ids.append((yield from self._load_layer(making, layer)))
                    config = image.config or _legacy_config(image, diff_ids)
                    ids.append(making.image(config, image.references))
                moved = making.commit()
        for name, old in moved.items():
            text = f"The image {parse(name).familiar} already exists, renaming the old one with ID {old}"
            yield ProgressMessage(stream=text + " to empty string\n")
        for image, image_id in zip(plans, ids, strict=True):
            self._emit("load", str(image_id), {"name": str(image_id)})
            for reference in image.references:
                yield ProgressMessage(stream=f"Loaded image: {reference.familiar}\n")
            if not image.references:
                yield ProgressMessage(stream=f"Loaded image ID: {image_id}\n")

    def _load_layer(self, making: _Making, planned: PlannedLayer) -> Generator[ProgressMessage, None, Digest]:
        name = planned.diff_id.hex[:12] if planned.diff_id else "layer"
        total = planned.window.size
        new = planned.diff_id is None or not making.has(planned.diff_id)
        if new:
            yield _progress(name, 0, total)
        layer = making.layer(
            lambda: self._layers.ingest(planned.open(), expected=planned.diff_id), planned.diff_id
        )
        if new:
            yield _progress(name, total, total)
        return layer.diff_id

    def commit(
        self,
        unsafe_container: str,
        *,
        repository: str,
        tag: str,
        author: str,
        comment: str,
        changes: builtins.list[str],
        pause: bool,
        config: ContainerConfig | None,
    ) -> str:
        """Make an image of what a container has changed."""
        references = _names(repository, tag)
        apply_changes(ImageConfig(), changes)
        subject = self._containers.for_commit(unsafe_container)

        def write() -> Layer:
            with subject.pause() if pause else nullcontext():
                return self._snapshots.write_layer(
                    subject.container_id, subject.diff_ids, omit=subject.own_places()
                )

        with self._making() as making:
            parent = oci.parse_image(self.content.read(subject.image_id))
            layer = making.layer(write)
            document = configs.committed(
                parent,
                subject.config,
                config,
                layer=layer.diff_id,
                author=author,
                comment=comment,
                changes=changes,
            )
            parent_id = subject.image_id if self.records.get(subject.image_id) else None
            image_id = making.image(oci.encode_image(document), references, parent=parent_id)
            making.commit()
        named = references[0].familiar if references else ""
        subject.told({"comment": comment, "imageID": str(image_id), "imageRef": named})
        if named:
            self._emit("tag", str(image_id), {"name": named})
        return str(image_id)

    def add_built(
        self, images: Sequence[tuple[bytes, Sequence[Reference]]], *, form: str
    ) -> builtins.list[Digest]:
        """Take in what was built: configs whose layers are in the store, and are held by the caller.

        All become visible together; `form` is remembered with each.
        """
        with self._making() as making:
            ids = [making.image(config, [*references], form=form) for config, references in images]
            making.commit()
        for image_id, (_, references) in zip(ids, images, strict=True):
            for reference in references:
                self._emit("tag", str(image_id), {"name": reference.familiar})
        return ids

    # Out

    def save(self, unsafe_refs: builtins.list[str], sink: Sink) -> None:
        """Write images into one archive; a bare repository means all its tags."""
        if not unsafe_refs:
            raise InvalidArgument("save needs the name of at least one image")
        with self.leases.hold() as lease:
            with self.leases.guard:
                chosen = self._chosen(unsafe_refs)
                for record in chosen:
                    for kind, key in record.needs():
                        lease.add(kind, key)
            images, blobs, layers = [], {}, {}
            for record, references in sorted(chosen.items(), key=lambda item: item[0].id):
                data = blobs[record.id] = self.content.read(record.id)
                parts = []
                for diff_id, size in zip(record.diff_ids, record.layer_sizes, strict=True):
                    layers[diff_id] = (size, self._opener(diff_id))
                    parts.append(Descriptor(oci.LAYER_TYPE, diff_id, size))
                config = Descriptor(oci.CONFIG_TYPE, record.id, len(data))
                images.append(imagearchive.SavedImage(config, tuple(parts), tuple(sorted(references))))
            saving.write_archive(images, blobs, layers, sink)
        for record in chosen:
            self._emit("save", str(record.id), {"name": str(record.id)})

    def _opener(self, diff_id: Digest) -> Callable[[], int]:
        return lambda: self._layers.open_tar(diff_id)

    def _chosen(self, unsafe_refs: builtins.list[str]) -> dict[ImageRecord, set[Reference]]:
        chosen: dict[ImageRecord, set[Reference]] = {}
        for unsafe_ref in unsafe_refs:
            names = [str(reference) for reference in self._all_tags(unsafe_ref)] or [unsafe_ref]
            for name in names:
                record, reference = self.records.resolve(name)
                chosen.setdefault(record, set()).update([reference] if reference else [])
        return chosen

    def _all_tags(self, unsafe_ref: str) -> builtins.list[Reference]:
        """The tags of a repository that was named without a tag."""
        try:
            reference = parse(unsafe_ref)
        except InvalidArgument:
            return []
        if reference.tag is not None or reference.digest is not None:
            return []
        return self.records.tags_of_repository(reference.repository)

    # Inside

    def _uses(self) -> builtins.list[ContainerUse]:
        return [*self._containers.image_uses()]

    def _roots(self) -> tuple[builtins.list[Key], Mapping[Key, builtins.list[Key]]]:
        roots, references = self.records.roots()
        used = [key for use in self._uses() for key in use.needs()]
        more = [key for others in self._more_roots for key in others()]
        return [*roots, *used, *more], references

    @contextmanager
    def _making(self) -> Iterator[_Making]:
        """Take in layers and configs; what is not committed is deleted at the end of the block."""
        lease_id = self.leases.create()
        making = _Making(self, Lease(self.leases, lease_id))
        try:
            yield making
        finally:
            self.leases.release(lease_id)
            self.collect(making.leftovers())


class _Making:
    """Images on their way in, under one lease."""

    def __init__(self, service: ImageService, lease: Lease) -> None:
        self._service = service
        self._layers = service._layers
        self._lease = lease
        self._sizes: dict[Digest, int] = {}
        self._blobs: list[Digest] = []
        self._images: list[tuple[ImageRecord, list[Reference]]] = []

    def layer(self, make: Callable[[], Layer], expected: Digest | None = None) -> Layer:
        """Make a layer, or take the one with the digest `expected` that is here already."""
        # Its name may not be known yet: then the lease keeps every layer, until it ends.
        self._lease.add(LAYER, "*" if expected is None else str(expected))
        if expected is not None and self._layers.exists(expected):
            layer = self._layers.get(expected)
        else:
            try:
                layer = make()
            except OSError as error:
                raise storage_error(error, "store the layer") from error
        self._sizes[layer.diff_id] = layer.size
        return layer

    def has(self, diff_id: Digest) -> bool:
        """Whether the layer needs not be made."""
        return self._layers.exists(diff_id)

    def image(
        self, config: bytes, references: list[Reference], *, parent: Digest | None = None, form: str = ""
    ) -> Digest:
        """Store a config whose layers have been made."""
        image_id = Digest.of(config)
        self._lease.add(BLOB, str(image_id))
        diff_ids = tuple(oci.parse_image(config).diff_ids())
        self._blobs.append(image_id)
        self._service.content.put(config)
        for diff_id in diff_ids:
            if diff_id not in self._sizes:
                self._sizes[diff_id] = self._layers.get(diff_id).size
        record = ImageRecord(
            id=image_id,
            created_at=self._service._clock(),
            diff_ids=diff_ids,
            layer_sizes=tuple(self._sizes[diff_id] for diff_id in diff_ids),
            parent=parent if parent != image_id else None,
            format=form,
        )
        self._images.append((record, references))
        return image_id

    def commit(self) -> dict[str, Digest]:
        """Make everything visible; returns what the names meant before."""
        return self._service.records.add(self._images)

    def leftovers(self) -> list[Key]:
        """What may be garbage when it was not committed; the collector knows."""
        return [
            *((LAYER, str(diff_id)) for diff_id in self._sizes),
            *((BLOB, str(digest)) for digest in self._blobs),
        ]


@contextmanager
def _received() -> Iterator[None]:
    """What is corrupt in here is the client's, not ours."""
    try:
        yield
    except Corrupt as error:
        raise Malformed(str(error)) from error


def _names(repository: str, tag: str) -> list[Reference]:
    return [parse_repository(repository, tag or "")] if repository else []


def _legacy_config(image: PlannedImage, diff_ids: list[Digest]) -> bytes:
    return oci.encode_image(imagearchive.legacy_document(image.legacy, diff_ids))


def _progress(name: str, current: int, total: int) -> ProgressMessage:
    detail = ProgressDetail(current=current, total=total)
    return ProgressMessage(status="Loading layer", id=name, progress_detail=detail)
