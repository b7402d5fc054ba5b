"""The one place that knows Twisted's HTTP channel from the inside: its private parts, under names that say what for.

Twisted offers no public way to stop parsing, to see how much of a request has arrived, or to answer a malformed one
otherwise than with an empty 400. `PRIVATE` lists what is used; `tests/web/test_twisted_parts.py` says which releases
of Twisted have it, and setup.py admits no later one.
"""

from typing import Final

from twisted.internet.interfaces import IPushProducer
from twisted.web.http import HTTPChannel

PRIVATE: Final = (
    "_networkProducer",
    "_waitingForTransport",
    "_buffer",
    "_busyReceiving",
    "_handlingRequest",
    "_receivedHeaderSize",
    "_command",
    "_send100Continue",
    "_respondToBadRequestAndDisconnect",
)


class TwistedChannel(HTTPChannel):
    """Twisted's channel, with names for what it keeps to itself."""

    def read_through(self, producer: IPushProducer) -> None:
        """Pause and resume this instead of the transport from now on."""
        self._networkProducer = producer

    def pause_reading(self) -> None:
        """Let the peer's bytes wait in the kernel."""
        self._networkProducer.pauseProducing()

    def resume_reading(self) -> None:
        """Take the peer's bytes again."""
        self._networkProducer.resumeProducing()

    def pause_parsing(self) -> None:
        """Neither read nor parse: what has been received stays where it is."""
        self._waitingForTransport = self.paused = True
        self.pause_reading()

    def resume_parsing(self) -> None:
        """Read and parse again, beginning with what has been received already."""
        self._waitingForTransport = self.paused = False
        self.resume_reading()

    @property
    def is_blocked(self) -> bool:
        """Whether it waits for its transport, or for `resume_parsing`."""
        return bool(self._waitingForTransport)

    @property
    def is_between_requests(self) -> bool:
        """Whether every byte so far belongs to a request that has been answered, and another one may begin."""
        return not (self.requests or self._buffer or self._waitingForTransport) and bool(self.persistent)

    @property
    def is_mid_request(self) -> bool:
        """Whether the parser waits for the rest of a request."""
        return not (self._handlingRequest or self.paused or self._busyReceiving) and bool(self.requests or self._buffer)

    @property
    def received_header_bytes(self) -> int:
        """How many bytes of the request line and the headers have been parsed; 0 before the request line."""
        return self._receivedHeaderSize

    @property
    def parsed_method(self) -> bytes:
        """The method of the request that is being received, or nothing before its request line is read."""
        return getattr(self, "_command", b"")

    def send_continue(self) -> None:
        """Send `100 Continue`; called where a request expects it."""
        super()._send100Continue()

    def refuse_malformed(self) -> None:
        """Answer bytes that are not HTTP/1.1, and close."""
        super()._respondToBadRequestAndDisconnect()

    def _send100Continue(self) -> None:
        self.send_continue()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse_malformed()
