"""The site: the factory of channels, which knows what is open, how much more may be, and what was answered."""

from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Site

from sre_server.api.lane import FastLane
from sre_server.errors import TooManyRequests
from sre_server.security.clients import Clients
from sre_server.security.identity import Identity
from sre_server.security.limits import Rate, TokenBuckets
from sre_server.telemetry.access import AccessLog
from sre_server.telemetry.metrics import Metrics
from sre_server.web.channel import Channel
from sre_server.web.request import APIRequest, host_of
from sre_server.web.turns import Turns

IDLE_SECONDS: Final = 60
IDLE_DRAIN_SECONDS: Final = 1.0
_METHODS: Final = frozenset({b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"PATCH", b"OPTIONS"})


class ConnectionLimits(Struct, frozen=True):
    """How many connections may be open at a time, and how many handshakes may begin; None is without limit."""

    total: int | None = None
    per_address: int | None = None
    per_identity: int | None = None
    handshakes: Rate | None = None


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
    ) -> None:
        """Serve `resource`; `clients` recognises the other ends of TLS connections, and is None on a plain port."""
        super().__init__(
            resource, requestFactory=APIRequest, timeout=IDLE_SECONDS, reactor=reactor, parsePOSTFormSubmission=False
        )
        self.now: Callable[[], float] = reactor.seconds
        self.metrics = metrics or Metrics()
        self.clients = clients
        self.channels: set[Channel] = set()
        self.draining = False
        self.turns = Turns(reactor)
        self.access = AccessLog(reactor)
        self.lane: FastLane | None = None
        self._limits = limits
        self._handshakes = _handshake_buckets(limits.handshakes, self.now) if limits.handshakes else ()
        self._of_address: Counter[str] = Counter()
        self._of_identity: Counter[str] = Counter()
        self._patient = True
        self._drained: Deferred[None] = Deferred()

    def admits(self, address: IAddress | None) -> bool:
        """Tell whether one more connection, from this address, may begin its handshake."""
        limits = self._limits
        if limits.total is not None and len(self.channels) >= limits.total:
            reason = "total"
        elif limits.per_address is not None and self._of_address[host_of(address)] >= limits.per_address:
            reason = "address"
        elif not self._may_shake_hands(host_of(address)):
            reason = "handshakes"
        else:
            return True
        self.metrics.connections_refused.labels(reason).inc()
        return False

    def _may_shake_hands(self, address: str) -> bool:
        return all(buckets.take(whom).allowed for buckets, whom in zip(self._handshakes, (address, ""), strict=False))

    def opened(self, channel: Channel) -> None:
        """Note a new channel."""
        self.channels.add(channel)
        self._of_address[channel.address] += 1
        self.metrics.connections.inc()

    @property
    def identities(self) -> int:
        """How many different clients have a connection open, of those that have asked for something."""
        return len(self._of_identity)

    def count_identity(self, name: str) -> None:
        """Note who is at the other end of one more channel; raises TooManyRequests if that is one too many."""
        limit = self._limits.per_identity
        if limit is not None and self._of_identity[name] >= limit:
            self.metrics.connections_refused.labels("identity").inc()
            self.metrics.by_identity.refused(name, "too many connections")
            raise TooManyRequests(f"'{name}' has {limit} connections already, and that is the limit.", 1)
        self._of_identity[name] += 1

    def closed(self, channel: Channel, identity: Identity | None) -> None:
        """Forget a channel; the last one that is waited for ends a drain."""
        self.channels.discard(channel)
        self.metrics.connections.dec()
        _count_out(self._of_address, channel.address)
        if identity is not None:
            _count_out(self._of_identity, identity.name)
        self._check_drained()

    def startFactory(self) -> None:
        """Start nothing: Twisted's own access log, with its file and its timer, is not used."""

    def stopFactory(self) -> None:
        """Stop nothing."""

    def acceptableProtocols(self) -> list[bytes]:
        """Offer HTTP/1.1 alone to ALPN, even where HTTP/2 libraries happen to be installed."""
        return [b"http/1.1"]

    def drain(self) -> Deferred[None]:
        """Let what is under way finish, close all else; fires when no connection is left that is worth waiting for.

        A peer that does not answer the closing of an idle connection is not waited for longer than a second.
        """
        self.draining = True
        for channel in list(self.channels):
            channel.drain()
        self._check_drained()
        if not self._drained.called:
            self.reactor.callLater(IDLE_DRAIN_SECONDS, self._stop_waiting_for_idle)
        return self._drained

    def _stop_waiting_for_idle(self) -> None:
        self._patient = False
        self._check_drained()

    def _check_drained(self) -> None:
        waited_for = self.channels if self._patient else [channel for channel in self.channels if channel.requests]
        if self.draining and not waited_for and not self._drained.called:
            self._drained.callback(None)

    def abort(self) -> None:
        """Close every connection by force."""
        for channel in list(self.channels):
            channel.transport.abortConnection()

    def began(self, request: APIRequest) -> None:
        """Count a request that was received whole."""
        self.metrics.requests_received.labels(_known(request.method)).inc()
        self.metrics.in_flight.inc()

    def left(self, request: APIRequest) -> None:
        """Count a request whose client has gone before the answer."""
        self.metrics.in_flight.dec()
        self._count(request, "left")
        self._write_line(request, "left")

    def log(self, request: HTTPRequest) -> None:
        """Count one answer, and write its access line; a health probe that went well is not worth one."""
        if not isinstance(request, APIRequest):
            return
        self.metrics.in_flight.dec()
        self._count(request, str(int(request.code)))
        if request.path not in self.quiet_paths or request.code != HTTPStatus.OK:
            self._write_line(request, int(request.code))

    def _count(self, request: APIRequest, code: str) -> None:
        method = _known(request.method)
        self.metrics.requests.labels(request.route, method, code).inc()
        self.metrics.request_seconds.labels(request.route, method).observe(self.now() - request.started_at)

    def _write_line(self, request: APIRequest, status: int | str) -> None:
        self.access.note(
            request.address,
            status,
            request.request_id,
            identity=request.identity.name if request.identity else None,
            method=request.method.decode("ascii", "replace"),
            path=request.path.decode("latin-1").encode("unicode_escape").decode("ascii"),
            size=request.sentLength,
            seconds=self.now() - request.started_at,
        )

    def log_refused(self, channel: Channel, status: HTTPStatus, known_as: str) -> None:
        """Count what never became a request, and write its access line."""
        self.metrics.refused.labels(str(status.value)).inc()
        self.access.note(channel.address, status.value, known_as)


def _handshake_buckets(rate: Rate, now: Callable[[], float]) -> tuple[TokenBuckets, TokenBuckets]:
    """Return a bucket for each address, and one for all: no address may use up more than half of what there is."""
    half = Rate(rate.per_second / 2, max(1, rate.burst // 2))
    return TokenBuckets(half, now), TokenBuckets(rate, now)


def _known(method: bytes) -> str:
    """Return a method as a label: those that nobody knows share one."""
    return method.decode("ascii") if method in _METHODS else "other"


def _count_out(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
