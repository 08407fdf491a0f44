"""Images: listings, details, history, removal."""

from msgspec import UNSET, UnsetType, field

from carboy.formats.dockerapi.containers import GraphDriver, HealthConfig
from carboy.formats.dockerapi.wire import Document, Empty, StrSlice


class ImageConfig(Document, kw_only=True):
    """The defaults that an image gives to its containers."""

    user: str = ""
    exposed_ports: dict[str, Empty] = field(default_factory=dict)
    env: list[str] = field(default_factory=list)
    cmd: StrSlice | None = None
    healthcheck: HealthConfig | UnsetType = UNSET
    args_escaped: bool | UnsetType = UNSET
    volumes: dict[str, Empty] = field(default_factory=dict)
    working_dir: str = ""
    entrypoint: StrSlice | None = None
    on_build: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str | UnsetType = UNSET
    shell: StrSlice | UnsetType = UNSET


class ImageSummary(Document, kw_only=True):
    """One image in a listing; -1 means "not calculated"."""

    id: str
    parent_id: str = ""
    repo_tags: list[str] = field(default_factory=list)
    repo_digests: list[str] = field(default_factory=list)
    created: int
    size: int
    shared_size: int = -1
    virtual_size: int | UnsetType = UNSET
    labels: dict[str, str] | None = None
    containers: int = -1


class RootFS(Document, kw_only=True):
    """The layers of an image, by DiffID."""

    type: str = "layers"
    layers: list[str] = field(default_factory=list)


class ImageMetadata(Document, kw_only=True):
    """What this daemon knows of an image beyond its own bytes."""

    last_tag_time: str = "0001-01-01T00:00:00Z"


class ImageInspect(Document, kw_only=True):
    """Everything about one image."""

    id: str
    repo_tags: list[str] = field(default_factory=list)
    repo_digests: list[str] = field(default_factory=list)
    parent: str = ""
    comment: str = ""
    created: str
    container: str = ""
    docker_version: str = ""
    author: str = ""
    config: ImageConfig = field(default_factory=ImageConfig)
    architecture: str
    variant: str | UnsetType = UNSET
    os: str
    os_version: str | UnsetType = UNSET
    size: int
    virtual_size: int | UnsetType = UNSET
    graph_driver: GraphDriver
    root_fs: RootFS = field(default_factory=RootFS, name="RootFS")
    metadata: ImageMetadata = field(default_factory=ImageMetadata)


class HistoryItem(Document, kw_only=True):
    """One step of an image's history, newest first; `created` in seconds."""

    id: str
    created: int
    created_by: str
    tags: list[str] | None = None
    size: int
    comment: str = ""


class DeletedImage(Document, kw_only=True):
    """What a removal did: one of the two."""

    untagged: str | UnsetType = UNSET
    deleted: str | UnsetType = UNSET


class IdResponse(Document, kw_only=True):
    """The id of what was made (commit, exec)."""

    id: str
