"""One HTTP request: what makes it ambiguous or malformed, who sent it, and how it fails.

Twisted's parser is strict on most of RFC 9112. Of what it lets through, what concerns a whole request is refused here,
and what concerns bytes on the way by `Channel`.
"""

import re
from http import HTTPStatus
from io import BytesIO
from typing import Final
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from twisted.web.server import Request

from sre_server.errors import NotIdentified, SreServerError, TooManyRequests
from sre_server.security.identity import Identity
from sre_server.web.answers import JSON, error_body, request_id
from sre_server.web.interfaces import Connection, Host
from sre_server.web.unsent import LONG_BYTES, BodySender

BODY_BYTES: Final = 4096
# The visible characters of a path; anything else, once unquoted, has no business in a Kubernetes name.
_PATH_BYTES: Final = frozenset(range(0x21, 0x7F)) - frozenset(b'"<>\\^`{|}')
_TARGET_BYTES: Final = frozenset(range(0x21, 0x7F))
_METHOD_BYTES: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
# RFC 3986, section 3.2.2, loosely: no white space, no delimiter of another part of a URL, nothing beyond ASCII.
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")


class APIRequest(Request):
    """A request whose body stays in memory, whose failures are JSON, and which always carries a request id."""

    defaultContentType = JSON
    channel: Connection  # type: ignore[assignment]  # no more of Twisted's channel than that
    _connection: Connection
    """The same, once the request is here whole: Twisted forgets it when the client leaves, and work goes on."""
    site: Host  # type: ignore[assignment]
    content: BytesIO
    route = "none"
    """The template of the URL, once it is known; for metrics."""
    identity: Identity | None = None
    """Who asks, once the request is here whole; None where that is unclear, and `_unidentified` says why."""
    _unidentified: SreServerError | None = None
    charged = False
    """Whether it was counted against how often its client may ask."""
    started_at = 0.0
    waited = 0.0
    """So many seconds it waited because its client wanted that: they do not count as time that an answer took."""
    begun = False
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

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """Set the status, and the phrase that the standard library has for it: Twisted's own list lacks 422 and 429."""
        super().setResponseCode(code, message or HTTPStatus(code).phrase.encode("ascii"))

    def process(self) -> None:
        """Refuse what is ambiguous, then hand over to the resource."""
        self._connection = self.channel
        self.started_at = self.channel.site.now()
        self.begun = True
        self.channel.site.began(self)
        self.setHeader(b"X-Request-Id", request_id(self.getHeader(b"x-request-id")).encode("ascii"))
        self.setHeader(b"Date", datetimeToString())
        if problem := self._problem():
            self.close_afterwards()
            self.respond(HTTPStatus.BAD_REQUEST, problem)
        else:
            self._ask_who()
            if isinstance(self._unidentified, TooManyRequests):
                self._refuse_connection(self._unidentified)
                return
            self.channel.site.turns.take(self.channel.fairness_key(), self._serve)

    def _refuse_connection(self, error: TooManyRequests) -> None:
        """Answer the first request of a connection that is one too many, whatever it asks."""
        self.close_afterwards()
        self.setHeader(b"Retry-After", b"%d" % (error.retry_after or 1))
        self.respond(HTTPStatus.TOO_MANY_REQUESTS, str(error))

    def _ask_who(self) -> None:
        """Identify the client, once for all who want to know."""
        try:
            self.identity = self.channel.identify()
        except SreServerError as error:
            self._unidentified = error.with_traceback(None)  # its frames have all that was received

    def _serve(self) -> None:
        """Do as Twisted does, but for a header that names its version."""
        if self.channel is None:  # the client has gone while others had their turn
            return
        self.site = self.channel.site
        self.prepath: list[bytes] = []
        self.postpath = [unquote_to_bytes(segment) for segment in self.path[1:].split(b"/")]
        try:
            self.render(self.site.getResourceFor(self))
        except Exception:  # noqa: BLE001  # it is answered, and logged
            self.processingFailed(Failure())

    def getHeader(self, key: str | bytes) -> bytes | None:  # type: ignore[override]  # of Twisted's two forms, one
        """Return all lines of a field as the one list that they are (RFC 9110, section 5.3); None if there is none.

        A field that is not a list, and stands there twice, has a value so that nothing takes for a proper one.
        """
        lines = self.requestHeaders.getRawHeaders(key.encode("ascii") if isinstance(key, str) else key)
        return b", ".join(lines) if lines else None

    def _problem(self) -> str | None:
        """Say what makes this request ambiguous or malformed (RFC 9112 sections 3.2, 6.1), or None."""
        hosts = self.requestHeaders.getRawHeaders(b"host") or []
        if len(hosts) > 1 or (not hosts and self.clientproto == b"HTTP/1.1"):
            return "An HTTP/1.1 request has exactly one Host header."
        if hosts and not is_host(hosts[0]):
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

    def check_unsent(self, size: int) -> None:
        """Raise TooManyRequests if the client has too much to read already for a body of so many bytes more."""
        self.channel.site.unsent.check(self.channel.fairness_key(), size)

    def send(self, body: bytes) -> bytes | Deferred[None]:
        """Return a short body, for Klein to write; write a long one as it is read, and fire when that is done."""
        if len(body) <= LONG_BYTES or self.method == b"HEAD":
            return body
        unsent, client = self.channel.site.unsent, self.channel.fairness_key()
        unsent.add(client, len(body))

        def done(_: object) -> None:
            unsent.remove(client, len(body))

        return BodySender(body, self).sent.addBoth(done)

    def resumed(self, waited: float) -> Deferred[None]:
        """Go on when it is this client's turn, after it waited for so long: many who wait for one thing go on at once.

        The Deferred fires at once or later.
        """
        self.waited += waited
        turn: Deferred[None] = Deferred()
        self.channel.site.turns.take(self.channel.fairness_key(), lambda: turn.callback(None))
        return turn

    @property
    def counted_for(self) -> str:
        """The client's name, or its address where it has none: whom to count this for."""
        return self.channel.fairness_key()

    def identify(self) -> Identity:
        """Return who is at the other end; raises NotIdentified."""
        if self.identity is None:
            raise self._unidentified or NotIdentified("The request has not been received yet.")
        return self.identity

    def identify_again(self) -> Identity:
        """Return who is, or was, at the other end now, after a wait; raises NotIdentified."""
        return self._connection.identify()

    def close_afterwards(self) -> None:
        """Close the connection after this answer, and say so in it."""
        self._connection.persistent = 0
        self.setHeader(b"Connection", b"close")

    def hold_back(self) -> None:
        """Read nothing more of this connection for a second, as its client asks more often than it may."""
        self.channel.hold_back()

    def connectionLost(self, reason: Failure) -> None:
        """Be left without an answer: the client has gone."""
        if self.begun and not self.finished:
            self.channel.site.left(self)
        super().connectionLost(reason)

    @property
    def address(self) -> str:
        """The address that the request came from."""
        return self._connection.address

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


def is_host(value: bytes) -> bool:
    """Tell whether the value of a Host header names a host."""
    return _HOST.fullmatch(value) is not None


def host_of(address: object) -> str:
    """Return the host of an address as text, `-` where it has none."""
    return str(getattr(address, "host", "-"))
