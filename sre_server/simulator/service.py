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


class Channel(HTTPChannel):
    """One connection, which its site knows as long as it is open."""

    site: "LoopbackSite"

    def connectionMade(self) -> None:
        """Make the connection known."""
        super().connectionMade()
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        super().connectionLost(reason)
        self.site.channels.discard(self)


class LoopbackSite(Site):
    """Serves the API, and below /simulator what tests control it by; knows every open connection; logs no access."""

    protocol = Channel  # type: ignore[assignment]  # not the generic one, which can switch to HTTP/2
    noisy = False
    displayTracebacks = False

    def __init__(self, api: IResource, control: IResource | None, reactor: IReactorTime) -> None:
        super().__init__(_Root(api, control), timeout=None, reactor=reactor)
        self.channels: set[Channel] = set()

    def log(self, request: Request) -> None:
        """Log nothing."""

    def close(self, *, abort: bool) -> None:
        """Close every connection; when all is sent, or at once."""
        for channel in list(self.channels):
            transport = cast("ITCPTransport", channel.transport)
            if abort:
                transport.abortConnection()
            else:
                transport.loseConnection()


class _Root(Resource):
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
    can be started again. In between, `unplug` takes the port away for a while and brings the same one back.
    """

    log = Logger()

    def __init__(
        self, reactor: IReactorTCP, cluster: SimulatedCluster, *, port: int = 0, control: bool = False
    ) -> None:
        self._reactor = reactor
        self._clock = IReactorTime(reactor)
        self._cluster = cluster
        self._number = port
        self._port: IListeningPort | None = None
        self._plugging: IDelayedCall | None = None
        faults = Faults()
        self._api = KubernetesAPI(cluster, self._clock, faults)
        controls = ControlAPI(cluster, faults, self._clock, self.unplug).resource() if control else None
        self._site = LoopbackSite(self._api.resource(), controls, self._clock)

    @property
    def url(self) -> str:
        """Return where the API is; known once the service has started."""
        if not self._number:
            raise RuntimeError("the simulated API has no address before it is started")
        return f"http://{HOST}:{self._number}"

    def startService(self) -> None:
        """Listen; a port that cannot be had raises."""
        self._plug()
        super().startService()
        self.log.info("simulated Kubernetes API at {url}; kubectl --server={url} gets and scales, too", url=self.url)

    def stopService(self) -> Deferred[None]:
        """Close the port and every connection; fires when the port is closed."""
        super().stopService()
        if self._plugging is not None:
            self._plugging.cancel()
        self._cluster.stop()
        self._api.stop()
        self._site.close(abort=False)
        return Deferred.fromCoroutine(self._stop_listening())

    def unplug(self, seconds: float) -> None:
        """Refuse connections and reset the open ones, for a while."""
        if self._plugging is None:
            self._plugging = self._clock.callLater(seconds, self._plug)
            self._site.close(abort=True)
            Deferred.fromCoroutine(self._stop_listening())

    def _plug(self) -> None:
        self._plugging = None
        self._port = self._reactor.listenTCP(self._number, self._site, interface=HOST)  # type: ignore[arg-type]
        self._number = cast("IPv4Address", self._port.getHost()).port

    async def _stop_listening(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
