"""`carboy build --check`: where the Dockerfile comes from, what is printed, how it ends."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from carboy.cli import main
from carboy.cli.buildcheck import build_arguments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PINNED = "FROM debian:12@sha256:" + "0" * 64
GOOD = f'{PINNED}\nCMD ["/a"]\n'
BAD = f"{PINNED} AS Base\nCMD run\n"
NO_WARNINGS = "Check complete, no warnings found.\n"


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "settings"))
    context = tmp_path / "context"
    context.mkdir()
    monkeypatch.chdir(context)

    def command(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        (tmp_path / "stdin").write_bytes(stdin)
        kept = os.dup(0)
        given = os.open(tmp_path / "stdin", os.O_RDONLY)
        os.dup2(given, 0)
        try:
            code = main.run(["build", *arguments])
        finally:
            os.dup2(kept, 0)
            os.close(kept)
            os.close(given)
        out, err = capfd.readouterr()
        return code, out, err

    return command


def tar(files: dict[str, str], mode: str = "w") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]  # "w" or "w:gz"
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


def test_no_warnings(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "context/Dockerfile").write_text(GOOD)
    for arguments in (
        ["--check", "."],
        ["--call=check", str(tmp_path / "context")],
        ["--check", "-t", "x", "."],
    ):
        assert run(*arguments) == (0, NO_WARNINGS, "")


def test_warnings(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "context/Dockerfile").write_text(BAD)
    code, out, err = run("--check", ".")
    assert (code, err) == (1, "")
    first, *found = out.split("\n\n")
    assert first == "Check complete, 2 warnings have been found!"
    assert found[0] == (
        "WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\n"
        "Stage name 'Base' should be lowercase\nDockerfile:1\n--------------------\n"
        f"   1 | >>> {PINNED} AS Base\n   2 |     CMD run\n   3 |     \n--------------------"
    )
    assert run("--call=check,ignorestatus=true", ".")[0] == 0
    assert run("--check", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", ".") == (0, NO_WARNINGS, "")


def test_strict_and_json(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "context/Dockerfile").write_text("FROM debian\n")
    code, out, _ = run("--check", ".")
    assert code == 0
    assert "ADVICE: LatestTag" in out
    code, out, _ = run("--call=check,strict=true", ".")
    assert code == 1
    assert "WARNING: LatestTag" in out
    for arguments in (["--check", "--format=json"], ["--call=check,format=json"]):
        code, out, _ = run(*arguments, ".")
        assert (code, json.loads(out)["warnings"][0]["severity"]) == (0, "advice")


def test_a_wrong_dockerfile(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "context/Dockerfile").write_text("FROM scratch\nCOPPY a /\n")
    code, out, err = run("--check", ".")
    assert (code, out) == (1, "")
    assert err == (
        "ERROR: dockerfile parse error on line 2: unknown instruction: COPPY (did you mean COPY?)\n"
        "Dockerfile:2\n--------------------\n   1 |     FROM scratch\n   2 | >>> COPPY a /\n   3 |     \n"
        "--------------------\n"
    )


def test_the_file(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "dockerfile").write_text(GOOD)
    assert run("--check", ".")[:2] == (0, NO_WARNINGS)
    (context / "docker").mkdir()
    (context / "docker/app.Dockerfile").write_text(BAD)
    assert "\ndocker/app.Dockerfile:1\n" in run("--check", "-f", "docker/app.Dockerfile", ".")[1]
    assert run("--check", "-f", "-", ".", stdin=GOOD.encode())[:2] == (0, NO_WARNINGS)
    assert run("--check", "-", stdin=GOOD.encode())[:2] == (0, NO_WARNINGS)


def test_the_patterns(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "a.Dockerfile").write_text(f"{PINNED}\nCOPY a b /\n")
    (context / ".dockerignore").write_text("a\n")
    assert 'file "a" that is excluded' in run("--check", "-f", "a.Dockerfile", ".")[1]
    (context / "a.Dockerfile.dockerignore").write_text("b\n")
    out = run("--check", "-f", "a.Dockerfile", ".")[1]
    assert 'file "b" that is excluded' in out
    assert 'file "a"' not in out
    (context / ".dockerignore").write_text("[\n")
    (context / "a.Dockerfile.dockerignore").unlink()
    code, _, err = run("--check", "-f", "a.Dockerfile", ".")
    assert code == 1
    assert "syntax error in pattern" in err


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_on_standard_input(run: Callable[..., tuple[int, str, str]], mode: str) -> None:
    context = tar(
        {"x/big": "x" * 100_000, "./Dockerfile": f"{PINNED}\nCOPY a /\n", ".dockerignore": "a"}, mode
    )
    code, out, _ = run("--check", "-", stdin=context)
    assert code == 1
    assert 'file "a" that is excluded' in out
    assert run("--check", "-f", "x/D", "-", stdin=tar({"x/D": GOOD}, mode))[:2] == (0, NO_WARNINGS)
    code, _, err = run("--check", "-", stdin=tar({"a": "b"}, mode))
    assert (code, "not in the context" in err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--check", "/nonexistent"], "not found"),
        (["--check", "."], "failed to read dockerfile: open ./Dockerfile: No such file"),
        (["--check", "-f", "/", "."], "directory"),
        (["--check", "-f", "/dev/zero", "."], "larger than"),
        (["--check", "-f", "-", "-"], "both"),
        (["--check", "https://example.org/a.git"], "no remote contexts"),
        (["--call=outline", "."], "later"),
        (["--call=bogus", "."], "bogus"),
        (["--call=check,x=1", "."], "x=1"),
        (["--call=check,strict=perhaps", "."], "perhaps"),
        (["--check", "--format=xml", "."], "xml"),
        (["--check"], "requires 1 argument: carboy build [OPTIONS] PATH | URL | -, where PATH is"),
        (["--check", "my", "app"], "requires 1 argument, but 2 were given: carboy build [OPTIONS] PATH"),
    ],
)
def test_refused(run: Callable[..., tuple[int, str, str]], arguments: list[str], text: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert text in err


def test_targets_and_arguments(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "context/Dockerfile").write_text(f"ARG B\nFROM $B AS a\n{PINNED} AS b\nCMD run\n")
    assert "base name ($B) should not be blank" in run("--check", ".")[2]
    code, out, _ = run("--check", "--build-arg", "B=scratch", "--target", "a", ".")
    assert code == 1
    assert "JSONArgsRecommended" not in out
    assert "could not be found" in run("--check", "--build-arg", "B=scratch", "--target", "c", ".")[2]


def test_build_arguments() -> None:
    assert build_arguments(["A=1=2", "B", "C", "D="], {"B": "x"}) == {"A": "1=2", "B": "x", "D": ""}


def test_nothing_of_it_is_loaded_by_other_commands() -> None:
    code = "import carboy.cli.main, carboy.cli.build, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not [name for name in done.stdout.split() if "dockerfile" in name or name in ("re", "msgspec")]
