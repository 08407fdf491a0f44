"""Settings from flags and a file, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.cli import flags
from carboy.errors import InvalidArgument
from carboy.formats.settings.page import page
from carboy.formats.settings.reading import Settings, from_flags, merge, read_file
from carboy.formats.settings.table import ALL_FLAGS, SETTINGS


def of(words: str, file: str = "") -> Settings:
    parsed = flags.parse(ALL_FLAGS, words.split())
    return merge(from_flags(parsed.values, parsed.lists), read_file(file.encode(), "/f"), "/f")


def test_every_setting_has_a_default_of_its_kind() -> None:
    settings = of("")
    assert settings.text("log-level") == "info"
    assert settings.size("default-shm-size") == 64 << 20
    kinds = {"bool": bool, "int": int, "text": str, "list": tuple, "map": dict, "ulimits": dict}
    for one in SETTINGS:
        assert isinstance(one.default, kinds[one.kind]), one.name
    names = [one.flag for one in SETTINGS] + [one.short for one in SETTINGS if one.short]
    assert len(names) == len(set(names))


def test_flags_and_file_come_together() -> None:
    settings = of(
        "-D -H unix:///a -H fd:// --label x=1 --default-ulimit nofile=1:2 --log-opt max-size=1m",
        '{"mtu": 1400, "dns": ["9.9.9.9"], "log-opts": {"max-file": "3"}, "features": {"x": true},'
        ' "tlsverify": false, "live-restore": true}',
    )
    assert settings.flag("debug")
    assert settings.words("hosts") == ["unix:///a", "fd://"]
    assert settings.number("mtu") == 1400
    assert settings.pairs("default-ulimits") == {"nofile": "1:2"}
    assert settings.pairs("features") == {"x": "true"}
    assert settings.given("labels")
    assert not settings.given("bip")


def test_ulimits_as_docker_writes_them() -> None:
    text = '{"default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 32000}}}'
    assert of("", text).pairs("default-ulimits") == {"nofile": "32000:64000"}


@pytest.mark.parametrize(
    ("words", "file", "message"),
    [
        ("", "{", "unable to configure the Carboy daemon with file /f: invalid JSON"),
        ("", "[]", "expected an object"),
        ("", '{"debug": true, "debug": false}', "'debug' is there twice"),
        ("", '{"x": 1, "y": 2}', "the following directives don't match any configuration option: x, y"),
        ("", '{"debug": "yes"}', "debug: expected true or false, found 'yes'"),
        ("", '{"mtu": true}', "mtu: expected a whole number"),
        ("", '{"hosts": "unix:///x"}', "hosts: expected a list of texts"),
        ("", '{"log-opts": {"max-size": 3}}', "log-opts: expected an object of texts"),
        ("", '{"default-ulimits": {"nofile": 3}}', "default-ulimits: expected an object like"),
        (
            "--debug",
            '{"debug": false}',
            r"both as a flag and in the configuration file: debug: \(from flag: true, from file: false\)",
        ),
        ("-H unix:///a", '{"hosts": ["unix:///b"]}', r"from flag: \[unix:///a\], from file: \[unix:///b\]"),
        ("--log-level=loud", "", "invalid logging level: loud"),
        ("", '{"log-format": "xml"}', "merged configuration validation .* failed: invalid log format: xml"),
        ("--mtu=-1", "", "invalid default MTU: -1"),
        ("--max-concurrent-downloads=0", "", "invalid max concurrent downloads: 0"),
        ("--label x", "", "bad attribute format: x"),
        ("--label x=1 --label x=2", "", "conflict labels for x=2 and x=1"),
        ("--dns x", "", "x is not an ip address"),
        ("--bip 10.0.0.1/40", "", "invalid CIDR address"),
        ("--selinux-enabled", "", "selinux-enabled=true is not supported by Carboy"),
        ("--default-runtime=runsc", "", "specified default runtime 'runsc' does not exist"),
        ("--default-ulimit nofile=9:2", "", "soft limit must be less than or equal to hard limit"),
        ("--default-shm-size=big", "", "invalid size: 'big'"),
        ("--default-cgroupns-mode=x", "", "default cgroup namespace mode"),
        ("--metrics-addr=here", "", "invalid metrics-addr"),
    ],
)
def test_what_is_wrong_is_told(words: str, file: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        of(words, file)


def test_a_reload_changes_what_may_change() -> None:
    settings = of("--label a=1", '{"debug": true, "mtu": 1400}')
    changed, waiting = settings.adopt(of("--label a=1", '{"mtu": 1300, "dns": ["9.9.9.9"]}'))
    assert (changed, waiting) == (["debug", "dns"], ["mtu"])
    assert not settings.flag("debug")
    assert settings.number("mtu") == 1400
    assert settings.words("labels") == ["a=1"]


def test_the_page_is_current() -> None:
    assert (Path(__file__).parents[4] / "docs/settings.md").read_text() == page()
