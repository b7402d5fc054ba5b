"""The three files that make the TLS policy: what makes them unusable, each in one line that names the file."""

import ssl
from base64 import encodebytes
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.pem import TLSFilesError
from sre_server.security.tls import TLSFiles, load_policy
from sre_server.security.trust import load_trust
from tests.certificates import CLIENT, SERVER, Authority, ecdsa_key
from tests.fakes import temporary_folder


def pem(key: PrivateKeyTypes, encryption: KeySerializationEncryption | None = None) -> bytes:
    """Write a private key."""
    blob: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return blob


def armoured(label: str, der: bytes) -> bytes:
    """Write DER as PEM."""
    return f"-----BEGIN {label}-----\n{encodebytes(der).decode()}-----END {label}-----\n".encode()


class FilesTests(SynchronousTestCase):
    """Good files, but for one."""

    def setUp(self) -> None:
        """Make a CA and issue a good pair."""
        self.folder = temporary_folder(self)
        self.authority = Authority(self.folder)
        self.pair = self.authority.issue("localhost")

    def file(self, name: str, content: bytes) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(content)
        return path

    def refusal(self, certificate: Path | None = None, key: Path | None = None, ca: Path | None = None) -> str:
        """The line that a set of files gets, good ones but for those that are given."""
        files = TLSFiles(certificate or self.pair.certificate, key or self.pair.key, ca or self.authority.file)
        text = str(self.assertRaises(TLSFilesError, load_policy, files))
        self.assertEqual(len(text.splitlines()), 1, text)
        return text

    def test_files_that_cannot_be_read(self) -> None:
        """A file that is missing, or a folder, is named with the system's reason."""
        nowhere = self.folder / "nowhere"
        self.assertEqual(
            self.refusal(certificate=nowhere),
            f"the certificate file {nowhere} cannot be read: No such file or directory",
        )
        self.assertIn(f"the private key file {nowhere} cannot be read", self.refusal(key=nowhere))
        self.assertIn(f"the client CA file {nowhere} cannot be read", self.refusal(ca=nowhere))
        self.assertIn("Is a directory", self.refusal(ca=self.folder))

    def of_version(self, version: int) -> bytes:
        """Return the server's own certificate, of a version that there is not."""
        der = ssl.PEM_cert_to_DER_cert(self.pair.certificate.read_text())
        strange = der.replace(b"\xa0\x03\x02\x01\x02", bytes([0xA0, 3, 2, 1, version]), 1)
        return ssl.DER_cert_to_PEM_cert(strange).encode()

    def test_files_that_are_not_pem(self) -> None:
        """An empty file, another format, a PEM file of something else: each is told with the file's name."""
        for content in (
            b"",
            b"hello\n",
            b"\xff\x00",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            self.of_version(7),
        ):
            path = self.file("wrong.pem", content)
            for text in (self.refusal(certificate=path), self.refusal(key=path), self.refusal(ca=path)):
                self.assertIn(f"{path} is not a usable PEM file", text)

    def test_pem_of_something_else(self) -> None:
        """What a file holds instead is told, by the labels of its blocks, and what was expected of it."""
        key, certificate = self.pair.key.read_bytes(), self.pair.certificate.read_bytes()
        request, crl = armoured("CERTIFICATE REQUEST", b"x"), self.authority.revocation_list()
        for content, holds in {
            key: "PRIVATE KEY",
            request + key + key: "CERTIFICATE REQUEST, PRIVATE KEY",
            crl: "X509 CRL",
            b"hello\n": "no PEM block",
            b"": "no PEM block",
        }.items():
            path = self.file("wrong.pem", content)
            said = f"file {path} is not a usable PEM file: it holds {holds}, where CERTIFICATE is expected"
            self.assertEqual(self.refusal(certificate=path), f"the certificate {said}")
            self.assertEqual(self.refusal(ca=path), f"the client CA {said}")
        path = self.file("wrong.pem", certificate)
        said = f"file {path} is not a usable PEM file: it holds CERTIFICATE, where"
        self.assertEqual(self.refusal(key=path), f"the private key {said} PRIVATE KEY is expected")
        self.assertEqual(
            str(self.assertRaises(TLSFilesError, load_trust, self.authority.file, path)),
            f"the CRL {said} X509 CRL is expected",
        )

    def test_pem_of_more_than_was_asked_for(self) -> None:
        """A file of a certificate and its key will do as either."""
        for parts in ((self.pair.certificate, self.pair.key), (self.pair.key, self.pair.certificate)):
            path = self.file("both.pem", b"".join(part.read_bytes() for part in parts))
            load_policy(TLSFiles(path, path, self.authority.file))

    def test_a_key_of_another_certificate(self) -> None:
        """A key that does not belong to the certificate is told as that, of the same kind or of another."""
        for key in (ecdsa_key(), Ed25519PrivateKey.generate()):
            path = self.file("other.key", pem(key))
            expected = f"the private key {path} does not belong to the certificate {self.pair.certificate}"
            self.assertEqual(self.refusal(key=path), expected)

    def test_keys_of_unsupported_kinds(self) -> None:
        """Only Ed25519, ECDSA and RSA sign in TLS 1.3 as we speak it."""
        kinds: dict[str, PrivateKeyTypes] = {
            "DSA": dsa.generate_private_key(2048),
            "Ed448": ed448.Ed448PrivateKey.generate(),
            "X25519": x25519.X25519PrivateKey.generate(),
        }
        for name, key in kinds.items():
            self.assertIn("only Ed25519, ECDSA and RSA keys are supported", self.refusal(key=self.file(name, pem(key))))

    def test_a_curve_that_nobody_knows(self) -> None:
        """A curve that the library has never heard of is a refusal like any other."""
        p256, prime239v1 = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030104")
        der = ecdsa_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        strange = self.file("strange.key", armoured("PRIVATE KEY", der.replace(p256, prime239v1)))
        self.assertIn(f"the private key file {strange}", self.refusal(key=strange))
        certificate = x509.load_pem_x509_certificate(self.pair.certificate.read_bytes())
        changed = certificate.public_bytes(Encoding.DER).replace(p256, prime239v1)
        strange = self.file("strange.pem", armoured("CERTIFICATE", changed))
        self.assertIn(str(strange), self.refusal(certificate=strange))

    def test_a_certificate_for_clients(self) -> None:
        """A certificate whose extended key usage is another would be refused by every client; without one it may be."""
        pair = self.authority.issue("localhost", usages=[CLIENT])
        self.assertIn("is not one for servers", self.refusal(certificate=pair.certificate, key=pair.key))
        for usages in ((), [SERVER], [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]):
            pair = self.authority.issue("localhost", usages=usages)
            load_policy(TLSFiles(pair.certificate, pair.key, self.authority.file))

    def test_a_certificate_that_the_library_reads_in_part(self) -> None:
        """Names of a kind that nobody uses, a garbled extension or one twice are for clients to judge: it is served."""
        der = ssl.PEM_cert_to_DER_cert(self.pair.certificate.read_text())
        key_identifiers = (b"\x55\x1d\x23", b"\x55\x1d\x0e")
        key_usages = (b"\x55\x1d\x25\x04\x16\x30", b"\x55\x1d\x25\x04\x16\x31")
        for error, (before, after) in {
            x509.UnsupportedGeneralNameType: (b"\x82\x09localhost", b"\xa3\x09\x04\x07localho"),  # an X.400 address
            x509.DuplicateExtension: key_identifiers,
            ValueError: key_usages,
        }.items():
            changed = der.replace(before, after)
            with self.assertRaises(error):
                list(x509.load_der_x509_certificate(changed).extensions)
            strange = self.file("strange.pem", ssl.DER_cert_to_PEM_cert(changed).encode())
            load_policy(TLSFiles(strange, self.pair.key, self.authority.file))

    def test_an_encrypted_key(self) -> None:
        """A daemon has nobody to ask for a passphrase."""
        path = self.file("encrypted.key", pem(ecdsa_key(), BestAvailableEncryption(b"secret")))
        self.assertIn("encrypted", self.refusal(key=path))

    def test_a_key_that_is_too_small(self) -> None:
        """What OpenSSL does not take is told in its words, before anything listens."""
        weak = self.authority.issue("weak", key=rsa.generate_private_key(65537, 1024))  # noqa: S505  # the point
        text = self.refusal(certificate=weak.certificate, key=weak.key)
        self.assertIn(f"the pair {weak.certificate}, {weak.key} cannot be used: ee key too small", text)
