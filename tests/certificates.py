"""Certificate authorities and certificates made at run time, good ones and every kind of bad one; none is committed."""

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
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


class Authority:
    """A CA that keeps what it issues in a folder."""

    _certificate: x509.Certificate

    def __init__(self, folder: Path, name: str = "Test CA", issuer: "Authority | None" = None) -> None:
        """Make a CA; `issuer` makes it an intermediate one."""
        self._folder = folder
        self._name = name
        self._key = ecdsa_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        above, key = (issuer._certificate.subject, issuer._key) if issuer else (subject, self._key)
        now = datetime.now(UTC)
        builder = self._builder(subject, above, self._key, now - timedelta(days=30), now + timedelta(days=30))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = builder.sign(key, SHA256())
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
        certificate = builder.sign(self._key, SHA256())
        stem = f"{self._name}-{name}-{certificate.serial_number:x}".replace(" ", "-")
        pair = Pair(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        pair.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        pair.key.write_bytes(pem_of(key))
        return pair

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
        signed_by: "Authority | None" = None,
    ) -> bytes:
        """Sign a CRL of these serial numbers, as PEM; `issued` and `next_update` are relative to now."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._certificate.subject)
        builder = builder.last_update(now + issued).next_update(now + next_update)
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now + issued)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign((signed_by or self)._key, SHA256()).public_bytes(Encoding.PEM)


def load(path: Path) -> x509.Certificate:
    """Read the first certificate of a file."""
    return x509.load_pem_x509_certificates(path.read_bytes())[0]
