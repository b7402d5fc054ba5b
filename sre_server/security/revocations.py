"""Revocation lists: taken over only if a client CA signed them, none goes back in time, and OpenSSL enforces each.

OpenSSL uses complete lists of a CA's own certificates. Delta and indirect lists, lists for some reasons or some
distribution points only, and lists with a critical extension that it does not know are left aside by it, or end every
handshake (RFC 5280, section 5.2). So each list is tried on made-up certificates when it is read.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct
from OpenSSL.crypto import X509, Error, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags

from sre_server.security.pem import TLSFilesError, read_pem

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which pyOpenSSL does not name
# X509_V_ERR_*: what OpenSSL says where a list cannot be used, and not, say, a made-up signature.
_LIST_ERRORS: Final = frozenset({3, 4, 8, 11, 12, 15, 16, 33, 35, 36, 44, 54})
_ECDSA_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
_SEQUENCE, _BIT_STRING = 0x30, 0x03
_END: Final = b"-----END X509 CRL-----"


class RevocationList(Struct, frozen=True, eq=False):
    """A list, and the public key that signed it: two CAs may have one name."""

    crl: x509.CertificateRevocationList
    signer: bytes

    @property
    def issuer(self) -> str:
        """The name of the CA whose list it is."""
        return self.crl.issuer.rfc4514_string()

    @property
    def age(self) -> tuple[int, datetime]:
        """What orders the lists of one CA: the CRL number where there is one, then the time of issue."""
        try:
            number = self.crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        except x509.ExtensionNotFound:
            number = 0
        return number, self.crl.last_update_utc

    @property
    def series(self) -> tuple[bytes, x509.ExtensionType | None]:
        """What a newer list has in common with the one that it replaces: the CA, and the part of its certificates."""
        try:
            return self.signer, self.crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
        except x509.ExtensionNotFound:
            return self.signer, None


def key_of(certificate: x509.Certificate) -> bytes:
    """Return the public key of a certificate as SubjectPublicKeyInfo, by which a CA is told from its namesakes."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def load_revocations(
    path: Path, authorities: Sequence[x509.Certificate], before: Iterable[RevocationList] = ()
) -> tuple[RevocationList, ...]:
    """Read the revocation lists of these CAs; raises TLSFilesError.

    Each CA needs a list, and each list the signature of one of the CAs. A list that is older than the one of the same
    CA in `before` is refused, since going back would forgive what was revoked in between.
    """
    crls = read_pem(path, "CRL", b"X509 CRL", _split_lists)
    lists = tuple(RevocationList(crl, _signer(path, crl, authorities)) for crl in crls)
    signers = {revocations.signer for revocations in lists}
    for authority in authorities:
        if key_of(authority) not in signers:
            name = authority.subject.rfc4514_string()
            raise TLSFilesError(f"the CRL file {path} has no list of the client CA {name}")
    now = datetime.now(UTC)
    for revocations in lists:
        if revocations.crl.last_update_utc > now:
            when = f"{revocations.crl.last_update_utc:%Y-%m-%d %H:%M:%S} UTC"
            raise TLSFilesError(
                f"the CRL file {path} has a list of {revocations.issuer} that is dated in the future ({when})"
            )
    in_use = {known.series: known for known in newest(before)}
    for found in newest(lists):
        if found.series in in_use and found.age < in_use[found.series].age:
            when = f"{in_use[found.series].age[1]:%Y-%m-%d %H:%M}"
            raise TLSFilesError(f"the CRL file {path} is older than the one in use ({when})")
    _check_enforceable(path, authorities, lists)
    return lists


def newest(lists: Iterable[RevocationList]) -> list[RevocationList]:
    """Return the newest list of each series: a file may hold older ones beside it."""
    found: dict[object, RevocationList] = {}
    for revocations in sorted(lists, key=lambda listed: listed.age):
        found[revocations.series] = revocations
    return list(found.values())


def _split_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    parts = [part + _END for part in pem.split(_END)[:-1]]
    if not parts:
        raise ValueError("it holds no CRL")
    lists = [x509.load_pem_x509_crl(part) for part in parts]
    for crl in lists:
        try:
            _ = crl.issuer, crl.extensions, crl.signature_hash_algorithm  # parsed only when looked at
        except x509.DuplicateExtension as error:
            raise ValueError(str(error)) from error
    return lists


def _signer(path: Path, crl: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]) -> bytes:
    if isinstance(crl.signature_hash_algorithm, MD5 | SHA1):
        weak = crl.signature_hash_algorithm.name
        raise TLSFilesError(f"the CRL file {path} has a list that is signed with {weak}, which is too weak")
    for authority in authorities:
        if authority.subject == crl.issuer and _is_signed_by(crl, authority):
            return key_of(authority)
    raise TLSFilesError(f"the CRL file {path} has a list that no client CA has signed")


def _is_signed_by(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # others raise TypeError
    except (TypeError, UnsupportedAlgorithm):
        return False


def _check_enforceable(path: Path, authorities: Sequence[x509.Certificate], lists: Sequence[RevocationList]) -> None:
    """Raise TLSFilesError for a list that OpenSSL makes no use of, or one that shuts everybody out."""
    for authority in authorities:
        namesakes = [revocations for revocations in lists if revocations.crl.issuer == authority.subject]
        own = [revocations for revocations in namesakes if revocations.signer == key_of(authority)]
        issues_authorities = any(other.issuer == authority.subject != other.subject for other in authorities)
        problem = _problem(authority, own[0].crl, namesakes, is_ca=issues_authorities)
        for revocations in own if len(own) > 1 else ():
            problem = problem or (
                _problem(authority, revocations.crl, [revocations], is_ca=False)
                and _problem(authority, revocations.crl, [revocations], is_ca=True)
            )
        if problem:
            name = authority.subject.rfc4514_string()
            raise TLSFilesError(f"OpenSSL cannot enforce what the CRL file {path} has of {name}: {problem}")


def _problem(
    issuer: x509.Certificate, own: x509.CertificateRevocationList, lists: Iterable[RevocationList], *, is_ca: bool
) -> str | None:
    """Return what keeps OpenSSL from looking up a certificate of `issuer` in the lists, None if nothing does.

    `own` is a list that the issuer has signed.
    """
    store = X509Store()
    try:
        store.add_cert(X509.from_cryptography(issuer))
        for revocations in lists:
            store.add_crl(revocations.crl)
        store.set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.PARTIAL_CHAIN | _NO_CHECK_TIME)
        X509StoreContext(store, _made_up(issuer, own, is_ca=is_ca)).verify_certificate()
    except X509StoreContextError as error:
        return str(error) if error.errors[0] in _LIST_ERRORS else None
    except Error:
        return "it cannot be parsed"
    return None


def _made_up(issuer: x509.Certificate, crl: x509.CertificateRevocationList, *, is_ca: bool) -> X509:
    """Return a certificate that seems to be of `issuer`, for as long as nobody looks at the signature.

    OpenSSL looks at it last, after the revocation lists. It has to be of the kind that the issuer's key makes, though,
    which that of the list is.
    """
    now = datetime.now(UTC)
    key = generate_private_key(SECP256R1())
    builder = x509.CertificateBuilder(issuer.subject, x509.Name([]), key.public_key(), 1)
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    to_be_signed = builder.sign(key, SHA256()).tbs_certificate_bytes
    rest = crl.public_bytes(Encoding.DER)
    rest = rest[rest.index(crl.tbs_certlist_bytes) + len(crl.tbs_certlist_bytes) :]
    algorithm = rest[: 2 + rest[1]]
    before, _, after = _content(to_be_signed).partition(_ECDSA_SHA256)
    forged = _der(_SEQUENCE, before + algorithm + after) + algorithm + _der(_BIT_STRING, b"\0" * 65)
    return X509.from_cryptography(x509.load_der_x509_certificate(_der(_SEQUENCE, forged)))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag]) + (b"" if size < 0x80 else bytes([0x80 | len(length)])) + length + content


def _content(sequence: bytes) -> bytes:
    """Return what is in a DER element of a length that takes more than one byte."""
    return sequence[2 + (sequence[1] & 0x7F) :]
