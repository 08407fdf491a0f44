"""`--host-ca`: programs of a step trust what this machine trusts, and the image never knows.

The image's own bundles, where it has some, are shown with the host's certificates added: as files
that lie above the image's layers and below what the step writes.  So they are no mount points:
`update-ca-certificates` can put new ones in their place, and what it makes is the image's own.  Programs
that look elsewhere are told by variables, which point to a file that is there during the step only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

from carboy.errors import NotFound
from carboy.linux.paths import open_in_root

PLACE = "/dev/carboy-ca-certificates.crt"
"""In the container: /dev is never part of a layer."""

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions have theirs: Debian and Arch, Fedora, RHEL, SUSE, old OpenELEC, Alpine."""

VARIABLES = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
)
_LARGEST = 16 << 20


def read_host_bundle(environment: Mapping[str, str] = os.environ, places: Iterable[str] = BUNDLES) -> bytes:
    """This machine's certificates; NotFound."""
    own = environment.get("SSL_CERT_FILE", "")
    for path in (own, *places):
        if path:
            try:
                with open(path, "rb") as file:
                    data = file.read(_LARGEST)
            except OSError:
                continue
            if b"-----BEGIN " in data:
                return data
    raise NotFound(
        "--host-ca: no bundle of CA certificates was found on this machine: set SSL_CERT_FILE for the daemon"
    )


def image_bundles(root: int) -> dict[str, bytes]:
    """The bundles that an image has, by path."""
    found = {}
    for path in BUNDLES:
        data = _read(root, path)
        if data is not None:
            found[path] = data
    return found


def joined(own: bytes, host: bytes) -> bytes:
    """Both: an image may trust somebody whom the host does not."""
    return own + (b"" if own.endswith(b"\n") or not own else b"\n") + host


def variables(given: Iterable[str]) -> list[str]:
    """The variables to set: those that the program has not already."""
    names = {text.partition("=")[0] for text in given}
    return [f"{name}={PLACE}" for name in VARIABLES if name not in names]


def _read(root: int, unsafe_path: str) -> bytes | None:
    try:
        fd = open_in_root(root, unsafe_path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(_LARGEST)
