"""Hooks of the OCI specification: programs run at six points, the container's state on their stdin."""

from __future__ import annotations

import json
import os
import select

from carboy.errors import Internal
from carboy.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.runtime.spec import Hook

IN_PARENT = ("prestart", "createRuntime")
"""Run in the runtime's namespaces, after the container's namespaces are there, before its root is entered."""


def run(hooks: list[Hook], state: dict[str, Any]) -> None:
    """Run them in order; the first that fails or takes too long raises Internal."""
    for hook in hooks:
        _run_one(hook, json.dumps(state).encode())


def _run_one(hook: Hook, state: bytes) -> None:
    # A file in memory, not a pipe: a hook that reads nothing must not block us, whatever the size.
    reader = os.memfd_create("hook-state", os.MFD_CLOEXEC)
    _give(reader, state)
    environment = dict(entry.partition("=")[::2] for entry in hook.env)
    try:
        pid = os.posix_spawn(
            hook.path, hook.args, environment, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)]
        )
    except OSError as error:
        raise Internal(f"hook {hook.path}: {error.strerror}") from error
    finally:
        os.close(reader)
    if hook.timeout:  # without one no pidfd is needed, which the container's filter may not allow
        _wait(hook, pid)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise Internal(f"hook {hook.path} failed with exit code {code}")


def _wait(hook: Hook, pid: int) -> None:
    """Until it has ended, which is left to be reaped; raises Internal when it takes too long."""
    pidfd = process.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(hook.timeout * 1000):
            process.pidfd_send_signal(pidfd, 9)
            os.waitpid(pid, 0)
            raise Internal(f"hook {hook.path} took more than {hook.timeout} s and was killed")
    finally:
        os.close(pidfd)


def _give(file: int, state: bytes) -> None:
    view = memoryview(state)
    while view:
        view = view[os.write(file, view) :]
    os.lseek(file, 0, os.SEEK_SET)
