"""Starting and stopping in order: who listens, who drains, and how long anybody may take.

Twisted's `MultiService` stops its children without waiting between them; here each one's stop is awaited, within a
bound, before the next one's begins, so that the last response is out before the watch ends.
"""

from collections.abc import Sequence
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTime, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from sre_server.api.health import Health
from sre_server.web.site import APISite

DRAIN_SECONDS: Final = 5.0
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
        for service in self._services:
            service.startService()

    def stopService(self) -> Deferred[None]:
        """Stop every service, last first; what fails or hangs is logged and left behind."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for service in reversed(self._services):
            stopped: Deferred[object] = maybeDeferred(service.stopService)
            try:
                await stopped.addTimeout(STOP_SECONDS + DRAIN_SECONDS, self._reactor)
            except Exception:  # noqa: BLE001  # the others must still be stopped
                self.log.failure("{service} did not stop in order", service=type(service).__name__)


class SiteService(Service):
    """Serves a site at an endpoint; a port that cannot be bound ends the process with one line."""

    log = Logger()

    def __init__(self, reactor: IReactorTime, endpoint: IStreamServerEndpoint, site: APISite, name: str) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._site = site
        self._what = name
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Bind, or raise SystemExit: StreamServerEndpointService would log, and live on without a port."""
        super().privilegedStartService()
        problems: list[Failure] = []
        self._endpoint.listen(self._site).addCallbacks(self._listening, problems.append)
        if problems:
            problems[0].trap(CannotListenError, OverflowError)  # the latter for ports beyond 65535
            raise SystemExit(f"sre-server: {self._what}: {_reason(problems[0].value)}")

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        host = port.getHost()
        where = f"{getattr(host, 'host', '')}:{getattr(host, 'port', host)}"
        self.log.info("{what}: listening on {where}", what=self._what, where=where)

    def stopService(self) -> Deferred[None]:
        """Stop accepting, let requests finish for 5 s, then close what is left by force."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        drained = self._site.drain()
        cut = self._reactor.callLater(DRAIN_SECONDS, self._site.abort)
        await drained
        if cut.active():
            cut.cancel()
        self._site.access.flush()


class Unreadiness(Service):
    """Turns readyz to 503 when its turn to stop comes: the first of all, so it stands last in the order."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def stopService(self) -> Deferred[None]:
        """Be unready from now on."""
        super().stopService()
        self._health.stop()
        return succeed(None)


def _reason(error: BaseException | None) -> str:
    if isinstance(error, CannotListenError):
        where = f"{error.interface or '*'}:{error.port}"
        return f"cannot listen on {where}: {getattr(error.socketError, 'strerror', error.socketError)}"
    return str(error)
