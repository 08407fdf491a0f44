"""`build --explain`: for each step whether it came from the cache, and why."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.buildshow import Display

_STATES = {"cached": "cached", "done": "run", "failed": "failed", "running": "stopped", "": "not needed"}
MOST = 20
"""Reasons of one step that are shown."""


def table(display: Display) -> str:
    """The steps in the Dockerfile's order, a reason on each line below."""
    rows = [
        (step.name, _STATES[step.state] if step.makes else "ready", step.seconds, step.reasons)
        for step in display.steps.values()
    ]
    width = min(max((len(name) for name, *_ in rows), default=4), 72)
    lines = [f"{'STEP'.ljust(width)}  {'RESULT':<10}  TIME"]
    for name, state, seconds, reasons in rows:
        short = name if len(name) <= width else name[: width - 1] + "\N{HORIZONTAL ELLIPSIS}"
        took = f"{seconds:.1f}s" if state in ("run", "failed") else ""
        lines.append(f"{short.ljust(width)}  {state:<10}  {took}".rstrip())
        lines += [f"    {reason}" for reason in reasons[:MOST]]
        if len(reasons) > MOST:
            lines.append(f"    … and {len(reasons) - MOST} more reasons")
    return "\n".join(lines)
