"""Volumes."""

from msgspec import UNSET, UnsetType, field

from carboy.formats.dockerapi.wire import Document


class UsageData(Document, kw_only=True):
    """The use of a volume; -1 means "not calculated"."""

    size: int = -1
    ref_count: int = -1


class Volume(Document, kw_only=True):
    """One volume."""

    # in Docker's order: `volume inspect` prints what it receives
    created_at: str
    driver: str = "local"
    labels: dict[str, str] | None = None
    mountpoint: str
    name: str
    options: dict[str, str] | None = None
    scope: str = "local"
    status: dict[str, str] | UnsetType = UNSET
    usage_data: UsageData | UnsetType = UNSET


class VolumeCreateRequest(Document, kw_only=True):
    """The body of `POST /volumes/create`; no name asks for a random one."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


class VolumeList(Document, kw_only=True):
    """A listing of volumes."""

    volumes: list[Volume] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class VolumesPruned(Document, kw_only=True):
    """What a prune removed."""

    volumes_deleted: list[str] = field(default_factory=list)
    space_reclaimed: int = 0
