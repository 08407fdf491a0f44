"""Looking after containers and space: top, update, prunes."""

from msgspec import field

from carboy.formats.dockerapi.containers import Resources, RestartPolicy
from carboy.formats.dockerapi.images import DeletedImage
from carboy.formats.dockerapi.wire import Document


class ProcessList(Document, kw_only=True):
    """The body of `GET /containers/{id}/top`."""

    titles: list[str]
    processes: list[list[str]]


class UpdateRequest(Resources, kw_only=True):
    """The body of `POST /containers/{id}/update`; what is zero or absent stays as it is.

    `unknown_fields` is filled by the API: what the client sent and no type here knows.
    """

    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)
    unknown_fields: list[str] = field(default_factory=list, name="carboy.unknown")


class UpdateResponse(Document, kw_only=True):
    """What the user should know of an update."""

    warnings: list[str] | None = None


class ContainersPruned(Document, kw_only=True):
    """What `POST /containers/prune` removed."""

    containers_deleted: list[str] | None = None
    space_reclaimed: int = 0


class ImagesPruned(Document, kw_only=True):
    """What `POST /images/prune` removed."""

    images_deleted: list[DeletedImage] | None = None
    space_reclaimed: int = 0


class BuildCachePruned(Document, kw_only=True):
    """What `POST /build/prune` removed."""

    caches_deleted: list[str] | None = None
    space_reclaimed: int = 0
