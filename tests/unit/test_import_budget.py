"""What the processes that every container pays for may load: held as a list of modules."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "argparse",
    "asyncio",
    "aiohttp",
    "msgspec",
    "sqlite3",
    "ssl",
    "subprocess",
    "logging",
    "pathlib",
    "dataclasses",
    "inspect",
    "typing",
    "tarfile",
    "urllib",
    "http",
    "threading",
    "tempfile",
    "shutil",
}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules in memory after `statement`, in a fresh interpreter without site."""
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_spawner_loads_nothing_heavy() -> None:
    assert loaded_by("import carboy.runtime.spawner") & HEAVY == set()


def test_errors_and_package_load_nothing() -> None:
    extra = loaded_by("import carboy.errors") - loaded_by("pass")
    assert extra == {"carboy"}
