"""The launcher: what it hands over, how its errors and its death reach the monitor."""

from __future__ import annotations

import os
from typing import Any

import pytest

from carboy.errors import Conflict, Internal
from carboy.formats.spawner import StepError
from carboy.runtime.monitor import launcher


def run(work: Any) -> tuple[launcher.Launched, list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []
    launched = launcher.finish(*launcher.start(work), heard.append)
    launcher.reap(launched.launcher)
    return launched, heard


def test_the_result_comes_with_its_descriptors_by_name() -> None:
    def work(teller: launcher.Teller) -> None:
        reader, writer = os.pipe()
        teller.tell({"early": 1})
        os.write(writer, b"x")
        teller.finish({"pid": os.getpid()}, {"reader": reader, "absent": -1, "writer": writer})

    launched, heard = run(work)
    assert heard == [{"early": 1}]
    assert launched.result == {"pid": launched.launcher}
    assert sorted(launched.descriptors) == ["reader", "writer"]
    assert os.read(launched.descriptors["reader"], 1) == b"x"
    for fd in launched.descriptors.values():
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_an_error_keeps_its_category_and_text() -> None:
    def work(teller: launcher.Teller) -> None:
        raise Conflict("the container has ended")

    with pytest.raises(StepError, match="the container has ended") as caught:
        run(work)
    assert caught.value.category == "Conflict"


def test_a_launcher_that_dies_is_an_error() -> None:
    with pytest.raises(Internal, match="launcher ended"):
        run(lambda teller: os._exit(1))
