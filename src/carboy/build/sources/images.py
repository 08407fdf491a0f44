"""Base images: those in the local store, and what runs programs of other machines.

Pulling comes with the registry client; until then an image that is not here is told in Docker's words.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from carboy.build.frontend.inputs import BaseImage
from carboy.digest import Digest
from carboy.errors import NotFound
from carboy.formats.dockerfile.source import suggestion
from carboy.formats.oci import ImageDocument
from carboy.formats.reference import id_prefix, parse

_BINFMT = "/proc/sys/fs/binfmt_misc"
_MACHINES = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "arm": "arm",
    "386": "i386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loong64": "loongarch64",
    "mips64le": "mips64el",
}
_SHORT_ID = 12
"""Digits of the IDs that are shown: fewer are a name."""
_NATIVE = {"amd64": ("386",), "arm64": ("arm",)}
"""What a machine's kernel usually runs besides its own."""
_VARIANTS = {"arm64": "v8", "arm": "v7"}


class StoredImage(Protocol):
    """An image as the engine has it."""

    @property
    def id(self) -> Digest: ...
    @property
    def config(self) -> ImageDocument: ...
    @property
    def diff_ids(self) -> tuple[Digest, ...]: ...


class Images(Protocol):
    """The engine's images (`engine.images.ImageService`)."""

    def image_for_container(self, unsafe_ref: str) -> StoredImage:
        """The image of a name, an ID, or the beginning of one; NotFound."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBases:
    """Fulfils frontend.inputs.Bases from the local store."""

    images: Images
    host_platform: str
    pull: bool = False
    warn: Callable[[str], None] = lambda _text: None
    names: Callable[[], tuple[str, ...]] = tuple
    """The images that are here, for who mistyped one."""

    def resolve(self, reference: str, platform: str) -> BaseImage:
        """The image; NotFound when it is not here, or is here for another machine than asked for."""
        try:
            image = self.images.image_for_container(_never_by_chance(reference))
        except NotFound as error:
            raise NotFound(absent(reference, self.names())) from error
        found = platform_of(image.config)
        if platform and not same_platform(found, platform):
            raise NotFound(
                f"image with reference {reference} was found but its platform ({found}) does not match the"
                f" specified platform ({platform}); images of other platforms cannot be pulled yet"
            )
        if not platform and not same_platform(found, self.host_platform):
            self.warn(
                f"the image {reference} is for {found} and no platform was asked for: building for {found}"
                f" (this machine is {self.host_platform})"
            )
        if self.pull:
            self.warn(f"--pull: images cannot be pulled yet; {reference} is the one in the local store")
        return BaseImage(str(image.id), image.config, tuple(map(str, image.diff_ids)), found)


def absent(reference: str, names: tuple[str, ...] = ()) -> str:
    """What is said of an image that is not in the store: Docker's words, and what can be done.

    names: the images that are here.
    """
    prefix = id_prefix(reference)
    if prefix is not None and len(prefix) >= _SHORT_ID and reference.startswith(("sha256:", prefix)):
        return f"No such image: {reference}"
    wanted = parse(reference).tagged()
    name = wanted.familiar_repository
    return (
        f"pull access denied for {name}, repository does not exist or may require 'docker login':"
        f" {reference} is not in the local store, and pulling comes with the registry client, later:"
        f" use `carboy load` or `carboy import`{suggestion(wanted.familiar, names)}"
    )


def _never_by_chance(reference: str) -> str:
    """`FROM cafe` is a name: not the image of this machine whose ID happens to begin so."""
    prefix = id_prefix(reference)
    if prefix is None or len(prefix) >= _SHORT_ID or reference.startswith("sha256:"):
        return reference
    return f"{reference}:latest"


def platform_of(document: ImageDocument) -> str:
    """os/architecture[/variant] of an image."""
    parts = [document.os or "linux", document.architecture or "amd64", document.variant]
    return "/".join(part for part in parts if part)


def same_platform(one: str, other: str) -> bool:
    """Whether two platforms mean the same; the usual variant may be left out."""
    return _normal(one) == _normal(other)


def emulation(platform: str, host_platform: str, *, directory: str = _BINFMT) -> str:
    """What is to be said, loudly, of running programs of a platform here; empty: they run natively."""
    wanted, host = platform.split("/")[1:2], host_platform.split("/")[1:2]
    if not wanted or wanted == host or (host and wanted[0] in _NATIVE.get(host[0], ())):
        return ""
    machine = _MACHINES.get(wanted[0], wanted[0])
    interpreter = _interpreter(machine, directory)
    if interpreter:
        return (
            f"building for {platform} on {host_platform}: every RUN is emulated by {interpreter}"
            " (binfmt_misc) and will be 5 to 20 times slower; results may differ from those of a real machine"
        )
    return (
        f"building for {platform} on {host_platform}, and nothing emulates it here: RUN will fail with"
        f" 'exec format error'; install qemu-user-static (binfmt_misc: qemu-{machine}), or build on such a"
        " machine"
    )


def _interpreter(machine: str, directory: str) -> str:
    """The emulator that the kernel starts for a machine's programs, when it is registered and switched on."""
    try:
        with open(os.path.join(directory, f"qemu-{machine}"), encoding="ascii", errors="replace") as file:
            lines = file.read(4096).splitlines()
    except OSError:
        return ""
    if not lines or lines[0] != "enabled":
        return ""
    return next((line.removeprefix("interpreter ") for line in lines if line.startswith("interpreter ")), "")


def _normal(platform: str) -> tuple[str, str, str]:
    system, architecture, variant = (*platform.split("/"), "", "", "")[:3]
    return system or "linux", architecture, variant or _VARIANTS.get(architecture, "")
