"""What an exec's process is, as its monitor is told."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from carboy.engine.containers.document import Container
from carboy.engine.containers.service import Containers
from carboy.engine.execs import Exec, Execs
from carboy.formats.dockerapi.execs import ExecConfig
from unit.engine.containers.test_restart import ended
from unit.engine.spec.test_document import FACTS


class Monitor:
    """A channel that keeps the process it was asked to run."""

    def __init__(self) -> None:
        self.process: dict[str, Any] = {}

    def request(self, _: str, *, process: dict[str, Any], **__: object) -> dict[str, int]:
        """Answer as a monitor does."""
        self.process = process
        return {"pid": 7}


@pytest.mark.parametrize(
    ("options", "has_apparmor", "privileged", "expected"),
    [
        (["apparmor=mine"], True, False, "mine"),
        (["apparmor=mine"], True, True, None),
        (["apparmor=mine"], False, False, None),
        (["apparmor=unconfined"], True, False, None),
        ([], True, False, None),
    ],
)
def test_an_exec_has_the_containers_apparmor_profile(
    options: list[str], has_apparmor: bool, privileged: bool, expected: str | None
) -> None:
    """An exec with more rights has it, too; a container with all of them has none."""
    document = ended("no")
    document.pid = os.getpid()
    document.host.security_opt = options
    document.host.privileged = privileged
    container, monitor = Container(document), Monitor()
    container.channel = cast("Any", monitor)
    known = SimpleNamespace(lifecycle=SimpleNamespace(emit=lambda *_: None))
    execs = Execs(cast("Containers", known), replace(FACTS, has_apparmor=has_apparmor))
    for more in (False, True):
        execs.run(Exec("e", container, ExecConfig(cmd=["true"], privileged=more)), None, b"")
        assert monitor.process.get("apparmorProfile") == expected
