"""Mutual TLS 1.3 for the API port: our certificate, whom we trust for clients, and nothing older or weaker.

The policy: verification through `trustRoot`, cipher suites set on the finished context (in TLS 1.3 `acceptableCiphers`
does nothing, twisted#10058), ALPN of our own, as Twisted's ends in an internal_error where nothing matches, no session
resumption, as a resumed session is not verified again. A context cannot be changed once it was used, so a change of any
file makes a new one, for the connections from then on. Our own pair and whom we trust change apart from each other, so
that no revocation waits for a pair to be mended.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from msgspec import Struct
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from sre_server.security.pem import TLSFilesError, read_pem
from sre_server.security.trust import Trust, load_trust

CIPHER_SUITES: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""RFD 0's three suites; RFD 1 wants AES-128 first."""
HTTP: Final = b"http/1.1"

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey


class TLSFiles(Struct, frozen=True):
    """Where the policy is read from, all of it PEM: a certificate (or its chain, leaf first), its key, CAs, CRLs."""

    certificate: Path
    private_key: Path
    client_ca: Path
    crl: Path | None = None

    def of_pair(self) -> list[Path]:
        """The files that are our own pair."""
        return [self.certificate, self.private_key]

    def of_trust(self) -> list[Path]:
        """The files that say whom we trust."""
        return [self.client_ca, *([self.crl] if self.crl is not None else [])]


class ServerPair(Struct, frozen=True, eq=False):
    """Our own certificate, the rest of its chain, and its key; `name` is for messages."""

    certificate: x509.Certificate
    chain: list[x509.Certificate]
    key: PrivateKey
    name: str


class Policy(Struct, frozen=True, eq=False):
    """One state of the files: the context of handshakes, our pair, and whom we trust."""

    context: SSL.Context
    pair: ServerPair
    trust: Trust


def load_policy(files: TLSFiles) -> Policy:
    """Read the files into a policy; raises TLSFilesError."""
    return _policy_of(_load_pair(files), load_trust(files.client_ca, files.crl))


def _load_pair(files: TLSFiles) -> ServerPair:
    leaf, *chain = read_pem(files.certificate, "certificate", b"CERTIFICATE", _load_certificates)
    key = read_pem(files.private_key, "private key", b"PRIVATE KEY", _load_private_key)
    if leaf.public_key() != key.public_key():
        raise TLSFilesError(
            f"the private key {files.private_key} does not belong to the certificate {files.certificate}"
        )
    if not _is_for_servers(leaf):
        raise TLSFilesError(f"the certificate {files.certificate} is not one for servers, by its extended key usage")
    return ServerPair(leaf, chain, key, f"{files.certificate}, {files.private_key}")


def _policy_of(pair: ServerPair, trust: Trust) -> Policy:
    authorities = [Certificate(X509.from_cryptography(authority)) for authority in trust.authorities]
    options = CertificateOptions(
        # Twisted hands these on to pyOpenSSL, which takes `cryptography` objects; its annotations do not say so yet.
        privateKey=pair.key,  # type: ignore[arg-type]
        certificate=pair.certificate,  # type: ignore[arg-type]
        extraCertChain=pair.chain,  # type: ignore[arg-type]
        trustRoot=trustRootFromCertificates(authorities),
        raiseMinimumTo=TLSVersion.TLSv1_3,
    )
    try:
        context = options.getContext()
        context.set_tls13_ciphersuites(CIPHER_SUITES)
        context.set_alpn_select_callback(_choose_protocol)
        trust.add_to(context)
    except SSL.Error as error:
        raise TLSFilesError(f"the pair {pair.name} cannot be used: {_reason(error)}") from error
    return Policy(context, pair, trust)


def _load_certificates(pem: bytes) -> list[x509.Certificate]:
    certificates = x509.load_pem_x509_certificates(pem)
    certificates[0].public_key()  # raises for keys that the library does not know
    return certificates


def _is_for_servers(certificate: x509.Certificate) -> bool:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return True  # what else is in a certificate that the library does not read is for its clients to judge
    return bool({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usages))


def _choose_protocol(_: SSL.Connection, offered: list[bytes]) -> bytes:
    """Choose among what a client offers; raises SSL.Error, of which OpenSSL makes the alert of RFC 7301, 3.2."""
    if HTTP not in offered:
        raise SSL.Error([("SSL routines", "", "no application protocol")])
    return HTTP


def _trouble(certificate: x509.Certificate) -> str:
    """Say why a certificate is not valid by its dates; nothing if it is."""
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        return "has expired"
    return "is not valid yet" if certificate.not_valid_before_utc > now else ""


def _load_private_key(pem: bytes) -> PrivateKey:
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, PrivateKey):
        raise TypeError("only Ed25519, ECDSA and RSA keys are supported")
    return key


def _reason(error: SSL.Error) -> str:
    reasons = error.args[0] if error.args else ()
    return "; ".join(reason for *_, reason in reasons) or "unknown reason"


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """Makes the server's end of each handshake from the policy of the moment."""

    def __init__(self, files: TLSFiles) -> None:
        self.files = files
        self.policy = load_policy(files)

    def reload_pair(self) -> None:
        """Use our pair as it is now for every later handshake; raises TLSFilesError, changing nothing.

        One that is not valid does not take the place of one that is.
        """
        pair = _load_pair(self.files)
        if not _trouble(self.policy.pair.certificate) and (trouble := _trouble(pair.certificate)):
            raise TLSFilesError(f"the certificate {self.files.certificate} {trouble}")
        self.policy = _policy_of(pair, self.policy.trust)

    def reload_trust(self) -> None:
        """Trust those who are now in the files from now on; raises TLSFilesError, changing nothing."""
        trust = load_trust(self.files.client_ca, self.files.crl, self.policy.trust)
        self.policy = _policy_of(self.policy.pair, trust)

    def warnings(self) -> list[str]:
        """Say what is not valid of what is in use: our own certificate, and the CAs, whose clients are refused."""
        used = {f"server's certificate {self.files.certificate}": self.policy.pair.certificate}
        used |= {f"client CA {ca.subject.rfc4514_string()}": ca for ca in self.policy.trust.authorities}
        return [f"the {what} {trouble}" for what, one in used.items() if (trouble := _trouble(one))]

    def trust(self) -> Trust:
        """Whom we trust at this moment."""
        return self.policy.trust

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make the connection object of one handshake; for Twisted."""
        return SSL.Connection(self.policy.context, None)
