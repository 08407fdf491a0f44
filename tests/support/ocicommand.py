"""carboy-runtime as a command, run from the source tree as pip would install it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"


def write_script(path: Path, *options: str) -> Path:
    """bin/carboy-runtime with the interpreter's path written in, and global options before the caller's."""
    path.write_text(
        f"#!{sys.executable}\n"
        "import gc, sys\n"
        "gc.disable()\n"
        f"sys.path.insert(0, {str(SOURCE)!r})\n"
        "from carboy.runtime.command import main\n"
        f"sys.exit(main([*{list(options)!r}, *sys.argv[1:]]))\n"
    )
    path.chmod(0o755)
    return path


class Command:
    """The command with a private --root."""

    def __init__(self, place: Path) -> None:
        self.root = place / "state"
        self.script = write_script(place / "carboy-runtime", "--root", str(self.root))

    def call(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run it; the caller looks at the exit code."""
        return subprocess.run(
            [self.script, *arguments], capture_output=True, text=True, timeout=40, check=False, **options
        )

    def ok(self, *arguments: str, **options: Any) -> str:
        """Run it, and expect success; its output."""
        done = self.call(*arguments, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def quiet(self, *arguments: str) -> None:
        """Run it with files as streams: what it leaves behind would keep a pipe open."""
        errors = self.root.parent / "errors"
        with open("/dev/null", "r+b") as null, open(errors, "wb") as said:
            command = [str(self.script), *arguments]
            code = subprocess.run(
                command, stdin=null, stdout=null, stderr=said, timeout=40, check=False
            ).returncode
        assert code == 0, errors.read_text()

    def state(self, container: str) -> dict[str, Any]:
        """What `state` says."""
        document: dict[str, Any] = json.loads(self.ok("state", container))
        return document
