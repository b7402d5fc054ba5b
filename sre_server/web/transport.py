"""Mutual TLS before a site: who may begin a handshake, and in whose turn the bytes of a connection are decrypted."""

from typing import Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IStreamServerEndpoint,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sre_server.web.channel import Channel
from sre_server.web.intake import Intake, IStream
from sre_server.web.site import APISite
from sre_server.web.stalls import unacknowledged
from sre_server.web.twisted_tcp import poll_together
from sre_server.web.twisted_tls import ShortcutTLSTransport, record_length

_HEADER_BYTES: Final = 5
_HANDSHAKE: Final = 22
"""The type of a TLS record that has a ClientHello (RFC 8446, section 5.1)."""


class FairTLSTransport(ShortcutTLSTransport):
    """The TLS of one connection: bounded before its handshake, and decrypting a piece at a time from then on."""

    factory: "FairTLSFactory"
    wrappedProtocol: Channel
    transport: IStream

    def makeConnection(self, transport: ITransport) -> None:
        """Begin, and wait for the ClientHello."""
        channel = self.wrappedProtocol
        self._hello: bytes | None = b""
        self._intake = channel.intake = Intake(
            self.factory.site.turns, channel.fairness_key, self.records.take, cast("IStream", transport)
        )
        super().makeConnection(transport)

    def dataReceived(self, bytes: bytes) -> None:  # noqa: A002  # Twisted's name
        """Take in what was received; a ClientHello counts as a handshake once it is whole, and nothing does before."""
        if self._hello is not None:
            self._hello += bytes
            if not _is_whole(self._hello):
                return
            bytes, self._hello = self._hello, None  # noqa: A001
            if not self.factory.site.connections.may_shake_hands(self.wrappedProtocol.address):
                self.abortConnection()
                return
            self.dataReceived = self._intake.take  # type: ignore[method-assign, assignment]  # as Twisted's own `write`
        self._intake.take(bytes)

    def decrypt(self, data: bytes) -> None:
        """Decrypt a piece, and hand on at once what was in it."""
        with self.wrappedProtocol.at_once():
            super().decrypt(data)

    def peer_ended(self) -> bool:
        """Answer all that came before the peer's close_notify, and ignore what came after it."""
        self.wrappedProtocol.process_collected()
        if self.wrappedProtocol.is_done and unacknowledged(self.transport) == 0:
            return False  # Twisted's way is enough, and costs less
        self._intake.forget()
        self.wrappedProtocol.readConnectionLost()
        return not self.disconnecting

    def pauseProducing(self) -> None:
        """Stop reading, as the channel wants."""
        self._intake.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again, unless it is others' turn."""
        self._intake.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget what was still to be decrypted."""
        self._intake.stopProducing()
        super().connectionLost(reason)


def _is_whole(hello: bytes) -> bool:
    """Tell whether the first record is complete; what is not a handshake is for OpenSSL to refuse at once."""
    return hello[0] != _HANDSHAKE or (len(hello) > _HEADER_BYTES and len(hello) >= record_length(hello))


class FairTLSFactory(TLSMemoryBIOFactory):
    """Makes the TLS end of each connection that the site has room for; others are closed at once."""

    noisy = False
    protocol = FairTLSTransport

    def __init__(self, tls: IOpenSSLServerConnectionCreator, site: APISite) -> None:
        super().__init__(tls, False, site)
        self.site = site

    # Twisted's annotation forgets that a factory may decline, as IProtocolFactory lets it.
    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        """Make the TLS end of a connection, or nothing."""
        return super().buildProtocol(addr) if self.site.admits(addr) else None


@implementer(IStreamServerEndpoint)
class MutualTLSEndpoint:
    """Wraps any stream endpoint, such as `tcp:8443`, in a TLS policy, for a site."""

    def __init__(self, endpoint: IStreamServerEndpoint, tls: IOpenSSLServerConnectionCreator) -> None:
        self._endpoint = endpoint
        self._tls = tls

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen, and speak TLS before anything else."""
        if not isinstance(protocolFactory, APISite):
            raise TypeError("a site is what this endpoint is for")
        listening = self._endpoint.listen(FairTLSFactory(self._tls, protocolFactory))
        return listening.addCallback(poll_together, protocolFactory.turns.begin)
