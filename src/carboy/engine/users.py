"""Who a container's program runs as: what the engine needs of `formats.accounts`.

The image's files are read by `store.accountfiles`, what they mean is in `formats.accounts`.
"""

from __future__ import annotations

from carboy.formats.accounts import MAX_GROUPS, Identity, resolve
from carboy.store.accountfiles import MAX_FILE, read_account_files

__all__ = ["MAX_FILE", "MAX_GROUPS", "Identity", "read_account_files", "resolve"]
