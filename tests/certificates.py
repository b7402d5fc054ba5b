"""Certificate authorities and certificates made at run time, good ones and every kind of bad one; none is committed."""

import warnings
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


CERTIFICATE_AUTHORITY = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


class Pair(NamedTuple):
    """A certificate and its private key, in files."""

    certificate: Path
    key: Path


def ecdsa_key() -> EllipticCurvePrivateKey:
    """Make a P-256 key."""
    return generate_ec_key(SECP256R1())


def pem_of(key: PrivateKey) -> bytes:
    """Write a key as unencrypted PKCS #8."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def digest_for(key: PrivateKey) -> SHA256 | None:
    """Return the digest to sign with; Ed25519 has its own."""
    return None if isinstance(key, Ed25519PrivateKey) else SHA256()


class Flaw(Enum):
    """What a CA lacks that RFC 5280 asks for, and that clusters' CAs were seen to lack; strict clients refuse each."""

    NO_KEY_IDENTIFIERS = auto()
    """EKS: neither a subject's in the CA, nor, for that, an authority's in what it issues."""
    NO_KEY_USAGE = auto()
    """MicroK8s."""
    UNCRITICAL = auto()
    """Private ones: basicConstraints are not critical."""


class Authority:
    """A CA that keeps what it issues in a folder."""

    _certificate: x509.Certificate

    def __init__(
        self,
        folder: Path,
        name: str = "Test CA",
        issuer: "Authority | None" = None,
        *,
        key: PrivateKey | None = None,
        valid_until: timedelta = timedelta(days=30),
        flaws: Collection[Flaw] = (),
    ) -> None:
        """Make a CA; `issuer` makes it an intermediate one."""
        self._folder = folder
        self._name = name
        self._identified = Flaw.NO_KEY_IDENTIFIERS not in flaws
        self._key = key or ecdsa_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        above, signer = (issuer._certificate.subject, issuer._key) if issuer else (subject, self._key)
        now = datetime.now(UTC)
        builder = self._builder(subject, above, self._key, now - timedelta(days=30), now + valid_until)
        critical = Flaw.UNCRITICAL not in flaws
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=critical)
        if Flaw.NO_KEY_USAGE not in flaws:
            builder = builder.add_extension(CERTIFICATE_AUTHORITY, critical=True)
        if self._identified:
            builder = _identified(builder, self._key, issuer._key if issuer else self._key)
        self._certificate = builder.sign(signer, digest_for(signer))
        self.file = folder / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    @staticmethod
    def _builder(
        subject: x509.Name, issuer: x509.Name, key: PrivateKey, not_before: datetime, not_after: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
        )

    def issue(
        self,
        name: str,
        *,
        key: PrivateKey | None = None,
        usages: Sequence[ObjectIdentifier] = (CLIENT, SERVER),
        valid_from: timedelta = timedelta(days=-1),
        valid_until: timedelta = timedelta(days=1),
        alternative_names: Sequence[x509.GeneralName] = (),
    ) -> Pair:
        """Issue a certificate with `name` as CN and DNS name; `valid_from` and `valid_until` are relative to now."""
        key = key or ecdsa_key()
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, self._certificate.subject, key, now + valid_from, now + valid_until)
        names = alternative_names or [x509.DNSName(name)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if self._identified:
            builder = _identified(builder, key, self._key)
        certificate = builder.sign(self._key, digest_for(self._key))
        stem = f"{self._name}-{name}-{certificate.serial_number:x}".replace(" ", "-")
        pair = Pair(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        pair.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        pair.key.write_bytes(pem_of(key))
        return pair

    @property
    def key(self) -> PrivateKey:
        """The CA's private key."""
        return self._key

    @property
    def certificate(self) -> x509.Certificate:
        """The CA's own certificate."""
        return self._certificate

    def certify(
        self,
        subject: Sequence[tuple[ObjectIdentifier, str]],
        alternative_names: x509.ExtensionType | None = None,
        *,
        valid_until: timedelta = timedelta(days=1),
    ) -> x509.Certificate:
        """Sign a certificate of whatever subject and SAN extension, however strange; no file is written."""
        now = datetime.now(UTC)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of the lengths of values
            name = x509.Name([x509.NameAttribute(kind, value, _validate=False) for kind, value in subject])
        above = self._certificate.subject
        builder = self._builder(name, above, ecdsa_key(), now - timedelta(days=2), now + valid_until)
        if alternative_names is not None:
            builder = builder.add_extension(alternative_names, critical=False)
        return builder.sign(self._key, SHA256())

    def revocation_list(
        self,
        *revoked: int,
        number: int | None = 1,
        issued: timedelta = timedelta(hours=-1),
        next_update: timedelta = timedelta(days=1),
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        entry_extension: x509.ExtensionType | None = None,
        signed_by: "Authority | None" = None,
    ) -> bytes:
        """Sign a CRL of these serial numbers, as PEM; `issued` and `next_update` are relative to now."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._certificate.subject)
        builder = builder.last_update(now + issued).next_update(now + next_update)
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now + issued)
            if entry_extension is not None:
                entry = entry.add_extension(entry_extension, critical=True)
            builder = builder.add_revoked_certificate(entry.build())
        signer = (signed_by or self)._key
        return builder.sign(signer, digest_for(signer)).public_bytes(Encoding.PEM)


def _identified(builder: x509.CertificateBuilder, key: PrivateKey, issuer: PrivateKey) -> x509.CertificateBuilder:
    """Add what tells the keys of a subject and of its issuer apart."""
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.add_extension(authority, critical=False)


def load(path: Path) -> x509.Certificate:
    """Read the first certificate of a file."""
    return x509.load_pem_x509_certificates(path.read_bytes())[0]
