"""Twisted's TLS from the inside, with a shorter way for what nearly every read and every answer is: one record.

For each read Twisted asks OpenSSL for a second record, and for output, that are not there; each asks in vain, and that
costs more than the record itself. `PRIVATE` lists what is used of Twisted's; see `sre_server.web.twisted_channel`.
"""

from typing import Final

from OpenSSL import SSL
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOProtocol

PRIVATE: Final = (
    "_tlsConnection",
    "_flushReceiveBIO",
    "_handshakeDone",
    "_appSendBuffer",
    "_lostTLSConnection",
    "_aborted",
    "_aggregator",
)
_HEADER_BYTES: Final = 5
_RECORD_BYTES: Final = 2**14


class ShortcutTLSTransport(BufferingTLSTransport):
    """Twisted's TLS, shorter where what was received is exactly one record of application data."""

    _left = 0
    """How many bytes of the record that was received last are still to come."""
    _header = b""
    """What has come of the header of the next record."""

    def dataReceived(self, bytes: bytes) -> None:  # noqa: A002  # Twisted's name
        """Decrypt what was received."""
        if self._is_one_record(bytes):
            self._tlsConnection.bio_write(bytes)
            try:
                data = self._tlsConnection.recv(_RECORD_BYTES)
            except SSL.Error:
                self._flushReceiveBIO()  # runs into the same, and knows what to do: an alert, new keys, the end
            else:
                self.wrappedProtocol.dataReceived(data)
            return
        self._follow(bytes)
        super().dataReceived(bytes)

    def _is_one_record(self, data: bytes) -> bool:
        return (
            data[:1] == b"\x17"  # application data (RFC 8446, section 5.1)
            and len(data) == record_length(data)
            and not (self._left or self._header or self._appSendBuffer or self._lostTLSConnection or self._aborted)
            and bool(self._handshakeDone)
        )

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
        self._aggregator.flush()
        TLSMemoryBIOProtocol.write(self, data)


def record_length(data: bytes) -> int:
    """Return how long the record is that `data` begins with, header included; 5 if the header is not whole yet."""
    return _HEADER_BYTES + int.from_bytes(data[3:_HEADER_BYTES])
