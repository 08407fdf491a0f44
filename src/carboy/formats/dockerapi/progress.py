"""The messages of long operations: one JSON object a line, `\\r\\n` between them."""

from msgspec import UNSET, UnsetType, field

from carboy.formats.dockerapi.wire import Document, encode


class ProgressDetail(Document, kw_only=True, rename="camel", omit_defaults=True):
    """How far one item is, in bytes."""

    current: int = 0
    total: int = 0


class ErrorDetail(Document, kw_only=True, rename="camel", omit_defaults=True):
    """Why the operation failed."""

    code: int = 0
    message: str = ""


class Aux(Document, kw_only=True, omit_defaults=True):
    """A machine-readable result: an image id (`ID`), or the digest of what was pushed."""

    id: str = field(default="", name="ID")
    tag: str = ""
    digest: str = ""
    size: int = 0


class ProgressMessage(Document, kw_only=True, rename="camel"):
    """One message; a client shows `stream` as it is, and `status` as the state of item `id`."""

    stream: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    progress: str | UnsetType = UNSET
    progress_detail: ProgressDetail | UnsetType = UNSET
    aux: Aux | UnsetType = UNSET
    error: str | UnsetType = UNSET
    error_detail: ErrorDetail | UnsetType = UNSET


def failure(message: str, *, code: int = 0) -> ProgressMessage:
    """The last message of an operation that failed after its stream had begun."""
    return ProgressMessage(error=message, error_detail=ErrorDetail(code=code, message=message))


def line(message: ProgressMessage) -> bytes:
    """The message as it goes over the wire."""
    return encode(message) + b"\r\n"
