"""What the process asks of its system: descriptors, its turn among threads, a heap that the collector leaves alone."""

import gc
import resource
import sys
from collections.abc import Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

SPARE_DESCRIPTORS: Final = 128
LOOK_SECONDS: Final = 1.0
SWITCH_SECONDS: Final = 0.001


def room_for(connections: int) -> int:
    """Have descriptors for so many connections, or for as many as the system lets; return for how many.

    What else the server needs stays free: without it, an attacker on the API port could take the ops port away, too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - SPARE_DESCRIPTORS))


def share_time() -> None:
    """Have a thread that decodes give way to the reactor's after 1 ms; with Python's 5, requests wait for so long."""
    sys.setswitchinterval(SWITCH_SECONDS)


class SettledHeap(Service):
    """Takes what start-up has left out of the sight of the garbage collector: at once, and when all of it is there.

    Each full collection would walk it in vain, while every client waits. The cache costs nothing there, as its objects
    refer to nothing that could refer back; modules, routes and, in the demo, the simulated cluster do.
    """

    def __init__(self, reactor: IReactorTime, is_there: Callable[[], bool]) -> None:
        self._reactor = reactor
        self._is_there = is_there
        self._next: IDelayedCall | None = None

    def startService(self) -> None:
        """Take out what there is, so that the one collection later on is a short one; then wait for the rest."""
        super().startService()
        gc.freeze()
        self._look()

    def stopService(self) -> None:
        """Wait no more."""
        super().stopService()
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _look(self) -> None:
        if self._is_there():
            gc.collect()
            gc.freeze()
        else:
            self._next = self._reactor.callLater(LOOK_SECONDS, self._look)
