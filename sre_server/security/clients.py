"""Who the client of a connection is: its certificate is read once, and its validity checked on every request."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, dump_certificate

from sre_server.errors import NotIdentified
from sre_server.security.identity import Identity, fingerprint_of, identify
from sre_server.security.trust import Trust

Identify = Callable[..., Identity]
REMEMBERED: Final = 1024
"""Certificates whose identity is remembered: reading one costs a tenth of what the request does that comes with it."""


class Clients(Protocol):
    """Tells who is at the other end of connections."""

    def accepted(self) -> "Client":
        """Return what will know the client of a connection that is being accepted now."""


class Client(Protocol):
    """The other end of one connection."""

    def identity(self, transport: object) -> Identity:
        """Return who it is; raises NotIdentified for a certificate without a usable name, or one no longer trusted."""


class CertificateClients:
    """Recognises clients by the certificates of their TLS connections, as `trust` stands now; `identify` reads one."""

    def __init__(self, trust: Callable[[], Trust], identify: Identify = identify) -> None:
        self._trust = trust
        self._read = lru_cache(REMEMBERED)(_ClientChain)  # clients come back, with a new connection for each request
        self._identify = identify

    def accepted(self) -> Client:
        """See `Clients.accepted`: the handshake will be judged by the trust of now, or of later."""
        return CertificateClient(self._trust, self._read, self._identify)


class _ClientChain:
    """The certificates that a client proved, of their DER encodings, leaf first; and who that is, once it was read."""

    def __init__(self, *encoded: bytes) -> None:
        try:
            self.certificates = tuple(map(x509.load_der_x509_certificate, encoded))
        except (ValueError, x509.InvalidVersion) as error:
            raise NotIdentified(f"The client certificate cannot be read: {error}.") from error
        self.identity: Identity | None = None


class CertificateClient:
    """The client of one TLS connection."""

    def __init__(self, trust: Callable[[], Trust], read: Callable[..., _ClientChain], identify: Identify) -> None:
        self._trust = trust
        self._read = read
        self._identify = identify
        self._checked_by = trust()
        self._chain: _ClientChain | None = None
        self._identity: Identity | None = None

    def identity(self, transport: object) -> Identity:
        """See `Client.identity`; a certificate that has ended, or a CA that was withdrawn, counts at once."""
        if self._chain is None:
            self._chain = self._read(*verified_chain(transport))
        try:
            return self._identity_now(self._chain)
        except NotIdentified as error:
            error.certificate_sha256 = fingerprint_of(self._chain.certificates[0])
            raise

    def _identity_now(self, chain: _ClientChain) -> Identity:
        trust = self._trust()
        if self._identity is None:
            if chain.identity is None:
                chain.identity = self._identify(*chain.certificates)
            if trust is self._checked_by:  # so has OpenSSL just now
                trust.check_revoked(chain.certificates)
            self._identity = chain.identity
        if self._identity.not_after < datetime.now(UTC):
            raise NotIdentified("The client certificate, or one that vouches for it, has expired meanwhile.")
        if trust is not self._checked_by:
            trust.check(chain.certificates)
            self._checked_by = trust
        return self._identity


def verified_chain(transport: object) -> list[bytes]:
    """Return the chain that a TLS client proved, leaf first, each as DER; raises NotIdentified if there is none."""
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle is not None else None
    chain = handle.get_verified_chain() if isinstance(handle, SSL.Connection) else None
    if not chain:
        raise NotIdentified("The connection has no client certificate.")
    return [dump_certificate(FILETYPE_ASN1, certificate) for certificate in chain]
