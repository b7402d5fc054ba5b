"""Twisted's TLS from the inside, with a shorter way for what nearly every read and every answer is: one record.

For each read Twisted asks OpenSSL for a second record, and for output, that are not there; each asks in vain, and that
costs more than the record itself. `PRIVATE` lists what is used of Twisted's; see `sre_server.web.twisted_channel`.
"""

from collections.abc import Callable
from typing import Final

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocol, ITransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

PRIVATE: Final = (
    "_flushReceiveBIO",
    "_shutdownTLS",
    "_tlsShutdownFinished",
    "_lostTLSConnection",
    "_handshakeDone",
    "_aborted",
    "_aggregator",
)
_HEADER_BYTES: Final = 5
_DATA: Final = 23
"""The type of a record that may have data (RFC 8446, section 5.1)."""
_RECORD_BYTES: Final = 2**14
_BIO_BYTES: Final = 2**15


class Records:
    """The TLS records of one connection: taken apart, and made, in few steps where each is one that has only data.

    It is no part of the transport, as each look at an attribute of that goes through `ProtocolWrapper.__getattr__`.
    """

    def __init__(self, transport: "ShortcutTLSTransport") -> None:
        self._transport = transport
        self._tls: SSL.Connection | None = None
        self._left = 0
        self._header = b""

    def begin(self, tls: SSL.Connection, flush: Callable[[], None]) -> None:
        """Take the shorter way from now on, as the handshake is done; `flush` sends what waits to be sent."""
        self._tls, self._flush = tls, flush
        self._deliver = self._transport.wrappedProtocol.dataReceived
        self._send = self._transport.transport.write

    def end(self) -> None:
        """Take Twisted's way for all that is still to come."""
        self._tls = None

    def take(self, data: bytes) -> None:
        """Decrypt what was received."""
        tls = self._tls
        if tls is None or not self.is_one(data):
            self._follow(data)
            self._transport.decrypt(data)
            return
        tls.bio_write(data)
        try:
            received = tls.recv(_RECORD_BYTES)
        except SSL.Error:
            self._transport.decrypted()  # runs into the same, and knows what to do: an alert, new keys, the end
        else:
            self._deliver(received)

    def is_one(self, data: bytes) -> bool:
        """Tell whether this is exactly one record, and one that may have data."""
        return len(data) == record_length(data) and data[0] == _DATA and not (self._left or self._header)

    def _follow(self, data: bytes) -> None:
        """Keep track of where records begin, so that the middle of one is never taken for a beginning."""
        at = 0
        while at < len(data):
            if not self._left:
                missing = _HEADER_BYTES - len(self._header)
                self._header += data[at : at + missing]
                at += missing
                if len(self._header) < _HEADER_BYTES:
                    return
                self._left, self._header = int.from_bytes(self._header[3:]), b""
            step = min(self._left, len(data) - at)
            self._left -= step
            at += step

    def write_now(self, data: bytes) -> None:
        """Encrypt and send, after what waits to be sent, without waiting for more to send along with it."""
        if self._tls is None or len(data) > _RECORD_BYTES:
            self._transport.write_through(data)
            return
        self._flush()
        try:
            sent = self._tls.send(data)
            record = self._tls.bio_read(_BIO_BYTES)
        except SSL.Error:
            self._transport.write_through(data)  # as in `take`
        else:
            self._send(record)
            if sent < len(data):  # the client wants shorter records (RFC 6066, section 4)
                self._transport.write_through(data[sent:])


class ShortcutTLSTransport(BufferingTLSTransport):
    """Twisted's TLS, with `records` for what is received, and for what is to be sent at once."""

    transport: ITransport
    _goes_on = False

    def __init__(self, factory: TLSMemoryBIOFactory, wrappedProtocol: IProtocol, _connectWrapped: bool = True) -> None:
        super().__init__(factory, wrappedProtocol, _connectWrapped)
        self.records = Records(self)
        self.write_now = self.records.write_now

    def decrypt(self, data: bytes) -> None:
        """Decrypt what was received in Twisted's way."""
        super().dataReceived(data)
        if self._handshakeDone and not self._aborted and not self._goes_on:
            self.records.begin(self.getHandle(), self._aggregator.flush)

    def decrypted(self) -> None:
        """Deliver what OpenSSL has decrypted, in Twisted's way."""
        self._flushReceiveBIO()

    def peer_ended(self) -> bool:
        """Tell whether this end has still something to say, and will lose the connection then, as the peer is done."""
        return False

    def _shutdownTLS(self) -> None:
        # A close_notify ends one direction alone (RFC 8446, 6.1); Twisted would answer it at once.
        has_ended = bool(self.getHandle().get_shutdown() & SSL.RECEIVED_SHUTDOWN)
        self._goes_on = has_ended and not self.disconnecting and self.peer_ended()
        if self._goes_on:
            self.records.end()
            self.dataReceived = _ignore  # type: ignore[method-assign, assignment]  # as Twisted's own `write`
        else:
            self._aggregator.flush()
            super()._shutdownTLS()

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        if self._goes_on:
            self._lostTLSConnection = True  # so that Twisted asks for no more; see `_flushReceiveBIO`
            return
        # Twisted asks what OpenSSL says of an error: of a close_notify amid the handshake, nothing.
        super()._tlsShutdownFinished(None if reason is not None and reason.check(SSL.ZeroReturnError) else reason)

    def _flushReceiveBIO(self) -> None:
        super()._flushReceiveBIO()
        if self._goes_on:
            self._lostTLSConnection = False  # what is still to be said is said

    def write_through(self, data: bytes) -> None:
        """Encrypt and send in Twisted's way, after what waits to be sent."""
        self._aggregator.flush()
        TLSMemoryBIOProtocol.write(self, data)

    def dataReceived(self, bytes: bytes) -> None:  # noqa: A002  # Twisted's name
        """Decrypt what was received."""
        self.records.take(bytes)

    def abortConnection(self) -> None:
        """Deliver nothing more."""
        self.records.end()
        super().abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of the connection."""
        self.records.end()
        super().connectionLost(reason)


def record_length(data: bytes) -> int:
    """Return how long the record is that `data` begins with, header included; 5 if the header is not whole yet."""
    return _HEADER_BYTES + int.from_bytes(data[3:_HEADER_BYTES])


def _ignore(_: bytes) -> None:
    """Ignore what comes after a close_notify (RFC 8446, 6.1)."""
