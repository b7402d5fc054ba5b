"""One connection: bounded in bytes and in time from the handshake to the end, and able to refuse in JSON.

HTTP/2 is never offered: this is not Twisted's negotiating channel.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Final, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from sre_server.errors import NotIdentified, SreServerError, TooManyRequests
from sre_server.security.clients import Client
from sre_server.security.identity import Identity
from sre_server.web.bounded import BoundedChannel
from sre_server.web.clocks import CallLater, Clocks
from sre_server.web.intake import Intake, IStream
from sre_server.web.request import APIRequest, host_of
from sre_server.web.stalls import cut_when_stalled
from sre_server.web.unsent import LONG_BYTES

HANDSHAKE_SECONDS: Final = 5
REQUEST_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0
HOLD_SECONDS: Final = 1.0
DISCARDED_BYTES: Final = 65536
"""How much more of a refused connection is read, so that a client that still sends sees the answer."""


@implementer(IHandshakeListener, IHalfCloseableProtocol)
class Channel(BoundedChannel):
    """One connection: bounded in bytes and in time, and able to refuse in JSON."""

    requestFactory = APIRequest
    _discarded = 0
    _peer_has_ended = False
    _held_back = False
    _collected: list[bytes] | None = None
    _takes_turns = False
    _unsent: tuple[str, int] | None = None
    _fairness_key = ""
    intake: Intake
    """What holds back bytes until it is this client's turn: the transport's own, or on a plain port the channel's."""
    _client: Client | None = None
    _identity: Identity | None = None
    _excess: TooManyRequests | None = None
    _idle_seconds: int | None = None
    """For how long it may idle, until its handshake is over; None from then on, and on a plain port."""
    _clocks: Clocks
    _write_now: Callable[[bytes], object]

    def connectionMade(self) -> None:
        """Count the connection in; on the TLS port, give its handshake 5 s."""
        self._clocks = Clocks(cast("CallLater", self.callLater))
        self._write_now = getattr(self.transport, "write_now", self.transport.write)
        if self.site.clients is not None:
            self._client = self.site.clients.accepted()
            self._idle_seconds, self.timeOut = self.timeOut, HANDSHAKE_SECONDS
        super().connectionMade()
        self.address = host_of(self.getPeer())
        self._fairness_key = f"address {self.address}"
        if not hasattr(self, "intake"):
            self._takes_turns = True
            self.intake = Intake(self.site.turns, self.fairness_key, self._receive, cast("IStream", self.transport))
            self.read_through(self.intake)
        self.site.opened(self)

    def handshakeCompleted(self) -> None:
        """Begin to wait for requests, and see whose connection it is; for Twisted's TLS."""
        self.setTimeout(self._idle_seconds)
        self._idle_seconds = None
        with suppress(SreServerError):  # the first request is told
            self.identify()

    def identify(self) -> Identity:
        """See `Connection.identify`; a connection that was one too many when it was made remains so."""
        if self._client is None:
            raise NotIdentified("This port does not ask for client certificates.")
        if self._excess is not None:
            raise self._excess
        identity = self._client.identity(self.transport)
        if self._identity is None:
            try:
                self.site.identified(self, identity)
            except TooManyRequests as error:
                self._excess = error
                raise
            self._identity, self._fairness_key = identity, identity.name
        return identity

    def fairness_key(self) -> str:
        """Name whose turn its bytes and requests take: the client's, or its address' as long as it has no name."""
        return self._fairness_key

    def write_whole(self, head: bytes, body: bytes) -> None:
        """See `Connection.write_whole`; what the peer has not read counts until it has."""
        if len(body) <= LONG_BYTES:
            self._write_now(head + body)
            return
        self._write_now(head)  # apart, as copying the body would take longer than all else
        self._write_now(body)
        if self.is_blocked:
            self._unsent = self._fairness_key, len(body)
            self.site.unsent.add(*self._unsent)

    def _forget_unsent(self) -> None:
        if self._unsent is not None:
            self.site.unsent.remove(*self._unsent)
            self._unsent = None

    @property
    def is_silent(self) -> bool:
        """Whether it may be closed to make room for another: no client's own is it, and no answer is under way.

        A request that has yet to come whole is no reason to stay: a first line would do, and as many as one likes.
        """
        unknown = self._identity is None or self.site.clients is None
        return unknown and (not self.requests or self.is_mid_request)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Process in one go what is received within: many small pieces cost as much as one, and not as many."""
        self._collected = []
        try:
            yield
            self.process_collected()
        finally:
            self._collected = None

    def process_collected(self) -> None:
        """Process now what `at_once` has brought so far."""
        pieces, self._collected = self._collected, None
        if pieces:
            self.dataReceived(b"".join(pieces))

    def dataReceived(self, data: bytes) -> None:
        """Parse, and give a request that is still incomplete 10 s in total, however it drips."""
        if self._collected is not None:
            self._collected.append(data)
        elif self._takes_turns:
            self.site.heard(self)
            self.intake.take(data)
        else:
            self._receive(data)

    def readConnectionLost(self) -> None:
        """Answer what has come, as nothing more will, and then close; see `IHalfCloseableProtocol`."""
        self._peer_has_ended = True
        self._close_if_done()

    def writeConnectionLost(self) -> None:
        """Do nothing: the end as a whole follows."""

    def requestDone(self, request: Request) -> None:
        """Go on with what was received behind this request, if anything was."""
        super().requestDone(request)
        self._close_if_done()

    @property
    def is_done(self) -> bool:
        """Whether all that was asked so far is answered; half a request is nothing."""
        return self.intake.is_empty and (self.is_between_requests or self.is_mid_request)

    def _close_if_done(self) -> None:
        if self._peer_has_ended and self.is_done:
            self.loseConnection()

    def setLineMode(self, extra: bytes = b"") -> None:
        """Parse on with what came behind a request: it has had its turn, and is before all that waits for one."""
        self.line_mode = 1
        if extra:
            self._receive(extra)

    def _receive(self, data: bytes) -> None:
        if self.is_refused:
            self._discarded += len(data)
            if self._discarded > DISCARDED_BYTES:
                self.pause_reading()
            return
        lane = self.site.lane
        if lane is not None and self._is_idle() and lane.serve(self, data):
            self.resetTimeout()
            return
        super().dataReceived(data)
        if self.is_mid_request and not self.is_refused:
            self._clocks.start("request", REQUEST_SECONDS, self._too_slow)

    def _is_idle(self) -> bool:
        """Tell whether a request that arrives now could be answered at once: the client is known, nothing is open."""
        return self._identity is not None and self.is_between_requests and not self._clocks and not self.site.draining

    def _too_slow(self) -> None:
        self.refuse(HTTPStatus.REQUEST_TIMEOUT, f"The request did not arrive within {REQUEST_SECONDS:.0f} s.")

    def allContentReceived(self) -> None:
        """Stop the clock of the request, and process it."""
        self._clocks.stop("request")
        super().allContentReceived()

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Close after this response if the client asks so, or if the server is about to stop."""
        options = [option.strip().lower() for option in (request.getHeader(b"connection") or b"").split(b",")]
        if self.site.draining or b"close" in options:
            request.setHeader(b"connection", b"close")
            return False
        return version == b"HTTP/1.1"

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """See `BoundedChannel.refuse`: what has been answered is waited for no more."""
        self._clocks.stop("request")
        super().refuse(status, message)

    def drain(self) -> None:
        """Close now if nothing is under way, else after the response, and say so in it."""
        self.intake.flush()
        if self.requests:
            self.persistent = 0
            self.requests[0].setHeader(b"Connection", b"close")
        else:
            self.loseConnection()

    def timeoutConnection(self) -> None:
        """Close a connection that has idled for long enough; by force, where the handshake is what did not come."""
        if self._idle_seconds is None:
            self.loseConnection()
        else:
            self.transport.abortConnection()

    def loseConnection(self) -> None:
        """Close in good order, or by force 5 s after the peer has read all, if it does not answer (twisted#7926)."""
        super().loseConnection()
        cut_when_stalled(self._clocks, "close", self.transport, WRITE_SECONDS, CLOSE_SECONDS)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count the connection out and stop its clocks."""
        self.intake.stopProducing()
        self._forget_unsent()
        self._clocks.stop_all()
        try:
            super().connectionLost(reason)
        finally:
            self.site.closed(self, self._identity)

    def pauseProducing(self) -> None:
        """Wait for a peer that does not read, for 10 s; what it has asked already waits, too.

        Twisted alone would answer on: it neither stops parsing, nor reading where an answer is what filled the
        transport. After a last answer it reads on, and throws away, so as to see the peer's end.
        """
        super().pauseProducing()
        if self.persistent:
            self.pause_parsing()
        cut_when_stalled(self._clocks, "write", self.transport, WRITE_SECONDS)

    def resumeProducing(self) -> None:
        """Go on, as the peer has read."""
        self._clocks.stop("write")
        self._forget_unsent()
        if not self._held_back:
            super().resumeProducing()
            if self.paused:
                self._process_received()

    def hold_back(self) -> None:
        """Read nothing more for a second from a client that asks more often than it may: refusals cost time, too."""
        if not self._held_back:
            self._held_back = True
            self.pause_parsing()
            self._clocks.start("hold", HOLD_SECONDS, self._release)

    def _release(self) -> None:
        self._held_back = False
        if "write" not in self._clocks:  # else the peer does not read, and reading on would pile up answers
            self._process_received()

    def _process_received(self) -> None:
        self.resume_parsing()
        self._receive(b"")
        self._close_if_done()
