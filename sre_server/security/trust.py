"""Whom we trust to vouch for clients, and whom they no longer vouch for: CAs and revocation lists.

A handshake is judged by OpenSSL. What it once accepted is judged again by `Trust.check`, on the first request after any
of the files changed, since a connection may outlive its certificate's good standing (docs/security.md).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from msgspec import Struct
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags

from sre_server.errors import NotIdentified
from sre_server.security.pem import TLSFilesError, read_pem

CRL_HAS_EXPIRED: Final = 12  # X509_V_ERR_CRL_HAS_EXPIRED


class Trust(Struct, frozen=True, eq=False):
    """The client CAs and, if there are any, their revocation lists."""

    authorities: tuple[x509.Certificate, ...]
    revocations: tuple[x509.CertificateRevocationList, ...]
    store: X509Store
    revoked: frozenset[tuple[bytes, int]]

    def check(self, chain: Sequence[x509.Certificate]) -> None:
        """Raise NotIdentified unless this chain, leaf first, leads to a CA of ours and nothing in it is revoked."""
        if not chain:
            raise NotIdentified("The connection has no client certificate.")
        leaf, *others = (X509.from_cryptography(certificate) for certificate in chain)
        try:
            X509StoreContext(self.store, leaf, others).verify_certificate()
        except X509StoreContextError as error:
            raise NotIdentified(f"The client certificate is no longer trusted: {error}.") from error
        if any((_issuer(certificate), certificate.serial_number) in self.revoked for certificate in chain):
            raise NotIdentified("The client certificate has been revoked.")

    def expired_revocations(self) -> list[str]:
        """Name the issuers whose revocation list is past its next update: it is still used, and should be replaced."""
        now = datetime.now(UTC)
        stale = (crl for crl in self.revocations if crl.next_update_utc is not None and crl.next_update_utc < now)
        return [crl.issuer.rfc4514_string() for crl in stale]

    def revocations_due(self) -> dict[str, datetime]:
        """Return when the newest list of each issuer should have been replaced, where the list says so."""
        due: dict[str, datetime] = {}
        for crl in self.revocations:
            if crl.next_update_utc is not None:
                issuer = crl.issuer.rfc4514_string()
                due[issuer] = max(crl.next_update_utc, due.get(issuer, crl.next_update_utc))
        return due

    def add_to(self, context: SSL.Context) -> None:
        """Make a context refuse revoked certificates in the handshake, by lists that may have expired."""
        if not self.revocations:
            return
        store = context.get_cert_store()
        if store is None:
            raise TLSFilesError("the TLS library has no certificate store")
        for revocation in self.revocations:
            store.add_crl(revocation)
        store.set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)
        mode = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT | SSL.VERIFY_CLIENT_ONCE
        context.set_verify(mode, _accept_old_lists)


def _accept_old_lists(_: SSL.Connection, __: X509, error: int, ___: int, accepted: int) -> bool:
    return bool(accepted) or error == CRL_HAS_EXPIRED


def _issuer(certificate: x509.Certificate) -> bytes:
    return certificate.issuer.public_bytes()


def load_trust(client_ca: Path, crl: Path | None, before: Trust | None = None) -> Trust:
    """Read the CA file and the CRL file; raises TLSFilesError.

    Each CA needs a list, each list the signature of one of the CAs; a list older than the one that `before` holds of
    the same issuer is refused, since going back would forgive what was revoked in between.
    """
    authorities = tuple(read_pem(client_ca, "client CA", x509.load_pem_x509_certificates))
    revocations = tuple(_load_revocations(crl, authorities)) if crl is not None else ()
    newest = _newest(revocations)
    for issuer, known in _newest(before.revocations if before is not None else ()).items():
        if issuer in newest and newest[issuer] < known:
            raise TLSFilesError(f"the CRL file {crl} is older than the one in use ({known[1]:%Y-%m-%d %H:%M})")
    store = X509Store()
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
    revoked = frozenset((crl.issuer.public_bytes(), entry.serial_number) for crl in revocations for entry in crl)
    return Trust(authorities, revocations, store, revoked)


def _load_revocations(path: Path, authorities: Sequence[x509.Certificate]) -> list[x509.CertificateRevocationList]:
    lists = read_pem(path, "CRL", _split_lists)
    for revocation in lists:
        issuers = (authority for authority in authorities if authority.subject == revocation.issuer)
        if not any(_is_signed_by(revocation, issuer) for issuer in issuers):
            raise TLSFilesError(f"the CRL file {path} has a list that no client CA has signed")
    for authority in authorities:
        if not any(revocation.issuer == authority.subject for revocation in lists):
            raise TLSFilesError(
                f"the CRL file {path} has no list of the client CA {authority.subject.rfc4514_string()}"
            )
    return lists


def _is_signed_by(revocation: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    try:
        return revocation.is_signature_valid(key)  # type: ignore[arg-type]  # a key that cannot sign raises TypeError
    except TypeError:
        return False


def _split_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    end = b"-----END X509 CRL-----"
    parts = [part + end for part in pem.split(end)[:-1]]
    if not parts:
        raise ValueError("it holds no CRL")
    return [x509.load_pem_x509_crl(part) for part in parts]


def _newest(revocations: Sequence[x509.CertificateRevocationList]) -> dict[x509.Name, tuple[int, datetime]]:
    """Return the age of the newest list of each issuer: a file may hold older ones beside it."""
    newest: dict[x509.Name, tuple[int, datetime]] = {}
    for revocation in revocations:
        newest[revocation.issuer] = max(_age(revocation), newest.get(revocation.issuer, _age(revocation)))
    return newest


def _age(revocation: x509.CertificateRevocationList) -> tuple[int, datetime]:
    """Return what orders the lists of one issuer: the CRL number where there is one, then the time of issue."""
    try:
        number = revocation.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        number = 0
    return number, revocation.last_update_utc
