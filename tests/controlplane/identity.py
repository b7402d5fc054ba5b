"""The certificates, keys and kubeconfigs by which everyone in the test cluster knows everyone else."""

import base64
import datetime
import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.certificates import CERTIFICATE_AUTHORITY

from .daemon import LOOPBACK

VALIDITY = datetime.timedelta(days=1)
CLOCK_SKEW = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class Credentials:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


def write_private(path: Path, content: bytes) -> Path:
    """Write a file that only its owner may read, and return its path."""
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a private key, write it as PEM, and return it."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    write_private(path, pem)
    return key


class Authority:
    """A certificate authority with all it issued in one folder; everything expires within a day."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "control plane for tests")])
        self.credentials = Credentials(folder / "ca.crt", folder / "ca.key")
        self._key = write_key(self.credentials.key)
        builder = self._builder(self._name, self._key.public_key(), is_authority=True)
        self._sign(builder.add_extension(CERTIFICATE_AUTHORITY, critical=True), self.credentials.certificate)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool
    ) -> x509.CertificateBuilder:
        """Return what all certificates of this authority have in common."""
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder(issuer_name=self._name, subject_name=subject, public_key=key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + VALIDITY)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def _sign(self, builder: x509.CertificateBuilder, path: Path) -> None:
        """Sign a certificate and write it as PEM."""
        certificate = builder.sign(self._key, hashes.SHA256())
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def client(self, user: str, groups: Iterable[str] = ()) -> Credentials:
        """Issue the certificate of a Kubernetes user in the given groups."""
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
        return self._issue(quote(user, safe=""), x509.Name(names), ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def server(self) -> Credentials:
        """Issue the certificate of a server on the loopback interface."""
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK)), x509.DNSName("localhost")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        return self._issue("server", subject, ExtendedKeyUsageOID.SERVER_AUTH, names)

    def _issue(
        self,
        file_name: str,
        subject: x509.Name,
        usage: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
    ) -> Credentials:
        """Issue a certificate for one use, with a key of its own."""
        issued = Credentials(self._folder / f"{file_name}.crt", self._folder / f"{file_name}.key")
        builder = self._builder(subject, write_key(issued.key).public_key(), is_authority=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        self._sign(builder, issued.certificate)
        return issued


def encoded(path: Path) -> str:
    """Return a file's content the way a kubeconfig holds it."""
    return base64.b64encode(path.read_bytes()).decode()


def certificate_user(credentials: Credentials) -> dict[str, str]:
    """Return the kubeconfig entry of a user who has a certificate."""
    return {
        "client-certificate-data": encoded(credentials.certificate),
        "client-key-data": encoded(credentials.key),
    }


def write_kubeconfig(path: Path, server: str, authority: Path, user: Mapping[str, str]) -> Path:
    """Write a kubeconfig (JSON, which is YAML) that needs no other file, and return its path."""
    name = "controlplane"
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": encoded(authority)}}],
        "users": [{"name": name, "user": dict(user)}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return write_private(path, json.dumps(content, indent=1).encode())
