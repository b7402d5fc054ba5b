"""The HTTP/1.1 site: what is not exactly one plain request is refused here, in JSON, before any handler runs.

Twisted's parser is strict on most of RFC 9112; the rows that it lets through (field-notes.md section 4, the bold ones)
are refused by `Channel` and `APIRequest`. HTTP/2 is never offered: the channel is not the negotiating one.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Final, cast
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from sre_server.api.answers import JSON, bare_response, error_body, request_id

IDLE_SECONDS: Final = 60
REQUEST_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0
IDLE_DRAIN_SECONDS: Final = 1.0
REQUEST_LINE_BYTES: Final = 8192
HEADER_BYTES: Final = 16384
BODY_BYTES: Final = 4096
# The visible characters of a path; anything else, once unquoted, has no business in a Kubernetes name.
_PATH_BYTES: Final = frozenset(range(0x21, 0x7F)) - frozenset(b'"<>\\^`{|}')
_TARGET_BYTES: Final = frozenset(range(0x21, 0x7F))
_METHOD_BYTES: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
# RFC 3986, section 3.2.2, loosely: no white space, no delimiter of another part of a URL, nothing beyond ASCII.
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_LENGTH_DIGITS: Final = 18


class APIRequest(Request):
    """A request whose body stays in memory, whose failures are JSON, and which always carries a request id."""

    defaultContentType = JSON
    channel: "Channel"
    content: BytesIO
    started_at = 0.0
    log = Logger()

    def gotLength(self, length: int | None) -> None:
        """Begin the body: never a temporary file, whatever the length (Twisted's own starts one at 100 kB)."""
        self.content = BytesIO()
        if length is not None and length > BODY_BYTES:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """Take in a piece of the body, up to the limit."""
        if self.content.tell() + len(data) > BODY_BYTES:
            self._refuse_body()
        else:
            super().handleContentChunk(data)

    def _refuse_body(self) -> None:
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        self.channel.refuse(status, f"The body is longer than {BODY_BYTES} bytes, more than any request here needs.")

    def process(self) -> None:
        """Refuse what is ambiguous, then hand over to the resource."""
        self.started_at = self.channel.site.now()
        self.setHeader(b"X-Request-Id", request_id(self.getHeader(b"x-request-id")))
        if problem := self._problem():
            self.channel.persistent = 0
            self.setHeader(b"Connection", b"close")
            self.respond(HTTPStatus.BAD_REQUEST, problem)
        else:
            super().process()

    def _problem(self) -> str | None:
        """Say what makes this request ambiguous or malformed (RFC 9112 sections 3.2, 6.1), or None."""
        hosts = self.requestHeaders.getRawHeaders(b"host") or []
        if len(hosts) > 1 or (not hosts and self.clientproto == b"HTTP/1.1"):
            return "An HTTP/1.1 request has exactly one Host header."
        if hosts and not _HOST.fullmatch(hosts[0]):
            return "The Host header names no host."
        if self.requestHeaders.hasHeader(b"transfer-encoding"):
            if self.clientproto != b"HTTP/1.1":
                return "HTTP/1.0 has no Transfer-Encoding."
            if self.requestHeaders.hasHeader(b"content-length"):
                return "A request has Content-Length or Transfer-Encoding, not both."
        if not _METHOD_BYTES.issuperset(self.method):
            return "The method is not one that HTTP knows."
        if not self.path.startswith(b"/") or not _TARGET_BYTES.issuperset(self.uri):
            return "The request target is a path that begins with '/', in visible ASCII."
        return _path_problem(self.path)

    def getRequestHostname(self) -> bytes:
        """Tell routing one name, always: no route depends on it, and werkzeug fails on names that IDNA refuses."""
        return b"localhost"

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer 500 without a word of the cause, which the log has under the request id."""
        self.log.failure("request {request_id} failed", failure=reason, request_id=self.request_id)
        self.respond(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here; the log has it under X-Request-Id.")
        return reason

    def respond(self, status: HTTPStatus, message: str) -> None:
        """Finish with an error body."""
        body = error_body(message)
        self.setResponseCode(status)
        self.setHeader(b"Content-Type", JSON)
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.setHeader(b"Cache-Control", b"no-store")
        self.write(body)
        self.finish()

    @property
    def request_id(self) -> str:
        """The id that this request is logged and answered under."""
        values = self.responseHeaders.getRawHeaders(b"x-request-id") or [b"-"]
        return values[0].decode("ascii")


def _path_problem(path: bytes) -> str | None:
    """Say what is wrong with a path on its face; names are checked where they are used."""
    plain = unquote_to_bytes(path)
    if not _PATH_BYTES.issuperset(plain):
        return "The path contains a character that no URL of this server has."
    if plain.count(b"/") != path.count(b"/"):
        return "The path contains an encoded slash."
    segments = plain.split(b"/")[1:]
    if b"." in segments or b".." in segments or b"" in segments[:-1]:
        return "The path contains an empty, '.' or '..' segment."
    return None


class Channel(HTTPChannel):
    """One connection: bounded in bytes and in time, and able to refuse in JSON."""

    transport: ITCPTransport

    site: "APISite"
    requestFactory = APIRequest
    MAX_LENGTH = HEADER_BYTES
    totalHeadersSize = 2 * HEADER_BYTES  # never reached: `lineReceived` refuses first, with a better status

    _refused = False
    _deadline: IDelayedCall | None = None
    _closing: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Count the connection in."""
        super().connectionMade()
        self.site.channels.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Parse, and give a request that is still incomplete 10 s in total, however it drips."""
        if self._refused:
            return
        super().dataReceived(data)
        if self._deadline is None and self._incomplete() and not self._refused:
            self._deadline = self.callLater(REQUEST_SECONDS, self._too_slow)

    def _incomplete(self) -> bool:
        return not self._handlingRequest and bool(self.requests or self._buffer)

    def _too_slow(self) -> None:
        self._deadline = None
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
        self._cancel_deadline()
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
        self._cancel_deadline()
        offered = self.requests[-1].getHeader(b"x-request-id") if self.requests else None
        known_as = request_id(offered)
        self.site.log_refused(self, status, known_as.decode("ascii"))
        self.transport.write(bare_response(status, message, known_as))
        self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(HTTPStatus.BAD_REQUEST, "The request is not proper HTTP/1.1.")

    def drain(self) -> None:
        """Close now if nothing is under way, else after the response, and say so in it."""
        if self.requests:
            self.persistent = 0
            self.requests[0].setHeader(b"Connection", b"close")
        else:
            self.loseConnection()

    def timeoutConnection(self) -> None:
        """Close a connection that has idled for long enough."""
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close in good order, or by force after 5 s if the peer does not answer (twisted#7926)."""
        super().loseConnection()
        if self._closing is None:
            self._closing = self.callLater(CLOSE_SECONDS, self.transport.abortConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count the connection out and stop its clocks."""
        self.site.channels.discard(self)
        self._cancel_deadline()
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        super().connectionLost(reason)
        self.site.channel_closed()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


class APISite(Site):
    """The factory of channels: knows which are open, can drain them, and writes the access log."""

    protocol = Channel  # type: ignore[assignment]  # not the generic one, which can switch to HTTP/2
    access = Logger()
    noisy = False
    quiet_paths = frozenset({b"/livez", b"/readyz"})

    def __init__(self, resource: IResource, reactor: IReactorTime) -> None:
        super().__init__(
            resource, requestFactory=APIRequest, timeout=IDLE_SECONDS, reactor=reactor, parsePOSTFormSubmission=False
        )
        self.now: Callable[[], float] = reactor.seconds
        self.channels: set[Channel] = set()
        self.draining = False
        self._patient = True
        self._drained: Deferred[None] = Deferred()

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
        self.reactor.callLater(IDLE_DRAIN_SECONDS, self._stop_waiting_for_idle)
        self.channel_closed()
        return self._drained

    def _stop_waiting_for_idle(self) -> None:
        self._patient = False
        self.channel_closed()

    def channel_closed(self) -> None:
        """Note that a channel is gone; the last one that is waited for ends a drain."""
        waited_for = self.channels if self._patient else [channel for channel in self.channels if channel.requests]
        if self.draining and not waited_for and not self._drained.called:
            self._drained.callback(None)

    def abort(self) -> None:
        """Close every connection by force."""
        for channel in list(self.channels):
            channel.transport.abortConnection()

    def log(self, request: HTTPRequest) -> None:
        """Write one access line per answer; a health probe that went well is not worth one."""
        if not isinstance(request, APIRequest) or (request.path in self.quiet_paths and request.code == HTTPStatus.OK):
            return
        self.access.info(
            "{address} {method} {path} {status} {size}B {milliseconds:.1f}ms {request_id}",
            address=_host(request.getClientAddress()),
            method=request.method.decode("ascii", "replace"),
            path=request.path.decode("latin-1").encode("unicode_escape").decode("ascii"),
            status=int(request.code),
            size=request.sentLength,
            milliseconds=(self.now() - request.started_at) * 1000,
            request_id=request.request_id,
        )

    def log_refused(self, channel: Channel, status: HTTPStatus, known_as: str) -> None:
        """Write the access line of what never became a request."""
        self.access.info(
            "{address} - - {status} {request_id}",
            address=_host(channel.getPeer()),
            status=status.value,
            request_id=known_as,
        )


def _host(address: IAddress) -> str:
    return str(getattr(address, "host", "-"))
