"""A container's record from what was asked for: checked whole before anything is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from carboy.engine.containers.bundle import ensure_bind_source, signal_number
from carboy.engine.containers.creating import fill_defaults, inherited_mounts, joined_containers, pin_images
from carboy.engine.containers.document import ContainerDocument
from carboy.engine.containers.index import Index
from carboy.engine.containers.sharing import stored_links
from carboy.engine.images.service import ImageService
from carboy.engine.images.users import ContainerImage
from carboy.engine.spec.check import check_request
from carboy.engine.spec.conflicts import check_conflicts
from carboy.engine.spec.devices import check_devices, device_rules, linux_devices
from carboy.engine.spec.facts import HostFacts
from carboy.engine.spec.mounts import PlannedMount, plan_mounts
from carboy.engine.spec.process import arguments, merge_image_config, working_directory
from carboy.formats.dockerapi.containers import ContainerConfig, CreateRequest, HostConfig
from carboy.formats.dockerapi.wire import from_plain


class Drafts:
    """Makes records of containers; raises InvalidArgument for what no container can have."""

    def __init__(self, facts: HostFacts, index: Index, images: ImageService) -> None:
        self._facts = facts
        self._index = index
        self._images = images
        self.apply_defaults: Callable[[HostConfig], None] = lambda _host: None

    def draft(
        self, request: CreateRequest, image: ContainerImage, *, container_id: str, name: str, pins: ExitStack
    ) -> tuple[ContainerDocument, list[str]]:
        """The record and the warnings; images that it mounts stay until `pins` end."""
        warnings = check_conflicts(request)
        config, host = request.container_config(), request.host_config
        self.apply_defaults(host)
        inherited, _ = from_plain(msgspec.to_builtins(image.config.config), ContainerConfig)
        merge_image_config(config, inherited)
        warnings += check_request(config, host, self._facts)
        self._check(config, host)
        mounts, more = self._mounts(config, host, pins)
        warnings += more
        warnings += [f"Field {field} is not known and was ignored." for field in request.unknown_fields]
        fill_defaults(config, host, container_id)
        host.links = stored_links(host, name, self._index.find)
        document = ContainerDocument(
            id=container_id,
            name=name,
            created_at=time.time_ns(),
            image_id=str(image.id),
            image_reference=request.image,
            diff_ids=[str(diff_id) for diff_id in image.diff_ids],
            config=config,
            host=host,
            mounts=mounts,
        )
        return document, warnings

    def _check(self, config: ContainerConfig, host: HostConfig) -> None:
        """What the start would refuse is refused now."""
        arguments(config)
        working_directory(config)
        signal_number(config.stop_signal or "SIGTERM")
        device_rules(host)
        linux_devices(host)
        check_devices(host, self._facts)
        for reference in joined_containers(host):
            self._index.find(reference)

    def _mounts(
        self, config: ContainerConfig, host: HostConfig, pins: ExitStack
    ) -> tuple[list[PlannedMount], list[str]]:
        mounts, warnings = plan_mounts(config, host, inherited_mounts(host, self._index.find))
        pin_images(mounts, self._images, pins)
        for mount in mounts:
            if mount.type == "bind":
                ensure_bind_source(mount.source, create=mount.create_source)
        return mounts, warnings
