"""Instructions: what the corpus does not show well."""

from __future__ import annotations

import pytest

from carboy.formats.dockerfile.grammar import FLAGS, parse_instruction, read_duration
from carboy.formats.dockerfile.instructions import Run, Script, script_of
from carboy.formats.dockerfile.modes import ModeError, read_mode
from carboy.formats.dockerfile.nodes import STYLES, parse_nodes
from carboy.formats.dockerfile.runflags import (
    Device,
    FlagError,
    Mount,
    read_device,
    read_mount,
    read_size,
    resolve_mount,
    split_csv,
)
from carboy.formats.dockerfile.source import DockerfileError


def script(text: str) -> Script:
    run = parse_instruction(parse_nodes(text).nodes[0])
    assert isinstance(run, Run)
    return script_of(run.command)


def test_how_a_run_with_heredocs_is_run() -> None:
    assert script("RUN a b\n") == Script("a b")
    assert script("RUN\n") == Script("")
    assert script("RUN <<E\na\nb\nE\n") == Script("a\nb\n")
    assert script("RUN <<-E\n\ta\n\tE\n") == Script("a\n")
    shebang = script("RUN <<E\n#!/bin/x\na\nE\n")
    assert shebang.file is not None
    assert (shebang.text, shebang.file.text) == ("", "#!/bin/x\na\n")
    # The shell reads these itself: tabs and quotes stay.
    assert script("RUN cat <<-E <<'F'\n\ta\n\tE\nb\nF\n") == Script("cat <<-E <<'F'\n\ta\nE\nb\nF")


def test_every_instruction_has_a_reader_and_every_flag_an_instruction() -> None:
    assert set(FLAGS) <= set(STYLES)
    for name in STYLES:
        try:
            parse_instruction(parse_nodes(f"{name} RUN x\n").nodes[0])
        except DockerfileError as error:
            unknown = error.message.startswith("unknown instruction")
        else:
            unknown = False
        assert not unknown


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0), ("1s", 10**9), ("1.5s", 1_500_000_000), (".5s", 500_000_000), ("1h2m3s", 3_723 * 10**9),
        ("100ms", 10**8), ("1us", 1000), ("1µs", 1000), ("3ns", 3), ("-1s", -(10**9)), ("+1s", 10**9),
        ("", None), ("1", None), ("s", None), ("1x", None), ("1s2", None), ("1 s", None),
        ("9" * 20 + "h", None),
        ("--1s", None), ("1e3s", None), ("٣s", None),
    ],
)  # fmt: skip
def test_durations_are_gos(text: str, nanoseconds: int | None) -> None:
    assert read_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("mode", "before", "after", "directory"),
    [
        ("755", 0o600, 0o755, 0o755), ("0", 0o600, 0, 0), ("4755", 0, 0o4755, 0o4755),
        ("u+x", 0o644, 0o744, 0o744), ("+x", 0o644, 0o755, 0o755), ("a-w", 0o666, 0o444, 0o444),
        ("go=", 0o777, 0o700, 0o700), ("u=rwX,go=rX", 0o600, 0o644, 0o755),
        ("u=rwX,go=rX", 0o700, 0o755, 0o755),
        ("g=u", 0o740, 0o770, 0o770), ("o=g-w", 0o770, 0o775, 0o775), ("+t,u+s", 0o755, 0o5755, 0o5755),
        ("u=rw", 0o4755, 0o655, 0o4655), ("+X", 0o644, 0o644, 0o755),
    ],
)  # fmt: skip
def test_modes_are_chmods(mode: str, before: int, after: int, directory: int) -> None:
    assert read_mode(mode).applied(before, is_directory=False) == after
    assert read_mode(mode).applied(before, is_directory=True) == directory


@pytest.mark.parametrize(
    "mode", ["", "8", "99999", "rwx", "u", "u+q", "u+x,", ",u+x", "u+x g+x", "-1", "0o7", "z+x", "٧"]
)
def test_what_is_no_mode(mode: str) -> None:
    with pytest.raises(ModeError, match="invalid chmod parameter"):
        read_mode(mode)


def test_mounts_are_resolved() -> None:
    flag = read_mount("TYPE=cache,dst=/$D,ro,uid=7,mode=0700,sharing=PRIVATE")
    assert flag.has_variables
    mount = resolve_mount(flag, lambda text: text.replace("$D", "data"))
    assert mount == Mount(type="cache", target="/data", readonly=True, uid=7, mode=0o700, sharing="private")
    assert resolve_mount(read_mount("target=/x")) == Mount(target="/x")
    assert resolve_mount(read_mount("target=/x,rw=false")).readonly
    assert not resolve_mount(read_mount("target=/x,rw")).readonly
    assert not resolve_mount(read_mount("type=tmpfs,target=/x")).readonly
    secret = resolve_mount(read_mount("type=secret,id=a,env=A,required"))
    assert (secret.id, secret.env, secret.required, secret.mode) == ("a", "A", True, None)


@pytest.mark.parametrize(
    "text",
    [
        "type=bind", "type=cache", "type=x,target=/a", "target=/a,mode=1", "type=secret,from=a,id=b",
        "type=secret,id=a,source=b", "type=bind,target=/a,required", "required,type=secret,id=a", "target",
        "type=bind,target=/a,sharing=shared", "type=cache,target=/a,uid=-1",
        "type=cache,target=/a,uid=4294967296",
        "type=cache,target=/a,mode=9", "target=/a,ro=x", "type=tmpfs,target=/a,size=big", 'target="/a', "",
        "type=ssh,size=1", "type=bind,target=/a,env=A",
    ],
)  # fmt: skip
def test_what_is_no_mount(text: str) -> None:
    with pytest.raises(FlagError):
        resolve_mount(read_mount(text))


def test_csv_fields() -> None:
    assert split_csv('a,"b,c","d ""e""",') == ["a", "b,c", 'd "e"', ""]
    for wrong in ('a"b,"c"', '"a', '"a"b'):
        with pytest.raises(FlagError):
            split_csv(wrong)


def test_devices() -> None:
    assert read_device("v/c=n") == Device("v/c=n")
    assert read_device("required,name=a") == Device("a", True)
    for wrong in ("a,name=b", "a,b", "a,x=y", "required=x"):
        with pytest.raises(FlagError):
            read_device(wrong)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("64", 64),
        ("64b", 64),
        ("1k", 1024),
        ("1.5m", 1572864),
        ("2GB", 2 << 30),
        ("2 GiB", 2 << 30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert read_size("size", text) == size


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1.2.3", "1kk", "9" * 30, "9999999p"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(FlagError):
        read_size("size", text)
