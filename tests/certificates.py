"""Certificate authorities and certificates made at run time, good ones and every kind of bad one; none is committed."""

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

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        self._folder = folder
        self._name = name
        self._key = ecdsa_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = self._builder(subject, subject, self._key, now - timedelta(days=30), now + timedelta(days=30))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = builder.sign(self._key, SHA256())
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
