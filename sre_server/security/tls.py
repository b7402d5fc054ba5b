"""Mutual TLS 1.3 for the API port: our certificate, the CAs that vouch for clients, and nothing older or weaker.

The policy is field-notes.md section 4: verification through `trustRoot`, cipher suites set on the finished context (in
TLS 1.3 `acceptableCiphers` does nothing), no session resumption, as a resumed session is not verified again.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

CIPHER_SUITES: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""RFD 0's three suites; RFD 1 wants AES-128 first."""

_T = TypeVar("_T")
PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey


class TLSFilesError(Exception):
    """The certificate, key or CA file cannot be used; the text is one line that names the file and says why."""


def server_options(certificate: Path, private_key: Path, client_ca: Path) -> CertificateOptions:
    """Read the three PEM files into a TLS policy; raises TLSFilesError.

    `certificate` may hold a chain, leaf first; `client_ca` one or more CAs. Keys: Ed25519, ECDSA, RSA.
    """
    leaf, *chain = _read(certificate, "certificate", _load_certificates)
    key = _read(private_key, "private key", _load_private_key)
    authorities = _read(client_ca, "client CA", x509.load_pem_x509_certificates)
    if leaf.public_key() != key.public_key():
        raise TLSFilesError(f"the private key {private_key} does not belong to the certificate {certificate}")
    options = CertificateOptions(
        # Twisted hands these on to pyOpenSSL, which takes `cryptography` objects; its annotations do not say so yet.
        privateKey=key,  # type: ignore[arg-type]
        certificate=leaf,  # type: ignore[arg-type]
        extraCertChain=chain,  # type: ignore[arg-type]
        trustRoot=trustRootFromCertificates(
            [Certificate(X509.from_cryptography(authority)) for authority in authorities]
        ),
        raiseMinimumTo=TLSVersion.TLSv1_3,
    )
    try:
        context = options.getContext()
        context.set_tls13_ciphersuites(CIPHER_SUITES)
        # The server's order decides, so that AES-128 is what a client gets that offers all three.
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    except SSL.Error as error:
        raise TLSFilesError(f"the pair {certificate}, {private_key} cannot be used: {_reason(error)}") from error
    return options


def _read(path: Path, what: str, load: Callable[[bytes], _T]) -> _T:
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise TLSFilesError(f"the {what} file {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        text = " ".join(str(error).split())
        raise TLSFilesError(f"the {what} file {path} is not a usable PEM file: {text}") from error


def _load_certificates(pem: bytes) -> list[x509.Certificate]:
    certificates = x509.load_pem_x509_certificates(pem)
    certificates[0].public_key()  # raises for keys that the library does not know
    return certificates


def _load_private_key(pem: bytes) -> PrivateKey:
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, PrivateKey):
        raise TypeError("only Ed25519, ECDSA and RSA keys are supported")
    return key


def _reason(error: SSL.Error) -> str:
    reasons: Sequence[tuple[str, str, str]] = error.args[0] if error.args else ()
    return "; ".join(reason for *_, reason in reasons) or "unknown reason"


@implementer(IStreamServerEndpoint)
class MutualTLSEndpoint:
    """Wraps any stream endpoint, such as `tcp:8443`, in a TLS policy."""

    def __init__(self, endpoint: IStreamServerEndpoint, options: CertificateOptions) -> None:
        self._endpoint = endpoint
        self._options = options

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen, and speak TLS before anything else."""
        return self._endpoint.listen(TLSMemoryBIOFactory(self._options, False, protocolFactory))
