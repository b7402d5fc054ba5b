"""The site: the factory of channels, which knows what is open, drains it, and counts and logs what was answered."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Site

from sre_server.security.clients import Clients
from sre_server.security.identity import Identity
from sre_server.telemetry.access import AccessLog
from sre_server.telemetry.metrics import Metrics
from sre_server.web.channel import Channel
from sre_server.web.connections import ConnectionLimits, Connections
from sre_server.web.interfaces import Connection, Exchange, Lane
from sre_server.web.request import APIRequest, host_of
from sre_server.web.turns import Turns
from sre_server.web.unsent import Unsent

IDLE_SECONDS: Final = 55
"""Of a client that is gone nothing is left after 60 s: it is waited for at the end, too."""
IDLE_DRAIN_SECONDS: Final = 1.0
_METHODS: Final = frozenset({b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"PATCH", b"OPTIONS"})


class APISite(Site):
    """The factory of channels: knows which are open, can drain them, and writes the access log."""

    protocol = Channel  # type: ignore[assignment]  # not the generic one, which can switch to HTTP/2
    noisy = False
    quiet_paths = frozenset({b"/livez", b"/readyz"})

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        metrics: Metrics | None = None,
        clients: Clients | None = None,
        limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008  # frozen
        lane: Lane | None = None,
    ) -> None:
        """Serve `resource`, and what `lane` can before that.

        `clients` recognises the other ends of TLS connections, and is None on a plain port.
        """
        super().__init__(
            resource, requestFactory=APIRequest, timeout=IDLE_SECONDS, reactor=reactor, parsePOSTFormSubmission=False
        )
        self.now: Callable[[], float] = reactor.seconds
        self.metrics = metrics or Metrics()
        self.clients = clients
        self.lane = lane
        self.connections = Connections(limits, self.metrics, self.now)
        self.draining = False
        self.turns = Turns(reactor)
        self.unsent = Unsent()
        self.access = AccessLog(reactor)
        self._open: set[Connection] = set()
        self._silent: dict[Connection, None] = {}
        self._waits_for_idle = True
        self._drained: Deferred[None] = Deferred()
        self._when_draining: list[Callable[[], object]] = []

    def buildProtocol(self, addr: IAddress | None) -> Channel | None:  # type: ignore[override]  # see `protocol`
        """Make a channel; on a plain port, if there is room: behind TLS that was asked before the TLS was made."""
        if self.clients is None and not self.admits(addr):
            return None
        return cast("Channel", super().buildProtocol(addr))

    def admits(self, address: IAddress | None) -> bool:
        """Tell whether there is room for one more connection from this address; a silent one is closed to make some."""
        return self.connections.admits(host_of(address), self._make_room)

    def _make_room(self) -> None:
        """Close the connection that has been silent the longest, if there is one."""
        silent = next((connection for connection in self._silent if connection.is_silent), None)
        if silent is not None:
            self.closed(silent, None)
            silent.transport.abortConnection()
            self.metrics.connections_refused.labels("silent").inc()

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def opened(self, connection: Connection) -> None:
        """Note a new connection."""
        self._open.add(connection)
        self._silent[connection] = None
        self.connections.opened(connection.address)

    def heard(self, connection: Connection) -> None:
        """Note that a connection is not silent; nothing but this counts on a port that knows no clients."""
        if connection in self._silent:
            self._silent[connection] = self._silent.pop(connection)

    def identified(self, connection: Connection, identity: Identity) -> None:
        """Note whose a connection is; raises TooManyRequests if that is one too many."""
        self.connections.identified(connection.address, identity.name)
        self._silent.pop(connection, None)

    def closed(self, connection: Connection, identity: Identity | None) -> None:
        """Forget a connection, unless it made room and is forgotten already; the last one ends a drain."""
        if connection in self._open:
            self._open.discard(connection)
            self._silent.pop(connection, None)
            self.connections.closed(connection.address, identity.name if identity is not None else None)
            self._check_drained()

    def startFactory(self) -> None:
        """Start nothing: Twisted's own access log, with its file and its timer, is not used."""

    def stopFactory(self) -> None:
        """Stop nothing."""

    def when_draining(self, end: Callable[[], object]) -> None:
        """Have `end` called, once a drain has begun, to end what may take longer than a drain does."""
        self._when_draining.append(end)

    def drain(self) -> Deferred[None]:
        """Let what is under way finish, close all else; fires when no connection is left that is worth waiting for.

        A peer that does not answer the closing of an idle connection is not waited for longer than a second.
        """
        self.draining = True
        for connection in list(self._open):
            connection.drain()
        for end in self._when_draining:
            end()
        self._check_drained()
        if not self._drained.called:
            self.reactor.callLater(IDLE_DRAIN_SECONDS, self._stop_waiting_for_idle)
        return self._drained

    def _stop_waiting_for_idle(self) -> None:
        self._waits_for_idle = False
        self._check_drained()

    def _check_drained(self) -> None:
        waited_for = any(self._waits_for_idle or connection.requests for connection in self._open)
        if self.draining and not waited_for and not self._drained.called:
            self._drained.callback(None)

    def abort(self) -> None:
        """Close every connection by force."""
        for connection in list(self._open):
            connection.transport.abortConnection()

    def began(self, exchange: Exchange) -> None:
        """Count a request that was received whole."""
        self.metrics.answers.received(_known(exchange.method))
        self.metrics.in_flight.inc()

    def left(self, exchange: Exchange) -> None:
        """Count a request whose client has gone before the answer."""
        self.metrics.in_flight.dec()
        self._count(exchange, "left")
        self._write_line(exchange, "left")

    def log(self, request: HTTPRequest) -> None:
        """Count one answer, and write its access line; a health probe that went well is not worth one."""
        if not isinstance(request, APIRequest):
            return
        self.metrics.in_flight.dec()
        self._count(request, int(request.code))
        if request.path not in self.quiet_paths or request.code != HTTPStatus.OK:
            self._write_line(request, int(request.code))

    def _count(self, exchange: Exchange, code: int | str) -> None:
        seconds = self.now() - exchange.started_at - exchange.waited
        self.metrics.answers.of(exchange.route, _known(exchange.method)).answered(code, seconds)

    def _write_line(self, exchange: Exchange, status: int | str) -> None:
        self.access.note(
            exchange.address,
            status,
            exchange.request_id,
            identity=exchange.identity.name if exchange.identity else None,
            method=exchange.method.decode("ascii", "replace"),
            path=exchange.path.decode("latin-1").encode("unicode_escape").decode("ascii"),
            size=exchange.sentLength,
            seconds=self.now() - exchange.started_at,
        )

    def log_refused(self, address: str, status: HTTPStatus, known_as: str) -> None:
        """Count what never became a request, and write its access line."""
        self.metrics.refused.labels(str(status.value)).inc()
        self.access.note(address, status.value, known_as)


def _known(method: bytes) -> str:
    """Return a method as a label: those that nobody knows share one."""
    return method.decode("ascii") if method in _METHODS else "other"
