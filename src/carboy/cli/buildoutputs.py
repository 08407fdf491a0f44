"""Where the results of a build go: `--output`, and the files that say what was built.

    type=image[,name=N]          the store (the default)
    type=local,dest=DIR          the files, below a directory here; -o DIR is short for it
    type=tar,dest=FILE|-         the root filesystem as a tar; -o - is short for it
    type=oci|docker,dest=FILE|-  an archive for `load`, Podman, skopeo …; docker without dest: the store

The daemon makes a tar of each; what is unpacked here stays below its directory, whatever the tar says.
"""

from __future__ import annotations

import os

from carboy.cli import buildoptions
from carboy.cli.session import write_all
from carboy.client import document
from carboy.errors import InvalidArgument, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.session import Session
    from carboy.client.document import Json

_KINDS = ("image", "docker", "oci", "tar", "local", "cacheonly")
_FILES = ("docker", "oci", "tar")


class Output:
    """One `--output`."""

    def __init__(self, kind: str, attributes: dict[str, str], dest: str) -> None:
        self.kind = kind
        self.attributes = attributes
        self.dest = dest
        """Path here, `-` for standard output; empty when nothing is fetched."""

    @property
    def document(self) -> Json:
        """As `POST /build/begin` has it."""
        return {"Type": self.kind, "Attributes": self.attributes}


def parse(given: list[str]) -> list[Output]:
    """All `--output` flags."""
    found = [_one(text) for text in given]
    if sum(one.dest == "-" for one in found) > 1:
        raise InvalidArgument("only one --output can go to standard output")
    if any(one.dest == "-" for one in found) and os.isatty(1):
        raise InvalidArgument("dest=- would write an archive to your terminal: redirect it, or name a file")
    return found


def _one(text: str) -> Output:
    if text == "-":
        return Output("tar", {}, "-")
    if "=" not in text.partition(",")[0]:
        return Output("local", {}, _directory(text))
    fields = buildoptions.settings(text, "output", ())
    kind, dest = fields.pop("type", ""), fields.pop("dest", "")
    if not kind:
        raise InvalidArgument(f'invalid --output "{text}": type is required for output')
    if kind == "registry" or fields.get("push", "false") not in ("false", "0"):
        raise Unsupported("no pushing yet: it comes with registries in a later version: use `carboy save`")
    if kind not in _KINDS:
        raise InvalidArgument(f'unknown --output type "{kind}": write image, local, tar, oci or docker')
    if kind == "docker" and not dest:
        kind = "image"
    if kind == "local":
        dest = _directory(dest)
    elif kind in _FILES:
        dest = _file(dest or "-", kind)
    elif dest:
        raise InvalidArgument(f'invalid --output "{text}": type={kind} has no dest')
    return Output(kind, fields, dest)


def _directory(path: str) -> str:
    if not path or path == "-":
        raise InvalidArgument("dest is required for the local output: write type=local,dest=DIRECTORY")
    if os.path.exists(path) and not os.path.isdir(path):
        raise InvalidArgument(f"invalid destination directory: {path} is no directory")
    return path


def _file(path: str, kind: str) -> str:
    if path != "-" and os.path.isdir(path):
        raise InvalidArgument(f"destination file required for the {kind} output: {path} is a directory")
    if path != "-":
        require_folder(path)
    return path


def require_folder(path: str) -> None:
    """Told before a build, not after it: the file could not be written."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise InvalidArgument(f"cannot write {path}: there is no directory {folder}: make it first")


def receive(session: Session, build: str, outputs: list[Output]) -> None:
    """Fetch what goes to this machine."""
    for index, output in enumerate(outputs):
        if not output.dest:
            continue
        query = (("build", build), ("index", str(index)))
        if output.kind == "local":
            _unpack(session, query, output.dest)
        elif output.dest == "-":
            response = session.client.request("GET", "/build/output", query)
            for piece in response.chunks():
                write_all(1, piece)
        else:
            _save(session, query, output.dest)


def _save(session: Session, query: tuple[tuple[str, str], ...], path: str) -> None:
    """A file appears whole or not at all."""
    from carboy.cli.archive import download

    partial = f"{path}.{os.getpid()}.partial"
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        download(session, "/build/output", query, descriptor)
        umask = os.umask(0o077)
        os.umask(umask)
        os.fchmod(descriptor, 0o666 & ~umask)
        os.rename(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
    finally:
        os.close(descriptor)


def _unpack(session: Session, query: tuple[tuple[str, str], ...], path: str) -> None:
    from carboy.cli import buildunpack  # only here: the tar reader costs milliseconds

    os.makedirs(path, exist_ok=True)
    response = session.client.request("GET", "/build/output", query)
    buildunpack.unpack(response.chunks(), path)


def metadata(build: str, result: Json, tags: list[str]) -> Json:
    """What --metadata-file says: BuildKit's names."""
    found: Json = {"buildx.build.ref": f"carboy/carboy/{build}"}
    images = document.children(result, "Images")
    outputs = [one for one in document.children(result, "Outputs") if document.text(one, "Digest")]
    if images:
        found["containerimage.config.digest"] = document.text(images[-1], "Id")
    digest = document.text(outputs[0], "Digest") if outputs else ""
    digest = digest or (document.text(images[-1], "Digest") if images else "")
    if digest:
        found["containerimage.digest"] = digest
    names = [name for image in images for name in document.strings(image, "Names")] or tags
    if names:
        found["image.name"] = ",".join(dict.fromkeys(names))
    found["carboy.images"] = images
    if record := document.text(result, "Record"):
        found["carboy.record"] = record
    return found


def write_file(path: str, data: bytes) -> None:
    """A small file, replaced whole."""
    partial = f"{path}.{os.getpid()}.partial"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)
        os.rename(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
