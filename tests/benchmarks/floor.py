"""The floor: what Twisted over TLS costs when nothing is done. For `twistd --python`.

Twisted's own TLS under the product's policy, with a protocol that answers the same bytes to each complete request head,
whatever it says.
"""

import os
from pathlib import Path

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from sre_server.security.tls import ServerTLS, TLSFiles


class Canned(Protocol):
    """Answers, and looks at nothing but the end of the head."""

    transport: ITransport
    answer = b""
    _head = b""

    def dataReceived(self, data: bytes) -> None:
        """Answer once the head is complete."""
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            self._head = b""
            self.transport.write(self.answer)


certificate, key, authority, answer = map(Path, os.environ["FLOOR"].splitlines())
Canned.answer = answer.read_bytes()
factory = Factory.forProtocol(Canned)
tls = ServerTLS(TLSFiles(certificate, key, authority))
endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1:backlog=1024")
application = Application("floor")
StreamServerEndpointService(endpoint, TLSMemoryBIOFactory(tls, False, factory)).setServiceParent(application)
