"""carboy update.

Limits and the restart policy of containers, while they run or not; what is not named stays.
"""

from __future__ import annotations

from carboy.cli import units, values
from carboy.cli.each import each
from carboy.cli.flags import UsageError
from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
FLAGS = (
    ("blkio-weight", "", "int", "Relative weight of disk access, 10 to 1000"),
    ("cpu-period", "", "int", "CPU period in microseconds"),
    ("cpu-quota", "", "int", "CPU time per period in microseconds"),
    ("cpu-rt-period", "", "int", "Realtime period in microseconds"),
    ("cpu-rt-runtime", "", "int", "Realtime runtime in microseconds"),
    ("cpu-shares", "c", "int", "Relative weight of CPU time"),
    ("cpus", "", "string", "How many CPUs, as 1.5"),
    ("cpuset-cpus", "", "string", "CPUs to run on, as 0-3 or 0,1"),
    ("cpuset-mems", "", "string", "Memory nodes to use"),
    ("kernel-memory", "", "string", "Kernel memory limit"),
    ("memory", "m", "string", "Memory limit, as 512m"),
    ("memory-reservation", "", "string", "Memory that is kept when the machine runs short"),
    ("memory-swap", "", "string", "Memory and swap together, -1 for no limit"),
    ("pids-limit", "", "int", "How many processes and threads, -1 for no limit"),
    ("restart", "", "string", "When to restart: no, always, unless-stopped, on-failure[:N]"),
)
ARGUMENTS = (1, None)
EXAMPLES = """
carboy update -m 512m --memory-swap 1g web
carboy update --restart unless-stopped web worker
"""
_INTEGERS = {
    "blkio-weight": "BlkioWeight",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpu-shares": "CpuShares",
    "pids-limit": "PidsLimit",
}
_SIZES = {
    "kernel-memory": "KernelMemory",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
}


def main(session: Session, parsed: Parsed) -> int:
    """One request a container; warnings on standard error."""
    body = request(parsed)
    if not body:
        raise UsageError("you must provide one or more flags when using this command", 1)

    def change(name: str) -> None:
        reply = session.client.post(f"/containers/{name}/update", (), body)
        for warning in document.strings(reply, "Warnings"):
            session.warn(f"WARNING: {warning}")

    return each(session, parsed.arguments, change)


def request(parsed: Parsed) -> Json:
    """The body: what was given."""
    body: Json = {key: parsed.number(flag) for flag, key in _INTEGERS.items() if parsed.given(flag)}
    for flag, key in _SIZES.items():
        if parsed.given(flag):
            text = parsed.text(flag)
            body[key] = -1 if flag == "memory-swap" and text == "-1" else units.parse_size(text, f"--{flag}")
    for flag, key in (("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems")):
        if parsed.given(flag):
            body[key] = parsed.text(flag)
    if parsed.given("cpus"):
        body["NanoCpus"] = units.parse_cpus(parsed.text("cpus"))
    if parsed.given("restart"):
        body["RestartPolicy"] = values.restart_policy(parsed.text("restart"))
    return body
