"""Starting and stopping in order, and how long anybody may take.

Twisted's `MultiService` stops its children without waiting between them; here each one's stop is awaited, within a
bound, before the next one's begins, so that the last response is out before the watch ends.
"""

import signal
import sys
from collections.abc import Sequence
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sre_server.api.health import Health
from sre_server.web.service import DRAIN_SECONDS

STOP_SECONDS: Final = 3.0


class OrderedServices(Service):
    """Services that start in order and stop in the opposite one, each awaited for at most 3 s past its own bounds."""

    log = Logger()

    def __init__(self, reactor: IReactorTime, services: Sequence[Service]) -> None:
        self._reactor = reactor
        self._services = services

    def privilegedStartService(self) -> None:
        """Bind what must be bound before privileges are shed."""
        super().privilegedStartService()
        for service in self._services:
            service.privilegedStartService()

    def startService(self) -> None:
        """Start every service."""
        super().startService()
        _live_through_hangups(self._reactor)
        for service in self._services:
            service.startService()

    def stopService(self) -> Deferred[None]:
        """Stop every service, last first; what fails or hangs is logged and left behind."""
        super().stopService()
        _let_signals_be(self._reactor)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for service in reversed(self._services):
            stopped: Deferred[object] = maybeDeferred(service.stopService)
            try:
                await stopped.addTimeout(STOP_SECONDS + DRAIN_SECONDS, self._reactor)
            except Exception:  # noqa: BLE001  # the others must still be stopped
                self.log.failure("{service} did not stop in order", service=type(service).__name__)


def _live_through_hangups(reactor: IReactorTime) -> None:
    """Go on upon a SIGHUP, which daemons are sent to read their files again: these are looked at anyway.

    Where it means that the terminal has gone, stop in order, as upon Ctrl-C.
    """
    stop = getattr(reactor, "sigInt", None)
    if stop is not None and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, stop if sys.stdin is not None and sys.stdin.isatty() else lambda *_: None)


def _let_signals_be(reactor: IReactorTime) -> None:
    """Do nothing upon another signal to stop: the stop is under way, and Twisted would log a traceback."""
    for number, name in ((signal.SIGINT, "sigInt"), (signal.SIGTERM, "sigTerm"), (signal.SIGHUP, "sigInt")):
        handler = getattr(reactor, name, None)
        if handler is not None and signal.getsignal(number) == handler:
            signal.signal(number, lambda *_: None)


class Unreadiness(Service):
    """Turns readyz to 503 when its turn to stop comes: the first of all, so it stands last in the order."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def stopService(self) -> Deferred[None]:
        """Be unready from now on."""
        super().stopService()
        self._health.stop()
        return succeed(None)
