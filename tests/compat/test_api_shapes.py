"""Carboy's answers beside those of a real Docker, and beside Docker's description of its API.

`tests/data/docker-api/docker-20.10.json` holds the shapes, statuses and messages of Docker's answers to
the requests of `support/apicases.py`; `python -m support.apishapes SOCKET` records them.  What differs on
purpose is listed here with its reason: a difference that is not listed, and one that is listed but has
gone, are failures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.apicases import CASES
from support.apidifferences import differences
from support.apischemas import complaints
from support.apishapes import Recorder
from support.daemon import Daemon, daemon, running_daemon

__all__ = ["daemon"]

pytestmark = pytest.mark.timeout(120)

RECORD = Path(__file__).parents[1] / "data" / "docker-api" / "docker-20.10.json"

FIELDS = {
    "Docker 20.10 did not have them yet": (
        "+Actor.Attributes.execDuration",
        "+Experimental",
        "+EnableIPv4",
        "+DefaultAddressPools",
        "+ProductLicense",
        "+DNSNames",
        "+GwPriority",
    ),
    "newer Docker has dropped them": (
        "-Error",
        "-ExecutionDriver",
        "-RegistryConfig.AllowNondistributableArtifactsCIDRs",
        "-RegistryConfig.AllowNondistributableArtifactsHostnames",
    ),
    "layers are never mounted where the host sees them (docs/design/0004-layers.md)": (
        "-GraphDriver.Data.LowerDir",
        "-GraphDriver.Data.MergedDir",
        "-GraphDriver.Data.WorkDir",
    ),
    "the runtime is Carboy's own": (
        "+Runtimes.carboy",
        "-Runtimes.io.containerd.runc.v2",
        "-Runtimes.io.containerd.runtime.v1.linux",
        "-Runtimes.runc",
    ),
    "a writable layer that is empty has 0 bytes": ("+SizeRw",),
    "Docker shows it when an address range is configured": ("+IPAM.Config.Gateway",),
}

REASONS = {
    "Docker 28 says so": (
        "create as text",
        "create with a bad restart policy",
        "create with retries of always",
        "create with negative retries",
        "create with a bad runtime",
        "POST /containers/plain/wait?condition=nonsense",
        "remove running",
        "update policy badly",
        "exec without a body",
        "exec start ended",
        "GET /images/absent/json",
        "volume create without a body",
        "remove full",
    ),
    "refused at once, with the reason, where Docker refuses at start or not at all": (
        "create with a bad network",
        "create with a bad ipc mode",
        "create with a bad pid mode",
        "create with a bad uts mode",
        "create with a bad userns mode",
        "create with a bad device",
        "create with a bad device mode",
        "create with a bad device rule",
        "create with a bad ulimit",
        "create with a soft limit beyond the hard",
        "create with a bad sysctl",
        "create with a bad dns",
        "create with a bad port",
        "create with a bad exposed port",
        "create with a bad host name",
        "create with a bad MAC address",
        "create with a relative volume",
        "resize negative",
    ),
    "a mistake of the client's, told in words of our own": (
        "create with an empty object",
        "create with more after",
        "create with a bad log driver",
        'GET /containers/json filters={"health": ["nonsense"]}',
        "resize in nonsense",
        "resize without a height",
        "exec in paused",
        "rename badly",
        "GET /containers/plain/archive",
        "PUT archive without a path",
        "exec in nonsense",
        "exec of a text",
        "exec resize without a size",
        "exec resize ended",
        "GET /images/absent/get",
        "GET /images/get?names=absent",
        "import with a bad change",
        "POST /commit?container=plain&changes=NONSENSE%20x",
        "volume create in nonsense",
        "volume create with a number",
        "GET /networks/bridge?verbose=nonsense",
        "network create in nonsense",
    ),
    "not part of Carboy yet, or ever (docs/conformance.md)": (
        "GET /containers/plain/checkpoints",
        "remove a link",
        "POST /images/absent/push",
        "POST /images/create",
        "POST /images/create?fromImage=BAD",
    ),
    "a container that is missing is not found: Docker 28's status": (
        "create with ipc of an absent container",
        "create with volumes from nobody",
        "create with links to nobody",
        "POST /networks/absent/connect",
        "POST /networks/absent/disconnect",
    ),
    "errors of streams are JSON, like all others; Docker writes plain text": (
        "POST /containers/absent/attach",
        "attach with bad keys",
        "attach/ws without a websocket",
    ),
    "Docker 28 names the repository": (
        "create of a bad reference",
        "GET /images/BAD/json",
        "DELETE /images/BAD",
        "import by a bad name",
        "GET /distribution/BAD/json",
    ),
    "Docker's API ends at 1.41 and begins at 1.12": (
        "GET /v1.11/version",
        "GET /v9.99/version",
    ),
    "the engine's own runtime made the container": (
        "start of an absent program",
        "start of a file that is no program",
        "start of a directory",
    ),
    "an error before the first byte of an answer is an error's status": (
        "load nonsense",
        "load a tar that is no image",
        "load nothing",
    ),
    "paths are not cleaned by redirection": ("GET /containers//json",),
    "this machine's block devices have no weights: Docker drops the value unseen": (
        "create with a bad blkio weight",
    ),
}
"""Why the status, message or content type of an answer differs."""


def _listed(field: str) -> bool:
    return any(
        field == one or (field[0] == one[0] and field.endswith("." + one[1:]))
        for fields in FIELDS.values()
        for one in fields
    )


@pytest.fixture(scope="module")
def answers(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """Carboy's answers to all requests, in their order."""
    recorder = Recorder(daemon.socket)
    recorder.prepare()
    return {case.label: recorder.ask(case)[0] for case in CASES}


@pytest.fixture(scope="module")
def docker() -> dict[str, dict[str, Any]]:
    """Docker's."""
    recorded: dict[str, dict[str, Any]] = json.loads(RECORD.read_text())
    return recorded


@pytest.mark.parametrize("label", [case.label for case in CASES])
def test_like_docker(
    label: str, answers: dict[str, dict[str, Any]], docker: dict[str, dict[str, Any]]
) -> None:
    found = list(differences(docker[label], answers[label]))
    unlisted = [one for one in found if one[0] in "+-" and not _listed(one)]
    others = [one for one in found if one[0] not in "+-"]
    assert unlisted == []
    if any(label in labels for labels in REASONS.values()):
        assert others, "this no longer differs: take it off the list"
    else:
        assert others == []


def test_the_list_names_real_requests() -> None:
    known = {case.label for case in CASES}
    assert {label for labels in REASONS.values() for label in labels} <= known


@pytest.fixture(scope="module")
def another() -> Iterator[Daemon]:
    """A second daemon, for the newest API."""
    yield from running_daemon()


EVENT_EXTRAS = "('from', 'id', 'status' were unexpected)", "('id', 'status' were unexpected)"
"""Docker gives these to clients before API 1.52; its description never told of them."""


def test_answers_are_as_described(another: Daemon) -> None:
    """Each field of API 1.51's answers has its type, is there when required, and is a known one."""
    recorder = Recorder(another.socket, "v1.51")
    recorder.prepare()
    wrong: list[str] = []
    checked = 0
    for case in CASES:
        path = case.request.partition(" ")[2]
        if path.startswith(("/v1", "/v9")):
            continue
        record, documents = recorder.ask(case)
        for document in documents[:20]:
            checked += 1
            wrong += [
                f"{case.label}: {one}"
                for one in complaints(case.method, path, record["status"], document)
                if not (case.label == "events" and one.endswith(EVENT_EXTRAS))
            ]
    assert wrong == []
    assert checked > 300
