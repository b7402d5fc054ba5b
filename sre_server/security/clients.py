"""Who the client of a connection is: its certificate is read once, and its validity checked on every request."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol

from cryptography import x509
from OpenSSL import SSL

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
        self._identify = lru_cache(REMEMBERED)(identify)  # clients come back, with a new connection for each request

    def accepted(self) -> Client:
        """See `Clients.accepted`: the handshake will be judged by the trust of now, or of later."""
        return CertificateClient(self._trust, self._identify)


class CertificateClient:
    """The client of one TLS connection."""

    def __init__(self, trust: Callable[[], Trust], identify: Identify) -> None:
        self._trust = trust
        self._identify = identify
        self._checked_by = trust()
        self._chain: Sequence[x509.Certificate] = ()
        self._identity: Identity | None = None

    def identity(self, transport: object) -> Identity:
        """See `Client.identity`; a certificate that has ended, or a CA that was withdrawn, counts at once."""
        if not self._chain:
            self._chain = verified_chain(transport)
        try:
            return self._identity_now()
        except NotIdentified as error:
            error.certificate_sha256 = fingerprint_of(self._chain[0])
            raise

    def _identity_now(self) -> Identity:
        trust = self._trust()
        if self._identity is None:
            identity = self._identify(*self._chain)
            if trust is self._checked_by:  # so has OpenSSL just now
                trust.check_revoked(self._chain)
            self._identity = identity
        if self._identity.not_after < datetime.now(UTC):
            raise NotIdentified("The client certificate, or one that vouches for it, has expired meanwhile.")
        if trust is not self._checked_by:
            trust.check(self._chain)
            self._checked_by = trust
        return self._identity


def verified_chain(transport: object) -> Sequence[x509.Certificate]:
    """Return the chain that a TLS transport's client proved, leaf first; raises NotIdentified if there is none."""
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle is not None else None
    chain = handle.get_verified_chain(as_cryptography=True) if isinstance(handle, SSL.Connection) else None
    if not chain:
        raise NotIdentified("The connection has no client certificate.")
    return chain
