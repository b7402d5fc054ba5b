"""Mutual TLS 1.3 for the API port: our certificate, whom we trust for clients, and nothing older or weaker.

The policy: verification through `trustRoot`, cipher suites set on the finished context (in TLS 1.3 `acceptableCiphers`
does nothing, twisted#10058), ALPN of our own, as Twisted's ends in an internal_error where nothing matches, no session
resumption, as a resumed session is not verified again. A context cannot be changed once it was used, so a change of any
file makes a new one, for the connections from then on.
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

    def paths(self) -> list[Path]:
        """Every file that there is to watch."""
        return [path for path in (self.certificate, self.private_key, self.client_ca, self.crl) if path is not None]


class Policy(Struct, frozen=True, eq=False):
    """One state of the files: the context of handshakes, whom it trusts, and how long our certificate is valid."""

    context: SSL.Context
    trust: Trust
    certificate_begins: datetime
    certificate_ends: datetime


def load_policy(files: TLSFiles, before: Trust | None = None) -> Policy:
    """Read the files into a policy; raises TLSFilesError. See `load_trust` for what `before` is for."""
    leaf, *chain = read_pem(files.certificate, "certificate", _load_certificates)
    key = read_pem(files.private_key, "private key", _load_private_key)
    if leaf.public_key() != key.public_key():
        raise TLSFilesError(
            f"the private key {files.private_key} does not belong to the certificate {files.certificate}"
        )
    if not _is_for_servers(leaf):
        raise TLSFilesError(f"the certificate {files.certificate} is not one for servers, by its extended key usage")
    trust = load_trust(files.client_ca, files.crl, before)
    authorities = [Certificate(X509.from_cryptography(authority)) for authority in trust.authorities]
    options = CertificateOptions(
        # Twisted hands these on to pyOpenSSL, which takes `cryptography` objects; its annotations do not say so yet.
        privateKey=key,  # type: ignore[arg-type]
        certificate=leaf,  # type: ignore[arg-type]
        extraCertChain=chain,  # type: ignore[arg-type]
        trustRoot=trustRootFromCertificates(authorities),
        raiseMinimumTo=TLSVersion.TLSv1_3,
    )
    try:
        context = options.getContext()
        context.set_tls13_ciphersuites(CIPHER_SUITES)
        context.set_alpn_select_callback(_choose_protocol)
        trust.add_to(context)
    except SSL.Error as error:
        raise TLSFilesError(
            f"the pair {files.certificate}, {files.private_key} cannot be used: {_reason(error)}"
        ) from error
    return Policy(context, trust, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


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

    def reload(self) -> None:
        """Read the files again and use them for every later handshake; raises TLSFilesError, changing nothing.

        A certificate that is not valid is used all the same: refusing it would keep out revocations that come with it.
        """
        self.policy = load_policy(self.files, self.policy.trust)

    def warnings(self) -> list[str]:
        """Say what is not valid of what is in use: our own certificate, and the CAs, whose clients are refused."""
        now, policy = datetime.now(UTC), self.policy
        used = {f"server's certificate {self.files.certificate}": (policy.certificate_begins, policy.certificate_ends)}
        for ca in policy.trust.authorities:
            used[f"client CA {ca.subject.rfc4514_string()}"] = (ca.not_valid_before_utc, ca.not_valid_after_utc)
        ended = [f"the {what} has expired" for what, (_, ends) in used.items() if ends < now]
        return ended + [f"the {what} is not valid yet" for what, (begins, _) in used.items() if begins > now]

    def trust(self) -> Trust:
        """Whom we trust at this moment."""
        return self.policy.trust

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make the connection object of one handshake; for Twisted."""
        return SSL.Connection(self.policy.context, None)
