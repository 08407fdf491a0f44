"""What the daemon keeps of probes."""

from __future__ import annotations

from carboy.engine.containers import health
from carboy.engine.containers.document import Container
from unit.engine.containers.test_restart import ended


def probe(number: int) -> dict[str, object]:
    return {"start": f"2026-01-01T00:00:{number:02}Z", "end": "", "exit_code": 0, "output": str(number)}


def test_a_probe_that_is_told_twice_is_kept_once() -> None:
    """A new daemon asks for all there is, while the event of the last one is on its way to it."""
    container = Container(ended("no"))
    known = {"status": "healthy", "failing_streak": 0, "log": [probe(number) for number in range(1, 6)]}
    health.take(container, known)
    last = {"status": "healthy", "failing_streak": 0, "changed": False}
    health.note(container, {**last, "result": probe(5)})
    health.note(container, {**last, "result": probe(6)})
    document = container.document.health
    assert document is not None
    assert [one.output for one in document.log] == ["2", "3", "4", "5", "6"]
