"""What the process asks of its system: descriptors, how threads take turns, a heap that the collector leaves alone."""

import gc
import resource
import sys
from collections.abc import Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

SPARE_DESCRIPTORS: Final = 512
"""For the ops port, connections that are being refused, the cluster, files and logs."""
LOOK_SECONDS: Final = 1.0
SWITCH_SECONDS: Final = 0.001


def raise_descriptor_limit(connections: int) -> int:
    """Raise the limit on descriptors to what so many connections need, as far as the system allows it.

    Return how many connections there is room for. What else the server needs stays free: otherwise an attacker on the
    API port could take the ops port away, too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - SPARE_DESCRIPTORS))


def shorten_switch_interval() -> None:
    """Have a thread that decodes yield to the reactor's after 1 ms: with Python's 5 ms, requests wait for that long."""
    sys.setswitchinterval(SWITCH_SECONDS)


class SettledHeap(Service):
    """Exempts what start-up created from garbage collection: at once, and again when all of it is there.

    Each full collection would traverse it in vain, while every client waits. The cache's own objects are not tracked at
    all; modules, routes and, in the demo, the simulated cluster are.
    """

    def __init__(self, reactor: IReactorTime, is_there: Callable[[], bool]) -> None:
        self._reactor = reactor
        self._is_there = is_there
        self._next: IDelayedCall | None = None

    def startService(self) -> None:
        """Exempt what there is, so that the one collection later on is a short one; then wait for the rest."""
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
