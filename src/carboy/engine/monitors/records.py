"""What a monitor writes down: monitor.json while it lives, exit.json when its program has ended."""

from __future__ import annotations

import json
from dataclasses import dataclass

from carboy.engine.monitors.channels import Message
from carboy.linux import process


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container's program ended."""

    exit_code: int
    oom: bool
    finished_at: str
    error: str = ""
    health: Message | None = None


def read_exit(bundle: str) -> Exit | None:
    """What the monitor wrote to exit.json; None when it did not come to that."""
    message = read_record(f"{bundle}/exit.json")
    if message is None or "exit_code" not in message:
        return None
    return exit_from_message(message)


def exit_from_message(message: Message) -> Exit:
    """The Exit in an `exited` event or in exit.json."""
    error = message.get("error") or ""
    text = str(error.get("text", "")) if isinstance(error, dict) else str(error)
    return Exit(
        exit_code=int(message["exit_code"]),
        oom=bool(message.get("oom")),
        finished_at=str(message.get("finished_at") or ""),
        error=text,
        health=message.get("health") or None,
    )


def monitor_lives(run_directory: str) -> bool:
    """Whether the monitor described by monitor.json is the very process that has its number now."""
    message = read_record(f"{run_directory}/monitor.json")
    if message is None or message.get("boot_id") != process.boot_id():
        return False
    try:
        pid = int(message["monitor_pid"])
        return process.start_time(pid) == int(message["monitor_start_time"])
    except (KeyError, TypeError, ValueError, OSError):
        return False


def read_record(path: str) -> Message | None:
    """The record; None when there is none that can be read."""
    try:
        with open(path, "rb") as file:
            message = json.loads(file.read(1 << 20))
    except (OSError, ValueError):
        return None
    return message if isinstance(message, dict) else None
