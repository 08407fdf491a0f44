"""Docker's own command lines on this machine: Debian's, and a newer one where that is first on PATH."""

from __future__ import annotations

import os
import shutil

COMMANDS = list(
    dict.fromkeys(one for one in ("/usr/bin/docker", shutil.which("docker")) if one and os.path.exists(one))
)
