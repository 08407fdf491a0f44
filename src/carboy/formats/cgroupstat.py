"""The files of control groups, as text to numbers: both versions, for the runtime and the engine.

Pure, and of the standard library only: monitors import it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Entry = tuple[int, int, str, int]

UNLIMITED = (1 << 64) - 1
"""What `max` stands for."""

TICK = 10_000_000
"""Nanoseconds of a tick of /proc/stat: USER_HZ is 100 on every architecture that we run on."""


def flat(text: str) -> dict[str, int]:
    """A flat keyed file: `name number` lines; others are skipped."""
    found = {}
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if number.isdigit():
            found[name] = int(number)
    return found


def number(text: str) -> int:
    """A file with one number; `max` is UNLIMITED, anything else 0."""
    text = text.strip()
    if text == "max":
        return UNLIMITED
    return int(text) if text.isdigit() else 0


def numbers(text: str) -> list[int]:
    """A line of numbers, such as cpuacct.usage_percpu."""
    return [int(one) for one in text.split() if one.isdigit()]


def blkio(text: str) -> Iterator[Entry]:
    """v1's `major:minor Operation value` lines; the total of all devices has no device and is left out."""
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) == 3 and fields[2].isdigit():
            device = device_number(fields[0])
            if device is not None:
                yield (*device, fields[1], int(fields[2]))


def io_stat(text: str, words: tuple[tuple[str, str], ...]) -> Iterator[Entry]:
    """v2's io.stat: of each device the values whose key is in `words`, under the word beside it."""
    for line in text.splitlines():
        name, *pairs = line.split(" ")
        device = device_number(name)
        if device is None:
            continue
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        for key, word in words:
            if values.get(key, "").isdigit():
                yield (*device, word, int(values[key]))


def device_number(text: str) -> tuple[int, int] | None:
    """`8:0` as (8, 0)."""
    major, _, minor = text.partition(":")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def system_cpu(text: str) -> tuple[int, int]:
    """/proc/stat: nanoseconds of all processors together (user to softirq), and how many are online."""
    total = processors = 0
    for line in text.splitlines():
        if not line.startswith("cpu"):
            break
        fields = line.split()
        if fields[0] == "cpu":
            total = sum(int(field) for field in fields[1:8]) * TICK
        else:
            processors += 1
    return total, processors


def interfaces(text: str) -> dict[str, tuple[int, ...]]:
    """/proc/PID/net/dev: by interface its 16 counters, receiving then sending, without `lo`."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        name = name.strip()
        if name != "lo":
            found[name] = tuple(numbers(rest))
    return found
