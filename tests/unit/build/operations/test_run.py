"""RUN: what is in its key, what is not, and what a Dockerfile cannot give to itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from carboy.build.executor import Executed, Job, MountedSecret, StepFailed
from carboy.build.graph import Run, RunDevice, RunMount, Vertex
from carboy.build.operation import Filesystem
from carboy.build.operations.run import RunStep
from carboy.build.progress import Cancellation, Console
from carboy.build.request import BuildRequest
from carboy.build.session import Session, Workshop
from carboy.digest import Digest
from carboy.errors import InvalidArgument, PermissionDenied
from support.steps import Notes

LAYER, OTHER, MADE = Digest("1" * 64), Digest("2" * 64), Digest("3" * 64)
BASE = Filesystem((LAYER,))


@dataclass
class Recorder:
    """An executor that only remembers."""

    executed: Executed = field(default_factory=lambda: Executed(MADE, 5))
    jobs: list[Job] = field(default_factory=list)

    def execute(self, job: Job, console: Console) -> Executed:
        self.jobs.append(job)
        return self.executed


@dataclass
class Shop:
    executor: Recorder = field(default_factory=Recorder)


def step(operation: Run, shop: Shop | None = None, **fields: Any) -> RunStep:
    session = Session(
        workshop=cast(Workshop, shop or Shop()),
        request=BuildRequest(context=None, **fields.pop("request", {})),
        contexts={},
        epoch=fields.pop("epoch", 7),
        proxies=fields.pop("proxies", {}),
        reporter=Notes(),
        cancellation=Cancellation(),
    )
    return RunStep(Vertex(index=1, operation=operation, name="RUN"), session)


def key(operation: Run, base: Filesystem = BASE, **fields: Any) -> str:
    return step(operation, **fields).ingredients([base, Filesystem((OTHER,))]).key()


PLAIN = Run(args=("/bin/sh", "-c", "make"), env=("A=1", "B=2"))


@pytest.mark.parametrize(
    "other",
    [
        {"args": ("/bin/sh", "-c", "make it")},
        {"args": ("/bin/sh", "-c make")},
        {"env": ("A=2", "B=2")},
        {"env": ("A=1",)},
        {"cwd": "/src"},
        {"user": "me"},
        {"network": "none"},
        {"script": "#!/bin/sh\n"},
        {"mounts": (RunMount(type="cache", target="/c"),)},
        {"mounts": (RunMount(type="cache", target="/c", id="x"),)},
        {"mounts": (RunMount(type="cache", target="/c", readonly=False),)},
        {"mounts": (RunMount(type="bind", target="/c", input=1),)},
        {"mounts": (RunMount(type="bind", target="/c", input=1, source="d"),)},
        {"mounts": (RunMount(type="secret", target="/c", id="x"),)},
        {"mounts": (RunMount(type="secret", target="/c", id="x", mode=0o444),)},
        {"mounts": (RunMount(type="secret", target="", id="x", env="X"),)},
        {"mounts": (RunMount(type="tmpfs", target="/c", size=7),)},
    ],
)
def test_what_changes_the_key(other: dict[str, Any]) -> None:
    import msgspec

    assert key(msgspec.structs.replace(PLAIN, **other)) != key(PLAIN)


def test_the_base_is_its_layers() -> None:
    assert key(PLAIN, Filesystem((LAYER, OTHER))) != key(PLAIN)
    assert step(PLAIN).ingredients([BASE]).values["base"] == str(LAYER)


@pytest.mark.parametrize(
    "fields",
    [
        {"proxies": {"HTTP_PROXY": "http://p"}},
        {"request": {"secrets": {"x": b"1"}}},
        {"request": {"host_ca": True}},
        {"request": {"labels": {"a": "b"}}},
        {"epoch": 8},
    ],
)
def test_what_does_not(fields: dict[str, Any]) -> None:
    assert key(PLAIN, **fields) == key(PLAIN)


def test_an_epoch_counts_when_programs_see_it() -> None:
    assert key(PLAIN, request={"reproducible": True}) != key(PLAIN)
    assert key(PLAIN, request={"reproducible": True}, epoch=8) != key(PLAIN, request={"reproducible": True})


def test_the_job() -> None:
    shop = Shop(Recorder(Executed(MADE, 5, ("/var/log/x",))))
    mounts = (
        RunMount(type="secret", target="/s", id="x"),
        RunMount(type="secret", target="/t", id="missing"),
        RunMount(type="ssh", target="/a"),
        RunMount(type="cache", target="/c"),
    )
    operation = Run(args=("/made",), mounts=mounts, env=("A=1",))
    made = step(
        operation, shop, proxies={"HTTP_PROXY": "p"}, request={"secrets": {"x": b"1"}, "reproducible": True}
    )
    notes = Notes()
    result = made.run([BASE], Console(notes, made._vertex, Cancellation()))
    assert result.value == Filesystem((LAYER, MADE))
    assert result.layer == MADE
    assert result.record == {"removed": "/var/log/x"}
    assert "/var/log/x" in notes.out
    job = shop.executor.jobs[0]
    assert [type(mount).__name__ for mount in job.mounts] == ["MountedSecret", "MountedCache"]
    secret = job.mounts[0]
    assert isinstance(secret, MountedSecret)
    assert (secret.data, secret.mode, secret.uid) == (b"1", 0o400, 0)
    assert {"HTTP_PROXY=p", "SOURCE_DATE_EPOCH=7", "PYTHONHASHSEED=0"} <= set(job.hidden_env)
    assert job.env == ("A=1",)


def test_a_step_that_changes_nothing_adds_nothing() -> None:
    result = step(PLAIN, Shop(Recorder(Executed(None)))).run([BASE], cast(Console, None))
    assert result.value == BASE
    assert result.layer is None


def test_required_things_that_were_not_given() -> None:
    for mount, name in (
        (RunMount(type="secret", target="/s", id="key", required=True), "secret key: not found"),
        (RunMount(type="ssh", target="/s", id="git", required=True), "ssh agent git: not found"),
    ):
        with pytest.raises(InvalidArgument, match=name):
            step(Run(args=("x",), mounts=(mount,))).run([BASE], cast(Console, None))


@pytest.mark.parametrize(
    ("operation", "allow"),
    [
        (Run(args=("x",), security="insecure"), "security.insecure"),
        (Run(args=("x",), network="host"), "network.host"),
        (Run(args=("x",), devices=(RunDevice(name="v.com/gpu=all"),)), "device=v.com/gpu=all"),
        (Run(args=("x",), devices=(RunDevice(name="v.com/gpu=all"),)), "device=v.com/gpu"),
        (Run(args=("x",), devices=(RunDevice(name="v.com/gpu=all"),)), "device"),
    ],
)
def test_rights_are_given_outside(operation: Run, allow: str) -> None:
    """buildkit 2024-23653: nothing in a Dockerfile gives a step more than the sandbox."""
    with pytest.raises(PermissionDenied, match="--allow"):
        step(operation)
    with pytest.raises(PermissionDenied, match="--allow"):
        step(operation, request={"allow": ("something.else",)})
    step(operation, request={"allow": (allow,)})


def test_networks_of_the_whole_build() -> None:
    shop = Shop()
    for asked, given in (("host", "host"), ("none", "none"), ("bridge", "default"), ("", "default")):
        step(PLAIN, shop, request={"network": asked}).run([BASE], cast(Console, None))
        assert shop.executor.jobs[-1].network == given
    with pytest.raises(InvalidArgument, match="container:x"):
        step(PLAIN, request={"network": "container:x"})
    assert replace(shop.executor.jobs[0]) is not None


def test_what_was_left_out_is_told_a_line_a_directory() -> None:
    removed = ("/tmp/a", "/var/log/x", "/var/log/y", "/made", *(f"/d{index}/f" for index in range(60)))
    notes = Notes()
    made = step(PLAIN, Shop(Recorder(Executed(MADE, 5, removed))))
    result = made.run([BASE], Console(notes, made._vertex, Cancellation()))
    told = notes.out.splitlines()
    assert told[:3] == [
        "left out of the layer: /tmp/a",
        "left out of the layer: 2 files of /var/log",
        "left out of the layer: /made",
    ]
    assert (len(told), told[-1]) == (9, "... and 55 files of 55 other directories")
    assert result.record == {"removed": "\n".join(removed)}


class Failing(Recorder):
    """An executor whose programs end with 1."""

    def execute(self, job: Job, console: Console) -> Executed:
        raise StepFailed("it ended with 1", 1)


def test_a_step_that_fails_says_what_it_was_not_given() -> None:
    mounts = (
        RunMount(type="secret", target="/s", id="x"),
        RunMount(type="secret", target="/t", id="token"),
        RunMount(type="ssh", target="/a"),
    )
    notes = Notes()
    made = step(Run(args=("make",), mounts=mounts), Shop(Failing()), request={"secrets": {"x": b"1"}})
    with pytest.raises(StepFailed):
        made.run([BASE], Console(notes, made._vertex, Cancellation()))
    assert notes.printed[2].decode().splitlines() == [
        "the secret token was not given: --secret id=token,src=FILE",
        "the ssh agent default was not given: --ssh default",
    ]
    quiet = Notes()
    with pytest.raises(StepFailed):
        step(PLAIN, Shop(Failing())).run([BASE], Console(quiet, made._vertex, Cancellation()))
    assert quiet.printed == {1: b"", 2: b""}
