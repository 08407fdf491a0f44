"""Who may import whom: the table of docs/house-style.md, held by reading the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "carboy"

BOTTOM = {"errors", "digest"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "digest": {"errors"},
    "formats": BOTTOM,
    "linux": {"errors"},
    "archive": BOTTOM | {"formats"},
    "store": BOTTOM | {"formats", "linux"},
    "network": BOTTOM | {"formats", "linux"},
    "registry": BOTTOM | {"formats"},
    "runtime": {"errors", "formats", "linux"},
    "build": BOTTOM | {"formats", "linux", "archive", "store", "registry"},
    "engine": BOTTOM | {"formats", "linux", "archive", "store", "network", "registry", "build"},
    "api": BOTTOM | {"formats"},
    "client": BOTTOM | {"formats"},
    "service": BOTTOM | {"formats", "linux", "client"},
    "cli": BOTTOM | {"formats", "archive", "client"},
}

RUNTIME_FORMATS = {"cgroupstat", "detachkeys", "jsonlog", "locallog", "logmessage", "spawner", "stdcopy"}
"""The modules of formats that the runtime may use: they import the standard library only."""

IMPURE = {"os", "socket", "subprocess", "time", "select", "pathlib", "shutil", "tempfile", "ctypes"}


def imported_modules(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module that `path` imports, and whether only type checkers see it."""
    tree = ast.parse(path.read_text())
    typing_only: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            typing_only.update(id(inner) for statement in node.body for inner in ast.walk(statement))
    package = list(path.relative_to(SOURCE.parent).with_suffix("").parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in typing_only
        elif isinstance(node, ast.ImportFrom):
            prefix = package[: len(package) - node.level] if node.level else []
            base = ".".join([*prefix, node.module or ""]).rstrip(".")
            for alias in node.names:
                deeper = SOURCE.parent / Path(*base.split("."), alias.name)
                is_module = deeper.is_dir() or deeper.with_suffix(".py").exists()
                yield (f"{base}.{alias.name}" if is_module else base), id(node) in typing_only


def modules_of(folder: str) -> list[Path]:
    single = SOURCE / f"{folder}.py"
    return [single] if single.exists() else sorted((SOURCE / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_imports_go_downward_only(folder: str) -> None:
    offences = []
    for path in modules_of(folder):
        for name, _ in imported_modules(path):
            if name.startswith("carboy."):
                target = name.split(".")[1]
                if target != folder and target not in MAY_IMPORT[folder]:
                    offences.append(f"{path.relative_to(SOURCE)} imports {name}")
    assert offences == []


def test_runtime_takes_only_standard_library_formats() -> None:
    offences = []
    for path in modules_of("runtime"):
        for name, typing_only in imported_modules(path):
            parts = name.split(".")
            if parts[:2] == ["carboy", "formats"] and not typing_only and parts[2] not in RUNTIME_FORMATS:
                offences.append(f"{path.relative_to(SOURCE)} imports {name}")
    assert offences == []


def test_formats_do_no_input_or_output() -> None:
    offences = []
    for path in modules_of("formats"):
        for name, typing_only in imported_modules(path):
            if name.split(".")[0] in IMPURE and not typing_only:
                offences.append(f"{path.relative_to(SOURCE)} imports {name}")
    assert offences == []


def test_ctypes_lives_in_linux_only() -> None:
    offences = [
        str(path.relative_to(SOURCE))
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).parts[0] != "linux"
        for name, typing_only in imported_modules(path)
        if name.split(".")[0] == "ctypes" and not typing_only
    ]
    assert offences == []


def test_the_rule_knows_every_folder() -> None:
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(MAY_IMPORT)
    for folder in folders:
        docstring = ast.get_docstring(ast.parse((SOURCE / folder / "__init__.py").read_text()))
        assert docstring, f"{folder}/__init__.py says nothing of its purpose"
        assert "May import" in docstring, f"{folder}/__init__.py does not say what it may import"
