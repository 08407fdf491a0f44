"""`--cache-to type=local` and `--cache-from type=local`: the cache in an OCI layout.

    oci-layout
    index.json              one manifest, of artifact type ARTIFACT
    blobs/sha256/<hex>      the manifest, its config (the document of exchange.py), layers as plain tars

Both sides get a descriptor of the directory, and everything in it is opened below that without following a
link.  What is read is hostile: sizes are bounded, every digest is checked, a FIFO blocks nobody.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable

import msgspec

from carboy.build.caching import exchange
from carboy.build.caching.cache import BuildCache
from carboy.build.caching.exchange import OfferedCache, exchanged
from carboy.digest import Digest
from carboy.errors import CarboyError, Corrupt, InvalidArgument, Malformed, NotFound
from carboy.formats import oci
from carboy.linux.paths import open_beneath
from carboy.store.content import storage_error, write_all
from carboy.store.intake import FileWindow
from carboy.store.layers import LayerStore

ARTIFACT = "application/vnd.carboy.buildcache.v1"
CONFIG_TYPE = "application/vnd.carboy.buildcache.config.v1+json"
_BLOBS = "blobs/sha256"
_COPY = 1 << 24
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class _Descriptor(msgspec.Struct, kw_only=True, rename="camel"):
    media_type: str
    digest: str
    size: int
    artifact_type: str = ""


class _Manifest(msgspec.Struct, kw_only=True, rename="camel"):
    schema_version: int = 2
    media_type: str = oci.MANIFEST_TYPE
    artifact_type: str = ARTIFACT
    config: _Descriptor
    layers: list[_Descriptor]


class _Index(msgspec.Struct, kw_only=True, rename="camel"):
    schema_version: int = 2
    media_type: str = oci.INDEX_TYPE
    manifests: list[_Descriptor]


_manifests = msgspec.json.Decoder(_Manifest)
_indexes = msgspec.json.Decoder(_Index)


class LayoutCache(OfferedCache):
    """The cache in a directory; the caller keeps the descriptor open while builds use this."""

    def __init__(
        self,
        directory: int,
        cache: BuildCache,
        layers: LayerStore,
        *,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Raises NotFound when nothing is there, Malformed when it is something else."""
        config = _read_layout(directory)[1]
        self._directory = directory
        self._warn = warn
        super().__init__(exchange.decode(config), str(Digest.of(config)), cache, layers)

    def fetch(self, diff_id: Digest) -> bool:
        """Take a layer in; what it is not is told and left there."""
        try:
            descriptor = _open(self._directory, f"{_BLOBS}/{diff_id.hex}")
        except (CarboyError, OSError) as error:
            self._warn(f"the imported cache lacks the layer {diff_id}: {error}")
            return False
        try:
            self._layers.ingest(FileWindow.whole(descriptor), expected=diff_id)
        except (Corrupt, InvalidArgument) as error:
            self._warn(f"the imported cache is damaged: {error}")
            return False
        finally:
            os.close(descriptor)
        return True


def export_cache(keys: Iterable[str], directory: int, cache: BuildCache, layers: LayerStore) -> int:
    """Write these steps and their layers; how many there were.  An older cache there is replaced at the end.

    Raises InvalidArgument when the directory holds something else.
    """
    entries = [entry for key in dict.fromkeys(keys) if (entry := cache.peek(key)) is not None]
    try:
        before = _blobs_of_older(directory)
        for name in ("blobs", _BLOBS):
            _make_directory(directory, name)
        needed = sorted({layer for entry in entries for layer in entry.layers})
        described = [_write_layer(directory, layer, layers) for layer in needed]
        config = exchange.encode(exchanged(entry) for entry in entries)
        manifest = msgspec.json.encode(
            _Manifest(config=_write_blob(directory, config, CONFIG_TYPE), layers=described), order="sorted"
        )
        named = _write_blob(directory, manifest, oci.MANIFEST_TYPE)
        named.artifact_type = ARTIFACT
        _write_file(directory, "oci-layout", _LAYOUT)
        _write_file(directory, "index.json", msgspec.json.encode(_Index(manifests=[named]), order="sorted"))
        now = {str(layer) for layer in needed} | {named.digest, str(Digest.of(config))}
        for digest in before - now:
            _forget(directory, f"{_BLOBS}/{Digest.parse(digest).hex}")
    except OSError as error:
        raise storage_error(error, "export the build cache") from error
    return len(entries)


# Reading


def _read_layout(directory: int) -> tuple[_Descriptor, bytes, _Manifest]:
    """(the manifest's descriptor, the config, the manifest)."""
    try:
        named = _named_manifest(_read(directory, "index.json"))
        manifest = _manifests.decode(_read_blob(directory, named))
        if manifest.config.media_type != CONFIG_TYPE:
            raise Malformed(f"its config is of the type {manifest.config.media_type[:80]!r}")
        return named, _read_blob(directory, manifest.config, limit=exchange.LIMIT), manifest
    except FileNotFoundError as error:
        raise NotFound(f"there is no build cache in the directory: {error.filename} is missing") from error
    except NotFound:
        raise
    except (msgspec.DecodeError, CarboyError, OSError, RecursionError) as error:
        raise Malformed(f"the directory holds no build cache that can be read: {error}") from error


def _named_manifest(unsafe_index: bytes) -> _Descriptor:
    oci.check_document(unsafe_index, "index.json")
    index = _indexes.decode(unsafe_index)
    if len(index.manifests) != 1 or index.manifests[0].artifact_type != ARTIFACT:
        raise Malformed("index.json names something else")
    return index.manifests[0]


def _read_blob(directory: int, unsafe: _Descriptor, *, limit: int = oci.DOCUMENT_LIMIT) -> bytes:
    digest = Digest.parse(unsafe.digest)
    data = _read(directory, f"{_BLOBS}/{digest.hex}", limit=limit)
    return oci.verified(data, digest, f"blob {digest}")


def _read(directory: int, name: str, *, limit: int = oci.DOCUMENT_LIMIT) -> bytes:
    descriptor = _open(directory, name)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise Malformed(f"{name} has {size} bytes, more than {limit}")
        data = file.read(limit + 1) or b""
        while len(data) <= limit and (more := file.read(limit + 1 - len(data))):
            data += more
    return data


def _open(directory: int, name: str) -> int:
    descriptor = open_beneath(directory, name, _READ)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Malformed(f"{name} is no regular file")
    return descriptor


# Writing


def _blobs_of_older(directory: int) -> set[str]:
    """The blobs of the cache that is there already; what else is there is left alone."""
    try:
        unsafe_index = _read(directory, "index.json")
    except FileNotFoundError:
        return set()
    try:
        _named_manifest(unsafe_index)
    except (msgspec.DecodeError, CarboyError, RecursionError) as error:
        raise InvalidArgument(
            f"cannot export the build cache: the directory holds something else ({error});"
            " name an empty one, or one with an older cache"
        ) from error
    try:
        named, _, manifest = _read_layout(directory)
        found = {named.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        return {str(Digest.parse(digest)) for digest in found}
    except CarboyError:
        return set()  # damaged: it is replaced all the same


def _write_layer(directory: int, diff_id: Digest, layers: LayerStore) -> _Descriptor:
    size = layers.get(diff_id).size
    name = f"{_BLOBS}/{diff_id.hex}"
    if not _is_there(directory, name, size):
        source = layers.open_tar(diff_id)
        try:
            _replace(directory, name, lambda target: _copy(source, target, size))
        finally:
            os.close(source)
    return _Descriptor(media_type=oci.LAYER_TYPE, digest=str(diff_id), size=size)


def _write_blob(directory: int, data: bytes, media_type: str) -> _Descriptor:
    digest = Digest.of(data)
    _write_file(directory, f"{_BLOBS}/{digest.hex}", data)
    return _Descriptor(media_type=media_type, digest=str(digest), size=len(data))


def _write_file(directory: int, name: str, data: bytes) -> None:
    _replace(directory, name, lambda target: write_all(target, data, "export the build cache"))


def _replace(directory: int, name: str, write: Callable[[int], None]) -> None:
    """A whole file or none: written beside it, and renamed."""
    folder, _, last = name.rpartition("/")
    parent = open_beneath(directory, folder or ".", os.O_RDONLY | os.O_DIRECTORY)
    temporary = f".carboy-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        target = os.open(temporary, flags, 0o644, dir_fd=parent)
        try:
            write(target)
            os.rename(temporary, last, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            os.unlink(temporary, dir_fd=parent)
            raise
        finally:
            os.close(target)
    finally:
        os.close(parent)


def _copy(source: int, target: int, size: int) -> None:
    """Inside the kernel; by reference where the filesystem can."""
    offset = 0
    while offset < size:
        try:
            count = os.copy_file_range(source, target, min(_COPY, size - offset), offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            count = os.sendfile(target, source, offset, min(_COPY, size - offset))
        if not count:
            raise Corrupt(f"a layer ends after {offset} of {size} bytes")
        offset += count


def _is_there(directory: int, name: str, size: int) -> bool:
    try:
        descriptor = _open(directory, name)
    except (OSError, CarboyError):
        return False
    try:
        return os.fstat(descriptor).st_size == size
    finally:
        os.close(descriptor)


def _make_directory(directory: int, name: str) -> None:
    folder, _, last = name.rpartition("/")
    parent = open_beneath(directory, folder or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.mkdir(last, 0o755, dir_fd=parent)
    except FileExistsError:
        pass
    finally:
        os.close(parent)


def _forget(directory: int, name: str) -> None:
    folder, _, last = name.rpartition("/")
    parent = open_beneath(directory, folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.unlink(last, dir_fd=parent)
    except FileNotFoundError:
        pass
    finally:
        os.close(parent)
