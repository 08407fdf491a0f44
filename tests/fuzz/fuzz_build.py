"""Fuzz entry point: a real daemon under builds with odd queries, Dockerfiles and contexts.

python tests/fuzz/fuzz_build.py [seconds] [seed]

Needs root and busybox-static.  Ends with an error at the first 500, fault told in a stream, traceback in the
daemon's log, or descriptor that stays open.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.fuzz_api import descriptors
from support.archives import make_tar
from support.buildclient import build
from support.daemon import IMAGE, Daemon, RequestError, running_daemon

FIELDS = str.split(
    "dockerfile t extrahosts remote q nocache cachefrom pull rm forcerm memory memswap cpushares cpusetcpus"
    " cpusetmems cpuperiod cpuquota buildargs shmsize labels networkmode platform target outputs ulimits"
    " cgroupparent buildid squash version isolation"
)
VALUES = [
    *str.split(
        'x -1 0 1 99999999999999 null {} [] ["a"] {"a":"b"} ../.. a:b / a=b host:1 none host 0-100 1.5 a'
    ),
    *str.split(
        "linux/arm64 linux/ host:host-gateway Dockerfile /carboy/x file:///etc/passwd http://127.0.0.1:1/x"
    ),
    "",
    "\0",
    "é\u202e",
    "x" * 5000,
    '[{"Name":"nofile","Soft":-1,"Hard":5}]',
    '[{"Name":"zz","Soft":1}]',
    '{"SOURCE_DATE_EPOCH":"1"}',
    '{"PATH":""}',
    '{"":"x"}',
    '{"a=b":"c"}',
    '[{"Type":"tar"}]',
    '[{"Type":"local"},{"Type":"oci","Attrs":{"name":"x"}}]',
]
DOCKERFILES = [
    f"FROM {IMAGE} AS a\nARG a\nRUN echo $a\nFROM a\nRUN true\n",
    "FROM scratch\nCOPY . /\n",
    f"FROM {IMAGE}\nUSER nobody2\nRUN id\n",
    f"FROM {IMAGE}\nWORKDIR /a/../../b\nRUN pwd\n",
    "FROM ${x}\n",
    f"FROM {IMAGE}\nRUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t touch /c/x\n",
    f"FROM {IMAGE}\nADD a /a/\nCOPY --chown=9:9 --chmod=u+s a /b\n",
    "",
    "\0\0",
    f'FROM {IMAGE}\nENV A=$A$A\nRUN ["nothing"]\n',
    f'FROM {IMAGE}\nONBUILD RUN x\nHEALTHCHECK CMD x\nEXPOSE 1-9\nSTOPSIGNAL 9\nSHELL ["a"]\nRUN b\n',
]


def fuzz(daemon: Daemon, seconds: float, *, seed: int = 0, least: int = 0) -> int:
    """Builds for so long, and at least so many; how many there were."""
    choose = random.Random(seed)
    build(daemon, DOCKERFILES[0])  # what is loaded once
    before = descriptors(daemon)
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end or count < least:
        count += 1
        fields: dict[str, Any] = {
            name: choose.choice(VALUES) for name in choose.sample(FIELDS, choose.choice([0, 1, 1, 2, 3]))
        }
        body = make_tar({"Dockerfile": choose.choice(DOCKERFILES).encode(), "a": b"x"})
        if choose.random() < 0.1:
            body = body[: choose.randrange(len(body))]
        try:
            told = build(daemon, body, **fields).error
        except RequestError as error:
            told = "fault of the daemon" if error.status == 500 else ""
        if "fault of the daemon" in told:
            raise SystemExit(f"seed {seed}: {fields} {body[:300]!r}: {told}")
    if "Traceback" in daemon.log():
        raise SystemExit(f"seed {seed}: {daemon.log()[-3000:]}")
    limit = time.monotonic() + 10
    while descriptors(daemon) > before + 8:  # connections, layers that stay mounted
        if time.monotonic() > limit:
            raise SystemExit(f"seed {seed}: {before} descriptors became {descriptors(daemon)}")
        time.sleep(0.1)
    return count


if __name__ == "__main__":
    arguments = [float(one) for one in sys.argv[1:]] + [20.0, 0.0][len(sys.argv) - 1 :]
    for running in running_daemon():
        print(fuzz(running, arguments[0], seed=int(arguments[1])), "builds")
