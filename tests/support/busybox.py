"""A small image made from the machine's own busybox."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

APPLETS = "sh cat echo true false sleep stty env head id pwd ls touch hostname"


def busybox_root() -> bytes:
    """A root filesystem of busybox alone, as a tar."""
    program = Path(shutil.which("busybox") or "").read_bytes()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "tmp", "etc", "root", "dev", "proc", "sys"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for name, data in (
            ("bin/busybox", program),
            ("etc/passwd", b"root:x:0:0::/root:/bin/sh\nme:x:7:8::/:/bin/sh\n"),
        ):
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o755, len(data)
            tar.addfile(info, io.BytesIO(data))
        for applet in APPLETS.split():
            info = tarfile.TarInfo(f"bin/{applet}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
    return out.getvalue()
