"""Health checks in configurations: merging with the image's, refusals, the plan for the monitor."""

from __future__ import annotations

import pytest

from carboy.engine.spec.health import SECOND, check_health, health_plan, merge_health, probe_arguments
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import ContainerConfig, HealthConfig


def config(*test: str, shell: list[str] | None = None, **fields: int) -> ContainerConfig:
    return ContainerConfig(healthcheck=HealthConfig(test=list(test), **fields), shell=shell)


@pytest.mark.parametrize(
    ("configured", "arguments"),
    [
        (ContainerConfig(), []),
        (config(), []),
        (config("NONE"), []),
        (config("CMD"), []),
        (config("OTHER", "x"), []),
        (config("CMD", "a", "b c"), ["a", "b c"]),
        (config("CMD-SHELL", "a && b"), ["/bin/sh", "-c", "a && b"]),
        (config("CMD-SHELL", "a", shell=["/bin/ash", "-ec"]), ["/bin/ash", "-ec", "a"]),
    ],
)
def test_arguments(configured: ContainerConfig, arguments: list[str]) -> None:
    assert probe_arguments(configured) == arguments
    assert (health_plan(configured) is None) == (not arguments)


def test_defaults_and_values_of_the_plan() -> None:
    assert health_plan(config("CMD", "x")) == {
        "args": ["x"],
        "interval": 30,
        "timeout": 30,
        "start_period": 0,
        "start_interval": 5,
        "retries": 3,
    }
    plan = health_plan(config("CMD", "x", interval=SECOND // 2, start_period=9 * SECOND, retries=1))
    assert plan is not None
    assert (plan["interval"], plan["start_period"], plan["retries"]) == (0.5, 9, 1)


def test_the_image_fills_in_what_the_client_leaves_out() -> None:
    image = HealthConfig(test=["CMD", "image"], interval=5, retries=7)
    assert merge_health(None, image) is image
    assert merge_health(HealthConfig(test=["NONE"]), None) == HealthConfig(test=["NONE"])
    merged = merge_health(HealthConfig(interval=9), image)
    assert merged == HealthConfig(test=["CMD", "image"], interval=9, retries=7)
    merged = merge_health(HealthConfig(test=["NONE"]), image)
    assert merged is not None
    assert merged.test == ["NONE"]
    assert image.interval == 5


@pytest.mark.parametrize(
    ("configured", "words"),
    [
        (config("CMD", "x", interval=10), "Interval in Healthcheck cannot be less than 1ms"),
        (config("CMD", "x", interval=-1), "Interval in Healthcheck cannot be less than 1ms"),
        (config("CMD", "x", timeout=10), "Timeout in Healthcheck cannot be less than 1ms"),
        (config("CMD", "x", start_period=10), "StartPeriod in Healthcheck cannot be less than 1ms"),
        (config("CMD", "x", start_interval=10), "StartInterval in Healthcheck cannot be less than 1ms"),
        (config("CMD", "x", retries=-1), "Retries in Healthcheck cannot be negative"),
        (config("CMD", "x\0"), "NUL"),
        (config("CMD", "x" * 70000), "longer than"),
    ],
)
def test_refusals(configured: ContainerConfig, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        check_health(configured)
