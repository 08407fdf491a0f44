"""The small languages of the frontend: platforms, ports, signals, durations, addresses, names of images."""

from __future__ import annotations

import pytest

from carboy.build.frontend.addresses import Repository, file_name, is_http, read_repository, redacted
from carboy.build.frontend.naming import context_key, duration, health, image_name, listed, quoted
from carboy.build.frontend.platforms import normalized, of_image, read_platform
from carboy.build.frontend.ports import exposed
from carboy.build.frontend.signalnames import is_signal
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import HealthConfig


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"), ("linux/x86_64", "linux/amd64"), ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"), ("Linux/ARM64/v8", "linux/arm64"), ("arm64", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"), ("linux/arm", "linux/arm/v7"), ("linux/arm/7", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"), ("linux/armel", "linux/arm/v6"), ("linux/arm/v6", "linux/arm/v6"),
        ("linux/i686", "linux/386"), ("linux", "linux/amd64"), ("linux/s390x", "linux/s390x"),
    ],
)  # fmt: skip
def test_platforms_have_one_spelling(text: str, expected: str) -> None:
    assert normalized(text) == expected
    assert normalized(expected) == expected


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "linux/a/b/c", "linux/am d64", "linux//v7", "lin\nux/arm"]
)
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is no platform"):
        read_platform(text)


def test_an_image_without_architecture_is_for_no_platform() -> None:
    assert of_image("linux", "", "") == ""
    assert of_image("linux", "arm64", "v8") == "linux/arm64"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("80",), ("80/tcp",)),
        (("80/UDP", "53/sctp"), ("80/udp", "53/sctp")),
        (("8000-8002",), ("8000/tcp", "8001/tcp", "8002/tcp")),
        (
            ("8080:80", "127.0.0.1:8080:81/udp", "[::1]:90:82", ":83"),
            ("80/tcp", "81/udp", "82/tcp", "83/tcp"),
        ),
        (("9000-9001:80",), ("80/tcp",)),
        (("80/",), ("80/tcp",)),
    ],
)
def test_ports(texts: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert exposed(texts) == expected


@pytest.mark.parametrize(
    "text", ["", "/tcp", "http", "80/http", "65536", "-1", "9-8", "1-", "80-82:90-91", "٣", "1-2-3", "80 "]
)
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(InvalidArgument):
        exposed((text,))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("9", True), ("TERM", True), ("sigusr1", True), ("SIGRTMIN", True), ("RTMIN+15", True),
     ("RTMAX-14", True),
     ("0", False), ("65", False), ("-9", False), ("SIG", False), ("RTMIN+16", False), ("RTMAX-15", False),
     ("NOPE", False), ("", False), ("SIGSIGTERM", False), ("٩", False)],
)  # fmt: skip
def test_signals(text: str, expected: bool) -> None:
    assert is_signal(text) is expected


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [(0, "0s"), (1, "1ns"), (1500, "1.5µs"), (100_000_000, "100ms"), (1_500_000_000, "1.5s"),
     (30 * 10**9, "30s"), (90 * 10**9, "1m30s"), (3600 * 10**9, "1h0m0s"), (7_384_500_000_000, "2h3m4.5s")],
)  # fmt: skip
def test_durations_are_gos(nanoseconds: int, expected: str) -> None:
    assert duration(nanoseconds) == expected


def test_history_quotes_as_go_does() -> None:
    assert quoted(["a b", 'q"', "\\", "\n\t\x1b", "é", "\x7f\u200b"]) == (
        '["a b" "q\\"" "\\\\" "\\n\\t\\x1b" "é" "\\x7f\\u200b"]'
    )
    assert listed(["a", "b c"]) == "[a b c]"
    assert health(HealthConfig(test=["NONE"])).startswith("HEALTHCHECK {Test:[NONE] Interval:0s ")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://e.org/a.git", Repository(url="https://e.org/a.git")),
        ("https://e.org/a.git#v1", Repository(url="https://e.org/a.git", ref="v1")),
        ("https://e.org/a.git#:docs", Repository(url="https://e.org/a.git", subdir="docs")),
        ("https://e.org/a.git#a/b:c/d", Repository(url="https://e.org/a.git", ref="a/b", subdir="c/d")),
        ("git@e.org:a/b#main", Repository(url="git@e.org:a/b", ref="main")),
        ("git@e.org:a/b?ref=main", Repository(url="git@e.org:a/b", ref="main")),
        ("ssh://git@e.org:22/a", Repository(url="ssh://git@e.org:22/a")),
        ("git://e.org/a", Repository(url="git://e.org/a")),
        (f"https://e.org/a.git?commit={COMMIT}",
         Repository(url="https://e.org/a.git", ref=COMMIT, checksum=COMMIT)),
        ("https://e.org/a.git?tag=refs/tags/v1", Repository(url="https://e.org/a.git", ref="refs/tags/v1")),
        ("https://e.org/a.git?ref=x#x", Repository(url="https://e.org/a.git", ref="x")),
        ("https://e.org/a.git?keep-git-dir", Repository(url="https://e.org/a.git", keep_git_dir=True)),
        ("https://e.org/a.git?submodules=0", Repository(url="https://e.org/a.git", submodules=False)),
        ("https://e.org/a.tar.gz", None),
        ("https://e.org/a.git/info", None),
        ("http://[", None),
        ("a.git", None),
        ("./git@e.org:a", None),
        ("github.com/a/b", None),
        ("ftp://e.org/a.git", None),
        ("user@host", None),
    ],
)  # fmt: skip
def test_repositories(text: str, expected: Repository | None) -> None:
    assert read_repository(text) == expected


@pytest.mark.parametrize(
    "query",
    ["ref=", "what=1", "ref=a&ref=b", "tag=a&branch=b", "ref=a#b", "subdir=a#:b", "keep-git-dir=2",
     "subdir=a/../..", "tag=a#b", "&".join(f"x{n}=1" for n in range(60))],
)  # fmt: skip
def test_repositories_that_mean_nothing(query: str) -> None:
    with pytest.raises(InvalidArgument):
        read_repository("https://e.org/a.git?" + query)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://e.org/a/b.txt", "b.txt"), ("https://e.org/b.txt?x=/y#/z", "b.txt"),
        ("https://e.org", "__unnamed__"), ("https://e.org/", "__unnamed__"), ("https://e.org/a/", "a"),
        ("https://e.org/a%20b", "a b"), ("https://e.org/%2e%2e", "__unnamed__"),
        ("https://e.org/..%2f..%2fetc", "etc"), ("https://e.org/a%00b", "__unnamed__"),
        ("https://[", "__unnamed__"),
    ],
)  # fmt: skip
def test_names_of_fetched_files_stay_in_their_directory(url: str, expected: str) -> None:
    assert file_name(url) == expected
    assert is_http(url)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ADD https://u:p@e.org/a /x", "ADD https://xxxxx:xxxxx@e.org/a /x"),
        ("https://token@e.org/", "https://xxxxx@e.org/"),
        ("ADD https://user:p@ss@e.org/x.tar /", "ADD https://xxxxx:xxxxx@e.org/x.tar /"),
        ("https://a@b@e.org/@x https://e.org/y z@w", "https://xxxxx@e.org/@x https://e.org/y z@w"),
        ("ssh://git:p@ss@e.org/a", "ssh://git:xxxxx@e.org/a"),
        ("ssh://git@e.org/a", "ssh://git@e.org/a"),
        ("ssh://git:p@e.org/a", "ssh://git:xxxxx@e.org/a"),
        ("git@e.org:a", "git@e.org:a"),
        ("https://e.org/@scope/x", "https://e.org/@scope/x"),
        ("a@b c://d", "a@b c://d"),
    ],
)
def test_what_is_shown_of_addresses(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_names_of_images_and_contexts() -> None:
    assert image_name("debian") == "docker.io/library/debian:latest"
    assert image_name("no such!") == "no such!"
    keys = {context_key(name) for name in ("debian", "debian:latest", "docker.io/library/debian")}
    assert keys == {"debian"}
    assert context_key("debian:12") == "debian:12"
    assert context_key("Data") == "data"
