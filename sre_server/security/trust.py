"""Whom we trust to vouch for clients, and whom they no longer vouch for: CAs and revocation lists.

OpenSSL judges each handshake, and we look up its chain in the revocation lists once more. A connection may outlive its
certificate's good standing, so `Trust.check` judges all of it again on the first request after a file changed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from msgspec import Struct
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags

from sre_server.errors import NotIdentified
from sre_server.security.pem import TLSFilesError, read_pem
from sre_server.security.revocations import RevocationList, key_of, load_revocations, newest

CRL_HAS_EXPIRED: Final = 12  # X509_V_ERR_CRL_HAS_EXPIRED
_WITHOUT_ROOT: Final = frozenset({2, 20, 21})  # X509_V_ERR_UNABLE_TO_...: GET_ISSUER_CERT, ..._LOCALLY, VERIFY_LEAF


class Trust(Struct, frozen=True, eq=False):
    """The client CAs and, if there are any, their revocation lists; `revoked` has serial numbers by the CA's key."""

    authorities: tuple[x509.Certificate, ...]
    revocations: tuple[RevocationList, ...]
    store: X509Store
    revoked: Mapping[bytes, Set[int]]

    def check(self, chain: Sequence[x509.Certificate]) -> None:
        """Raise NotIdentified unless this chain, leaf first, leads to a CA of ours and nothing in it is revoked."""
        if not chain:
            raise NotIdentified("The connection has no client certificate.")
        leaf, *others = (X509.from_cryptography(certificate) for certificate in chain)
        try:
            verified = X509StoreContext(self.store, leaf, others).get_verified_chain()
        except X509StoreContextError as error:
            raise NotIdentified(f"The client certificate is no longer trusted: {error}.") from error
        self.check_revoked([certificate.to_cryptography() for certificate in verified])

    def check_revoked(self, chain: Sequence[x509.Certificate]) -> None:
        """Raise NotIdentified if anything is revoked in a chain that was verified, from the leaf to the CA."""
        if not self.revoked:
            return
        for certificate, issuer in zip(chain, [*chain[1:], chain[-1]], strict=True):
            if certificate.serial_number in self.revoked.get(key_of(issuer), ()):
                raise NotIdentified("The client certificate has been revoked.")

    def expired_revocations(self) -> list[str]:
        """Name the issuers whose revocation list is past its next update: it is still used, and should be replaced."""
        now = datetime.now(UTC)
        return [issuer for issuer, due in self.revocations_due().items() if due < now]

    def revocations_due(self) -> dict[str, datetime]:
        """Return when the newest list of each issuer should have been replaced, where the list says so."""
        due: dict[str, datetime] = {}
        for listed in newest(self.revocations):
            next_update = listed.crl.next_update_utc
            if next_update is not None:
                due[listed.issuer] = min(next_update, due.get(listed.issuer, next_update))
        return due

    def add_to(self, context: SSL.Context) -> None:
        """Make a context refuse revoked certificates in the handshake, by lists that may have expired."""
        if not self.revocations:
            return
        store = context.get_cert_store()
        assert store is not None  # noqa: S101  # every context has one
        for listed in self.revocations:
            store.add_crl(listed.crl)
        store.set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)
        mode = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT | SSL.VERIFY_CLIENT_ONCE
        context.set_verify(mode, _accept_old_lists)


def _accept_old_lists(_: SSL.Connection, __: X509, error: int, ___: int, accepted: int) -> bool:
    return bool(accepted) or error == CRL_HAS_EXPIRED


def load_trust(client_ca: Path, crl: Path | None, before: Trust | None = None) -> Trust:
    """Read the CA file and the CRL file; raises TLSFilesError.

    `before` is the trust that this one is to replace; see `load_revocations` for what is demanded of the lists.
    """
    authorities = tuple(read_pem(client_ca, "client CA", b"CERTIFICATE", x509.load_pem_x509_certificates))
    store = X509Store()
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
    if not any(_has_root(authority, store) for authority in authorities):
        lost = authorities[0]
        raise TLSFilesError(
            f"the client CA file {client_ca} has no root CA for {lost.subject.rfc4514_string()}, which lets nobody in "
            f"by itself: add the CA that issued it, {lost.issuer.rfc4514_string()}"
        )
    in_use = before.revocations if before is not None else ()
    revocations = load_revocations(crl, authorities, in_use) if crl is not None else ()
    revoked: defaultdict[bytes, set[int]] = defaultdict(set)
    for listed in newest(revocations):
        revoked[listed.signer].update(entry.serial_number for entry in listed.crl)
    return Trust(authorities, revocations, store, revoked)


def _has_root(authority: x509.Certificate, store: X509Store) -> bool:
    """Tell whether OpenSSL, which judges clients, comes from a certificate to a root: a client's own one has none."""
    try:
        X509StoreContext(store, X509.from_cryptography(authority)).verify_certificate()
    except X509StoreContextError as error:
        return error.errors[0] not in _WITHOUT_ROOT
    return True
