"""One connection: bounded in bytes and in time from the handshake to the end, and able to refuse in JSON.

HTTP/2 is never offered: this is not Twisted's negotiating channel.
"""

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Request
from zope.interface import implementer

from sre_server.errors import NotIdentified, SreServerError
from sre_server.security.clients import Client
from sre_server.security.identity import Identity
from sre_server.web.answers import bare_response, request_id
from sre_server.web.request import BODY_BYTES, APIRequest, host_of

if TYPE_CHECKING:
    from sre_server.web.site import APISite

HANDSHAKE_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0
HOLD_SECONDS: Final = 1.0
REQUEST_LINE_BYTES: Final = 8192
HEADER_BYTES: Final = 16384
DISCARDED_BYTES: Final = 65536
"""How much more of a refused connection is read, so that a client that still sends sees the answer."""
_LENGTH_DIGITS: Final = 18


@implementer(IHandshakeListener)
class Channel(HTTPChannel):
    """One connection: bounded in bytes and in time, and able to refuse in JSON."""

    transport: ITCPTransport

    site: "APISite"
    requestFactory = APIRequest
    MAX_LENGTH = HEADER_BYTES
    totalHeadersSize = 2 * HEADER_BYTES  # never reached: `lineReceived` refuses first, with a better status

    _refused = False
    _discarded = 0
    _held = False
    _postponed = b""
    _overfull = False
    _client: Client | None = None
    _identity: Identity | None = None
    _clocks: dict[str, IDelayedCall]
    address = "-"
    """The address of the other end, for logs."""

    def connectionMade(self) -> None:
        """Count the connection in; on the TLS port, give its handshake 5 s."""
        self._clocks = {}
        super().connectionMade()
        self.address = host_of(self.getPeer())
        self.site.opened(self)
        if self.site.clients is not None:
            self._client = self.site.clients.accepted()
            self._start_clock("handshake", HANDSHAKE_SECONDS, self.transport.abortConnection)

    def handshakeCompleted(self) -> None:
        """Stop the clock of the handshake; for Twisted's TLS."""
        self._stop_clock("handshake")

    def identify(self) -> Identity:
        """Return who is at the other end; see `APIRequest.identify`."""
        if self._client is None:
            raise NotIdentified("This port does not ask for client certificates.")
        identity = self._client.identity(self.transport)
        if self._identity is None:
            self.site.count_identity(identity.name)
            self._identity = identity
        return identity

    def turn_of(self) -> str:
        """Name whose turn its requests take: the client's, or its address' where it has no name."""
        if self._client is not None:
            with suppress(SreServerError):
                return self._client.identity(self.transport).name
        return f"address {self.address}"

    def _start_clock(self, name: str, seconds: float, rings: Callable[[], object]) -> None:
        """Call `rings` after so many seconds, unless the clock of that name is stopped; one that runs is left alone."""
        if name not in self._clocks:
            self._clocks[name] = self.callLater(seconds, lambda: self._ring(name, rings))

    def _ring(self, name: str, rings: Callable[[], object]) -> None:
        self._clocks.pop(name, None)
        rings()

    def _stop_clock(self, name: str) -> None:
        if (clock := self._clocks.pop(name, None)) is not None:
            clock.cancel()

    def dataReceived(self, data: bytes) -> None:
        """Parse, and give a request that is still incomplete 10 s in total, however it drips."""
        if self._refused:
            self._discarded += len(data)
            if self._discarded > DISCARDED_BYTES:
                self._networkProducer.pauseProducing()
            return
        if self._postponed:
            self._postponed += data
            self._overfull = True
            self._networkProducer.pauseProducing()
        elif self._identity is None or self.site.turns.has_time(self._identity.name) or not self._is_idle():
            self._receive(data)
        else:
            self._postponed = data
            self.site.turns.take(self._identity.name, self._take_up)

    def _take_up(self) -> None:
        """Go on with what came when others had their turn."""
        data, self._postponed = self._postponed, b""
        if self._overfull:
            self._overfull = False
            if not self._waitingForTransport:
                self._networkProducer.resumeProducing()
        if data:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        lane = self.site.lane
        if lane is not None and self._is_idle() and lane.serve(self, data):
            self.resetTimeout()
            return
        super().dataReceived(data)
        if self._incomplete() and not (self._refused or self.paused or self._busyReceiving):
            self._start_clock("request", REQUEST_SECONDS, self._too_slow)

    def _is_idle(self) -> bool:
        """Tell whether the next request could be answered as soon as it is here: nothing is under way, in any sense."""
        return (
            self._identity is not None
            and not (self.requests or self._buffer or self._clocks or self._waitingForTransport)
            and bool(self.persistent)
            and not self.site.draining
        )

    def _incomplete(self) -> bool:
        return not self._handlingRequest and bool(self.requests or self._buffer)

    def _too_slow(self) -> None:
        self.refuse(HTTPStatus.REQUEST_TIMEOUT, f"The request did not arrive within {REQUEST_SECONDS:.0f} s.")

    def lineReceived(self, line: bytes) -> None:
        """Bound the request line and the headers as a whole, and refuse folded headers."""
        first = not self._receivedHeaderSize
        if first and len(line) > REQUEST_LINE_BYTES:
            self.refuse(HTTPStatus.REQUEST_URI_TOO_LONG, f"The request line is longer than {REQUEST_LINE_BYTES} bytes.")
        elif self._receivedHeaderSize + len(line) > HEADER_BYTES:
            self._refuse_headers()
        elif not first and line[:1] in (b" ", b"\t"):
            self.refuse(HTTPStatus.BAD_REQUEST, "A header is folded over several lines.")
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Say what a line that never ends was about to be."""
        if self._receivedHeaderSize:
            self._refuse_headers()
        else:
            self.refuse(HTTPStatus.REQUEST_URI_TOO_LONG, f"The request line is longer than {REQUEST_LINE_BYTES} bytes.")

    def _refuse_headers(self) -> None:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self.refuse(status, f"The headers are longer than {HEADER_BYTES} bytes in all.")

    def headerReceived(self, line: bytes) -> bool:
        """Refuse the one transfer coding that Twisted ignores, and otherwise do as it does."""
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"transfer-encoding" and value.strip().lower() != b"chunked":
            self.refuse(HTTPStatus.BAD_REQUEST, "The only transfer coding of a request is 'chunked'.")
            return False
        if name.strip().lower() == b"content-length" and len(value.strip()) > _LENGTH_DIGITS:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is longer than {BODY_BYTES} bytes.")
            return False
        return cast("bool", super().headerReceived(line))

    def allContentReceived(self) -> None:
        """Stop the clock of the request and process it."""
        if self._refused:
            return
        self._stop_clock("request")
        super().allContentReceived()

    def rawDataReceived(self, data: bytes) -> None:
        """Take in body bytes, unless the request was refused on the way."""
        if not self._refused:
            super().rawDataReceived(data)

    def _send100Continue(self) -> None:
        if not self._refused:
            super()._send100Continue()

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Close after this response if the client asks so, or if the server is about to stop."""
        if self.site.draining:
            request.setHeader(b"connection", b"close")
            return False
        return cast("bool", super().checkPersistence(request, version))

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer an error and close; nothing more of this connection is read."""
        if self._refused:
            return
        self._refused = True
        self._stop_clock("request")
        offered = self.requests[-1].getHeader(b"x-request-id") if self.requests else None
        known_as = request_id(offered)
        self.site.log_refused(self, status, known_as.decode("ascii"))
        head, blank, body = bare_response(status, message, known_as).partition(b"\r\n\r\n")
        to_head = getattr(self, "_command", b"") == b"HEAD"  # Twisted's, there once the request line is read
        self.transport.write(head + blank + (b"" if to_head else body))
        self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(HTTPStatus.BAD_REQUEST, "The request is not proper HTTP/1.1.")

    def drain(self) -> None:
        """Close now if nothing is under way, else after the response, and say so in it."""
        self._take_up()
        if self.requests:
            self.persistent = 0
            self.requests[0].setHeader(b"Connection", b"close")
        else:
            self.loseConnection()

    def timeoutConnection(self) -> None:
        """Close a connection that has idled for long enough."""
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close in good order, or by force after 5 s if the peer does not answer (twisted#7926).

        An answer that the peer has not read yet keeps the time that it has for that.
        """
        unread = "write" in self._clocks
        super().loseConnection()
        if not unread:
            self._start_clock("close", CLOSE_SECONDS, self.transport.abortConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count the connection out and stop its clocks."""
        self._postponed = b""
        for name in list(self._clocks):
            self._stop_clock(name)
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
            self.paused = True
            self._networkProducer.pauseProducing()
        self._start_clock("write", WRITE_SECONDS, self.transport.abortConnection)

    def resumeProducing(self) -> None:
        """Go on, as the peer has read."""
        self._stop_clock("write")
        if not self._held:
            super().resumeProducing()
            if self.paused:
                self._read_on()

    def hold_back(self) -> None:
        """Read nothing more for a second from a client that asks more often than it may: refusals cost time, too."""
        if not self._held:
            self._held = self._waitingForTransport = self.paused = True
            self._networkProducer.pauseProducing()
            self._start_clock("hold", HOLD_SECONDS, self._let_go)

    def _let_go(self) -> None:
        self._held = False
        if "write" not in self._clocks:  # else the peer does not read, and reading on would pile up answers
            self._read_on()

    def _read_on(self) -> None:
        self._waitingForTransport = self.paused = False
        self._networkProducer.resumeProducing()
        self.dataReceived(b"")
