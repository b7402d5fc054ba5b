"""The bytes of requests, bounded: what is too long, or is not proper HTTP/1.1, is refused before it is a request."""

from http import HTTPStatus
from typing import Final, cast

from twisted.internet.interfaces import ITCPTransport

from sre_server.web.answers import bare_response, request_id
from sre_server.web.interfaces import Host
from sre_server.web.request import BODY_BYTES
from sre_server.web.twisted_channel import TwistedChannel

REQUEST_LINE_BYTES: Final = 8192
HEADER_BYTES: Final = 16384
MAX_HEADERS: Final = 500
_LENGTH_DIGITS: Final = 18


class BoundedChannel(TwistedChannel):
    """Twisted's channel, with bounds of ours on what it parses; nothing is taken in any more once `is_refused`."""

    MAX_LENGTH = HEADER_BYTES
    totalHeadersSize = 2 * HEADER_BYTES  # never reached: `lineReceived` refuses first, with a better status
    maxHeaders = 2 * MAX_HEADERS  # likewise

    transport: ITCPTransport
    site: Host
    address = "-"
    """The address of the other end, for logs."""
    is_refused = False
    _header_lines = 0

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer an error and close; nothing more of this connection is read."""
        if self.is_refused:
            return
        self.is_refused = True
        offered = self.requests[-1].getHeader(b"x-request-id") if self.requests else None
        known_as = request_id(offered)
        self.site.log_refused(self.address, status, known_as)
        head, blank, body = bare_response(status, message, known_as).partition(b"\r\n\r\n")
        self.transport.write(head + blank + (b"" if self.parsed_method == b"HEAD" else body))
        self.loseConnection()

    def lineReceived(self, line: bytes) -> None:
        """Bound the request line and the headers as a whole, and refuse folded headers."""
        first = not self.received_header_bytes
        if first and len(line) > REQUEST_LINE_BYTES:
            self.refuse(HTTPStatus.REQUEST_URI_TOO_LONG, f"The request line is longer than {REQUEST_LINE_BYTES} bytes.")
        elif self.received_header_bytes + len(line) > HEADER_BYTES:
            self._refuse_headers()
        elif not first and line[:1] in (b" ", b"\t"):
            self.refuse(HTTPStatus.BAD_REQUEST, "A header is folded over several lines.")
        elif line and not first and self._header_lines >= MAX_HEADERS:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"There are more than {MAX_HEADERS} headers.")
        else:
            self._header_lines = 0 if first else self._header_lines + 1
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Say what a line that never ends was about to be."""
        if self.received_header_bytes:
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
        """Process the request, unless it was refused."""
        if not self.is_refused:
            super().allContentReceived()

    def rawDataReceived(self, data: bytes) -> None:
        """Take in body bytes, unless the request was refused on the way."""
        if not self.is_refused:
            super().rawDataReceived(data)

    def send_continue(self) -> None:
        """Ask for the body, unless the request was refused already."""
        if not self.is_refused:
            super().send_continue()

    def refuse_malformed(self) -> None:
        """Answer 400 in JSON."""
        self.refuse(HTTPStatus.BAD_REQUEST, "The request is not proper HTTP/1.1.")
