"""`RUN --mount=type=ssh`: a socket in the container that leads to an ssh agent of this machine.

The agent's own socket is its owner's only; ours belongs to the uid that the mount names, and it is gone
with the step.  One thread carries the bytes of all connections, each in bounded pieces.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading

_PIECE = 1 << 16
_MOST = 64


class AgentRelay:
    """Listens at `path` and connects each client with the agent."""

    def __init__(self, directory: str, name: str, agent: str, *, mode: int, uid: int, gid: int) -> None:
        self.path = f"{directory}/{name}"
        self._agent = agent
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._peers: dict[int, tuple[socket.socket, socket.socket]] = {}
        try:
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # Through the descriptor: socket addresses end at 108 bytes.
                self._listener.bind(f"/proc/self/fd/{fd}/{name}")
                os.chmod(name, mode, dir_fd=fd)
                os.chown(name, uid, gid, dir_fd=fd)
            finally:
                os.close(fd)
            self._listener.listen(16)
            self._listener.setblocking(False)
        except BaseException:
            self._listener.close()
            os.close(self._wake)
            raise
        self._thread = threading.Thread(target=self._run, name="ssh-agent", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End every connection."""
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._listener.close()
        os.close(self._wake)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        while True:
            for number, _ in poll.poll():
                if number == self._wake:
                    for one, _other in list(self._peers.values()):
                        one.close()
                    return
                if number == self._listener.fileno():
                    self._accept(poll)
                elif number in self._peers and not self._carry(number):
                    self._end(poll, number)

    def _accept(self, poll: select.poll) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            if len(self._peers) >= 2 * _MOST:
                client.close()
                return
            agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                agent.connect(self._agent)
            except OSError:
                client.close()
                agent.close()
                return
            for one, other in ((client, agent), (agent, client)):
                one.settimeout(30)
                self._peers[one.fileno()] = (one, other)
                poll.register(one, select.POLLIN)

    def _carry(self, number: int) -> bool:
        one, other = self._peers[number]
        try:
            data = one.recv(_PIECE)
            if data:
                other.sendall(data)
        except OSError:
            return False
        return bool(data)

    def _end(self, poll: select.poll, number: int) -> None:
        for one in self._peers[number]:
            with contextlib.suppress(KeyError):
                del self._peers[one.fileno()]
                poll.unregister(one)
            one.close()
