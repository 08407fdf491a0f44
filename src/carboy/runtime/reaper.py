"""`--init`: the forked parent stays as PID 1, forwards signals and reaps.

No file of the host is inside the container: PID 1 is this process, which never executes
anything.  It keeps no descriptor but the terminal's or pipes'.
"""

from __future__ import annotations

import os
import signal

from carboy.linux import process

FORWARDED = [
    number
    for number in signal.valid_signals()
    if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU)
]

MOST_DESCRIPTORS = 1 << 16
"""More than a launch ever has open."""


def split(*, terminal: bool) -> None:
    """Fork: returns in the child, which goes on to execute the program; the parent never does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child == 0:
        if terminal:
            os.setpgid(0, 0)
            os.tcsetpgrp(0, os.getpgid(0))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return
    try:
        # Python's, not ours: where the program's filter has no close_range, it closes one by one.
        os.closerange(3, MOST_DESCRIPTORS)
        process.set_title("carboy-init")
        process.set_name("carboy-init")
        os._exit(_reap(child))
    finally:
        os._exit(255)


def _reap(child: int) -> int:
    """Forward and reap until `child` has ended; its exit code."""
    waited = signal.valid_signals()
    while True:
        information = signal.sigwaitinfo(waited)
        if information.si_signo != signal.SIGCHLD:
            if information.si_signo in FORWARDED:
                try:
                    os.kill(child, information.si_signo)
                except ProcessLookupError:
                    continue
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
