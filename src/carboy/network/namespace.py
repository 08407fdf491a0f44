"""Sockets in other network namespaces, from a threaded process.

A socket belongs to the namespace its thread is in while it is made, and stays usable from every
thread afterwards.  Which namespace a thread is in is a property of the thread alone: so one
thread of our own enters the container's namespace, makes the socket and returns, and no thread
that runs other code ever leaves home.  If the return fails, the thread ends and is replaced,
because whatever it did next would happen in the wrong namespace.

    caller ──(netns fd, protocol)──▶ queue ──▶ thread: setns(container) · socket() · setns(home)
           ◀──────── future: the socket, or the error ────────┘
"""

from __future__ import annotations

import os
import queue
import threading
from concurrent.futures import Future

from carboy.linux import namespaces
from carboy.network import sysctls
from carboy.network.sockets import NetlinkSocket


class NamespaceThread:
    """Makes netlink sockets in other namespaces; the thread starts when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[_Request | None] | None = None

    def open_socket(self, netns_fd: int, protocol: int, *, without_ipv6: str = "") -> NetlinkSocket:
        """A netlink socket in the namespace; raises OSError when the namespace cannot be entered.

        `without_ipv6` names an interface in there that gets no IPv6: that is a sysctl, which only a
        thread inside can set.
        """
        request = _Request(netns_fd, protocol, without_ipv6)
        with self._lock:
            if self._requests is None:
                self._requests = self._start()
            self._requests.put(request)
        return request.done.result()

    def close(self) -> None:
        """End the thread, once it has done what was asked before."""
        with self._lock:
            if self._requests is not None:
                self._requests.put(None)
                self._requests = None

    def _start(self) -> queue.SimpleQueue[_Request | None]:
        requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, args=(requests,), name="carboy-netns", daemon=True).start()
        return requests

    def _serve(self, requests: queue.SimpleQueue[_Request | None]) -> None:
        try:
            home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no descriptor is free: the next request tries again
            self._abandon(requests)
            return
        try:
            while (request := requests.get()) is not None:
                if not _fulfil(request, home):
                    self._abandon(requests)
                    return
        finally:
            os.close(home)

    def _abandon(self, requests: queue.SimpleQueue[_Request | None]) -> None:
        with self._lock:
            if self._requests is requests:
                self._requests = None
        while not requests.empty():
            if (request := requests.get()) is not None:
                request.done.set_exception(OSError("the namespace thread was lost; try again"))


class _Request:
    """What the thread is to do, and the place for its answer."""

    __slots__ = ("done", "netns_fd", "protocol", "without_ipv6")

    def __init__(self, netns_fd: int, protocol: int, without_ipv6: str) -> None:
        self.netns_fd = netns_fd
        self.protocol = protocol
        self.without_ipv6 = without_ipv6
        self.done: Future[NetlinkSocket] = Future()


def _fulfil(request: _Request, home: int) -> bool:
    """Answer the request; false when the thread could not return to its own namespace."""
    opened: NetlinkSocket | None = None
    failure: BaseException | None = None
    returned = True
    try:
        namespaces.setns(request.netns_fd, namespaces.CLONE_NEWNET)
        try:
            if request.without_ipv6:
                sysctls.disable_ipv6(request.without_ipv6)
            opened = NetlinkSocket(request.protocol)
        finally:
            returned = _return(home)
    except Exception as error:
        failure = error
    if opened is not None:
        request.done.set_result(opened)
    else:
        request.done.set_exception(failure or OSError("no socket"))
    return returned


def _return(home: int) -> bool:
    try:
        namespaces.setns(home, namespaces.CLONE_NEWNET)
    except OSError:
        return False
    return True
