"""Log drivers and options: refused in Docker's words, resolved for the monitor."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.engine import logdrivers
from carboy.engine.logdrivers import Subject
from carboy.errors import CarboyError, InvalidArgument, Unavailable, Unsupported
from carboy.formats.dockerapi.containers import LogConfig

SUBJECT = Subject(
    id="c" * 64,
    name="web",
    image_id="sha256:" + "1" * 64,
    image_name="nginx:1",
    command="nginx -g daemon",
    env=["A=1", "B=2", "C"],
    labels={"team": "x", "tier": "y", "other": "z"},
)


def launch(driver: str, **options: str) -> dict[str, object]:
    config = LogConfig(type=driver, config={name.replace("_", "-"): value for name, value in options.items()})
    logdrivers.check(config)
    return logdrivers.launch_fields(config, SUBJECT, "/c")


@pytest.mark.parametrize(
    ("driver", "options", "words"),
    [
        ("nix", {}, "logger: no log driver named 'nix' is registered"),
        ("json-file", {"x": "1"}, "unknown log opt 'x' for json-file log driver"),
        ("local", {"x": "1"}, "unknown log opt 'x' for log driver local"),
        ("syslog", {"max-size": "1m"}, "unknown log opt 'max-size' for syslog log driver"),
        ("journald", {"max-file": "1"}, "unknown log opt 'max-file' for journald log driver"),
        ("json-file", {"mode": "maybe"}, "logger: logging mode not supported: maybe"),
        ("json-file", {"max-buffer-size": "1m"}, "only supported with 'mode=non-blocking'"),
        ("json-file", {"mode": "non-blocking", "max-buffer-size": "x"}, "max-buffer-size: invalid size: 'x'"),
        ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"compress": "true"}, "compress cannot be true when max-file is less than 2"),
        ("json-file", {"compress": "yes"}, "invalid boolean value for compress"),
        ("local", {"max-file": "1"}, "compression cannot be enabled when max file count is 1"),
        ("json-file", {"labels-regex": "("}, "invalid labels-regex"),
        ("json-file", {"tag": "{{.Nix}}"}, "can't evaluate field Nix in type"),
        ("json-file", {"tag": "{{range .Config}}"}, "invalid log tag"),
        ("syslog", {"syslog-address": "host:514"}, "syslog-address should be in form proto://address"),
        ("syslog", {"syslog-address": "unix:///nowhere/at/all"}, "no such file or directory"),
        ("syslog", {"syslog-facility": "x"}, "invalid syslog facility"),
        ("syslog", {"syslog-format": "x"}, "Invalid syslog format"),
    ],
)
def test_what_is_refused(driver: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        logdrivers.check(LogConfig(type=driver, config=options))
    assert words in str(caught.value)


def test_tls_is_said_to_be_missing() -> None:
    with pytest.raises(Unsupported, match="TLS"):
        launch("syslog", syslog_address="tcp+tls://h:1")


def test_none_takes_any_option() -> None:
    logdrivers.check(LogConfig(type="none", config={"x": "y"}))
    assert launch("none") == {"driver": "none"}


def test_files() -> None:
    assert launch("") == {
        "driver": "json-file",
        "path": f"/c/{SUBJECT.id}-json.log",
        "max_size": 0,
        "max_file": 1,
        "compress": False,
        "attrs": {},
    }
    found = launch("json-file", max_size="1.5k", max_file="3", compress="1", mode="non-blocking")
    assert (found["max_size"], found["max_file"], found["compress"]) == (1500, 3, True)
    local = launch("local")
    assert (local["path"], local["max_size"], local["max_file"], local["compress"]) == (
        "/c/local-logs/container.log",
        20_000_000,
        5,
        True,
    )


def test_attributes_and_tag() -> None:
    found = launch(
        "json-file", labels="team,nix", labels_regex="^ti", env="A,C", env_regex="B", tag="{{.Name}}"
    )
    assert found["attrs"] == {"team": "x", "tier": "y", "A": "1", "B": "2", "tag": "web"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.ImageName}}/{{.Name}}/{{.ID}}", "nginx:1/web/cccccccccccc"),
        ("{{ upper .Name }}-{{json .Name}}", 'WEB-"web"'),
        ("{{.FullID}} {{.ImageID}} {{.Command}}", f"{'c' * 64} sha256:11111 nginx -g daemon"),
        ("plain", "plain"),
    ],
)
def test_tags(template: str, text: str) -> None:
    assert logdrivers.render_tag(template, SUBJECT) == text


def test_services() -> None:
    found = launch("journald", labels="team", tag="t")
    assert found["fields"] == {
        "CONTAINER_ID": "c" * 12,
        "CONTAINER_ID_FULL": "c" * 64,
        "CONTAINER_NAME": "web",
        "CONTAINER_TAG": "t",
        "IMAGE_NAME": "nginx:1",
        "SYSLOG_IDENTIFIER": "t",
        "TEAM": "x",
    }
    udp = launch("syslog", syslog_address="udp://127.0.0.1", syslog_facility="user", mode="non-blocking")
    assert udp["addresses"] == [["127.0.0.1", 514]]
    assert (udp["facility"], udp["tag"], udp["non_blocking"], udp["buffer"]) == (1, "c" * 12, True, 1 << 20)


OPTIONS = sorted(
    {name for names in logdrivers.OPTIONS.values() for name in names} | {"mode", "max-buffer-size", "x"}
)


@given(
    st.sampled_from([*logdrivers.OPTIONS, "", "nix"]),
    st.dictionaries(
        st.sampled_from(OPTIONS),
        st.text(max_size=30)
        | st.sampled_from(
            ["1m", "1", "true", "non-blocking", "udp://127.0.0.1:9", "a{99999999999}", "{{.ID}}", "env"]
        ),
        max_size=4,
    ),
)
def test_any_options_are_refused_or_resolved(driver: str, options: dict[str, str]) -> None:
    config = LogConfig(type=driver, config=options)
    try:
        logdrivers.check(config)
    except CarboyError:
        return
    try:
        found = logdrivers.launch_fields(config, SUBJECT, "/c")
    except Unavailable:
        return  # a name that cannot be looked up
    assert json.loads(json.dumps(found)) == found


def hostile(**fields: object) -> Subject:
    """A container of a hostile image."""
    known = {name: getattr(SUBJECT, name) for name in Subject.__slots__}
    return Subject(**{**known, **fields})


def test_a_tag_is_one_short_line() -> None:
    subject = hostile(command="a\n<13>forged record\033[2J\u2028" + "x" * 1_000_000)
    rendered = logdrivers.render_tag("{{.Command}}" * 300, subject)
    assert len(rendered) == 1024
    assert rendered.isprintable()
    with pytest.raises(InvalidArgument, match="longer than 4096"):
        logdrivers.check(LogConfig(type="json-file", config={"tag": "x" * 5000}))


@pytest.mark.parametrize("driver", ["json-file", "local", "syslog", "journald"])
def test_labels_that_each_line_would_carry_have_a_bound(driver: str) -> None:
    config = LogConfig(type=driver, config={"labels-regex": "."})
    fits = logdrivers.launch_fields(config, hostile(labels={"a": "x" * 4000}), "/c")
    assert fits["driver"] == driver
    if driver == "syslog":  # it tells nothing but the tag
        return
    with pytest.raises(InvalidArgument, match="name fewer"):
        logdrivers.launch_fields(config, hostile(labels={"a": "x" * 5000}), "/c")


def test_labels_cannot_speak_for_the_engine_in_the_journal() -> None:
    labels = {"container_id": "another", "message": "forged", "priority": "0", "_pid": "1", "team": "x"}
    config = LogConfig(type="journald", config={"labels-regex": "."})
    fields = logdrivers.launch_fields(config, hostile(labels=labels), "/c")["fields"]
    assert fields["CONTAINER_ID"] == "c" * 12
    assert set(fields) & {"MESSAGE", "PRIORITY", "_PID"} == set()
    assert fields["TEAM"] == "x"


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "a?" * 60 + "a" * 60])
def test_patterns_for_labels_are_linear(pattern: str) -> None:
    config = LogConfig(type="json-file", config={"labels-regex": pattern, "env-regex": pattern})
    logdrivers.launch_fields(config, hostile(labels={"a" * 59 + "!": "x"}, env=["a" * 59 + "!=x"]), "/c")
