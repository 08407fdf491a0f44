"""What the daemon tells of its own insides: metrics always, the rest when the settings ask for it."""

from __future__ import annotations

import os
import sys
import threading
import traceback

from carboy.api.call import Call
from carboy.api.metrics import CONTENT_TYPE
from carboy.api.reply import Answer, Reply, json_reply
from carboy.errors import NotFound


async def metrics(call: Call) -> Answer:
    """`GET /metrics`: Prometheus' text format."""
    page = await call.services.workers.run(call.services.metrics.page)
    return Reply(body=page, content_type=CONTENT_TYPE)


async def variables(call: Call) -> Answer:
    """`GET /debug/vars`: a few numbers."""
    _require(call)
    return json_reply(
        {
            "pid": os.getpid(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
            "modules": len(sys.modules),
        }
    )


async def threads(call: Call) -> Answer:
    """`GET /debug/threads`: where every thread is, to find what waits for what."""
    _require(call)
    names = {one.ident: one.name for one in threading.enumerate()}
    parts = [
        f"{names.get(number, number)}\n{''.join(traceback.format_stack(frame))}"
        for number, frame in sys._current_frames().items()
    ]
    return Reply(body="\n".join(parts).encode(), content_type="text/plain; charset=utf-8")


def _require(call: Call) -> None:
    if not call.services.debug_endpoints:
        raise NotFound("page not found")
