"""The simulator's port: real HTTP on the loopback interface, started and stopped as a service."""

from typing import cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTCP, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site

from sre_server.simulator.api import KubernetesAPI
from sre_server.simulator.control import ControlAPI
from sre_server.simulator.faults import Faults
from sre_server.simulator.store import SimulatedCluster

HOST = "127.0.0.1"
PATIENCE = 0.5


class Channel(HTTPChannel):
    """One connection, which its site knows as long as it is open."""

    site: "LoopbackSite"

    def connectionMade(self) -> None:
        """Make the connection known."""
        super().connectionMade()
        self.site.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        super().connectionLost(reason)
        self.site.closed(self)


class LoopbackSite(Site):
    """Knows every open connection, so that none outlives the service; logs no access: the journal tells more."""

    protocol = Channel  # type: ignore[assignment]  # not the generic one, which can switch to HTTP/2
    noisy = False
    displayTracebacks = False

    def __init__(self, resource: IResource, reactor: IReactorTime) -> None:
        super().__init__(resource, timeout=None, reactor=reactor)
        self._channels: set[Channel] = set()
        self._empty: list[Deferred[None]] = []

    def log(self, request: Request) -> None:
        """Log nothing."""

    def opened(self, channel: Channel) -> None:
        """Learn of a connection."""
        self._channels.add(channel)

    def closed(self, channel: Channel) -> None:
        """Learn that a connection is gone."""
        self._channels.discard(channel)
        self._tell()

    def close(self, *, abort: bool) -> None:
        """Close every connection; politely, or at once."""
        for channel in list(self._channels):
            transport = cast("ITCPTransport", channel.transport)
            if abort:
                transport.abortConnection()
            else:
                transport.loseConnection()

    def when_empty(self) -> Deferred[None]:
        """Return what fires when no connection is left."""
        empty: Deferred[None] = Deferred()
        self._empty.append(empty)
        self._tell()
        return empty

    def _tell(self) -> None:
        if not self._channels:
            waiting, self._empty = self._empty, []
            for empty in waiting:
                empty.callback(None)


class Root(Resource):
    """Everything is the API's, except what lies below /simulator where that is open."""

    isLeaf = False

    def __init__(self, api: IResource, control: IResource | None) -> None:
        super().__init__()
        self._api = api
        if control is not None:
            self.putChild(b"simulator", control)

    def getChild(self, path: bytes, request: IRequest) -> IResource:
        """Give the whole path to the API."""
        request.postpath.insert(0, request.prepath.pop())
        return self._api


class SimulatorService(Service):
    """Serves a simulated cluster on 127.0.0.1 from start to stop.

    Stopping closes the port, every connection, and every timer of the cluster; neither the cluster nor the service
    can be started again. In between, `unplug` and `plug` take the port away and bring the same one back.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTCP,
        cluster: SimulatedCluster,
        *,
        port: int = 0,
        faults: Faults | None = None,
        token: str | None = None,
        control: bool = False,
    ) -> None:
        self._reactor = reactor
        self._clock = IReactorTime(reactor)
        self._cluster = cluster
        self._number = port
        self._port: IListeningPort | None = None
        self._replug: IDelayedCall | None = None
        self.faults = faults or Faults()
        self.api = KubernetesAPI(cluster, self._clock, faults=self.faults, token=token)
        door = ControlAPI(cluster, self.faults, self._clock, self).resource() if control else None
        self._site = LoopbackSite(Root(self.api.resource(), door), self._clock)

    @property
    def url(self) -> str:
        """Return where the API is; known once the service has started."""
        if not self._number:
            raise RuntimeError("the simulated API has no address before it is started")
        return f"http://{HOST}:{self._number}"

    def startService(self) -> None:
        """Listen; a port that cannot be had raises."""
        self.plug()
        super().startService()
        self.log.info("simulated Kubernetes API at {url}; kubectl --server={url} talks to it, too", url=self.url)

    def stopService(self) -> Deferred[None]:
        """Close the port and every connection; fires when nothing is left."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def plug(self) -> None:
        """Listen, again on the same port if it was taken away."""
        self._replug = None
        if self._port is None:
            self._port = self._reactor.listenTCP(self._number, self._site, interface=HOST)  # type: ignore[arg-type]
            self._number = cast("IPv4Address", self._port.getHost()).port

    def unplug(self) -> Deferred[None]:
        """Refuse connections and reset the open ones, until `plug` is called."""
        return Deferred.fromCoroutine(self._unplug())

    def unplug_for(self, seconds: float) -> None:
        """Refuse connections and reset the open ones, for a while."""
        self.unplug()
        if self._replug is None:
            self._replug = self._clock.callLater(seconds, self.plug)

    async def _unplug(self) -> None:
        self._site.close(abort=True)
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)

    async def _stop(self) -> None:
        if self._replug is not None:
            self._replug.cancel()
            self._replug = None
        self._cluster.stop()
        self.api.stop()
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        self._site.close(abort=False)
        insist = self._clock.callLater(PATIENCE, self._site.close, abort=True)
        await self._site.when_empty()
        if insist.active():
            insist.cancel()
