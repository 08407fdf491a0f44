"""Fuzz entry point: a real daemon under requests made from Docker's description of its API.

python tests/fuzz/fuzz_api.py [seconds] [seed]

Needs root and busybox-static.  Ends with an error at the first 500, traceback in the daemon's log,
or descriptor that stays open.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.apischema import Request, broken, requests
from support.daemon import Daemon, RequestError, Unix, running_daemon


def send(daemon: Daemon, request: Request, body: bytes | None) -> tuple[int, bytes]:
    """Status and the body of an error."""
    connection = Unix(daemon.socket)
    connection.timeout = 10
    try:
        connection.request(request.method, request.target, body=body, headers=request.headers)
        response = connection.getresponse()
        return response.status, response.read() if response.status >= 400 else b""
    except TimeoutError:
        if request.label.endswith(("/stop", "/restart")):
            return 0, b""  # as long as the request said
        raise SystemExit(f"no answer to {request}") from None
    finally:
        connection.close()


def descriptors(daemon: Daemon) -> int:
    """How many the daemon has open, without those of the database: each thread has its own."""
    assert daemon.process is not None
    count = 0
    for one in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += "/db.sqlite" not in os.readlink(one)
    return count


NAMES = {"containers": "subject", "images": "busybox:test", "volumes": "subject", "networks": "bridge"}


def aimed(request: Request) -> Request:
    """The same request for something that exists."""
    path = request.label.partition(" ")[2]
    name = NAMES.get(path.split("/")[1], "x")
    path = path.replace("{id}", name).replace("{name}", quote(name, safe=""))
    _, _, query = request.target.partition("?")
    return replace(request, target=path + ("?" + query if query else ""))


def prepare(daemon: Daemon) -> None:
    """What requests are aimed at: they may have stopped it, renamed it, removed it."""
    ends = "trap exit TERM; while :; do sleep 1000 & wait; done"
    body = {"Image": "busybox:test", "Cmd": ["sh", "-c", ends], "HostConfig": {"NetworkMode": "none"}}
    for path, document in (
        ("/containers/subject/kill", None),  # ends a stop that waits for as long as its request said
        ("/volumes/create", {"Name": "subject"}),
        ("/containers/create?name=subject", body),
        ("/containers/subject/start", None),
        ("/containers/subject/unpause", None),
    ):
        with contextlib.suppress(RequestError):
            daemon.post(path, document)


def fuzz(daemon: Daemon, seconds: float, seed: int, each: int = 3, least: int = 0) -> int:
    """Send requests for so long, and at least so many; gives their number."""
    random_ = random.Random(seed)
    deadline = time.monotonic() + seconds
    count = 0
    before = descriptors(daemon)
    while time.monotonic() < deadline or count < least:
        for made in requests(seed=seed, each=each):
            request = made
            bodies = [request.body] + ([broken(random_, request.body)] if request.body is not None else [])
            if "{" in request.label:
                prepare(daemon)
                request = aimed(made)
                bodies.append(request.body)
            for number, body in enumerate(bodies):
                status, answer = send(daemon, request if number else made, body)
                count += 1
                if status == 500:
                    raise SystemExit(f"seed {seed}: {request}\nbody {body!r}\n500: {answer!r}")
            if time.monotonic() > deadline and count >= least:
                break
        seed += 1
    assert "Traceback" not in daemon.log(), daemon.log()[-5000:]
    settled = time.monotonic() + 10
    while descriptors(daemon) > before + 5 and time.monotonic() < settled:
        time.sleep(0.1)
    assert descriptors(daemon) <= before + 5, f"{before} descriptors, now {descriptors(daemon)}"
    return count


def main() -> None:
    """Fuzz a daemon of our own."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with contextlib.contextmanager(running_daemon)() as daemon:
        print(f"{fuzz(daemon, seconds, seed)} requests, no 500, nothing left open")


if __name__ == "__main__":
    main()
