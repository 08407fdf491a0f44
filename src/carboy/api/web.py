"""aiohttp's server side, loaded without its client's certificates.

aiohttp makes a verifying TLS context when it is imported, and reading the machine's
certificates for it takes 50 of the daemon's 500 milliseconds to its first answer, for a client
that the daemon does not use.  So the import sees an empty certificate file.  A TLS client in
this process must bring a context of its own (`ssl.create_default_context()`); with aiohttp's it
would verify against nothing and refuse every server.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def _no_certificates() -> Iterator[None]:
    """OpenSSL finds no certificates while this lasts."""
    names = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


with _no_certificates():
    from aiohttp import hdrs, web

__all__ = ["hdrs", "web"]
