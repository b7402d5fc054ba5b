"""Who may connect: the files that make the policy, and the policy itself, between two OpenSSL ends in memory."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
)
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sre_server.security.tls import ServerTLS, TLSFiles
from sre_server.web.transport import MutualTLSEndpoint
from tests.certificates import SERVER, Authority, Pair, PrivateKey, ecdsa_key, pem_of
from tests.fakes import temporary_folder
from tests.memory_client import ClientTransport, read_answers
from tests.memory_server import MemoryServer

PUT = b"PUT /namespaces/shop/deployments/web/replica_count/9 HTTP/1.1\r\nHost: localhost\r\n\r\n"


@implementer(IStreamServerEndpoint)
class KeepingEndpoint:
    """An endpoint that keeps the factory that it was to listen with."""

    factory: IProtocolFactory

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Keep it."""
        self.factory = protocolFactory
        return Deferred()


class TLSClient:
    """A client's OpenSSL end, and the server that a `MutualTLSEndpoint` puts in front of it."""

    def __init__(self, context: SSL.Context, options: ServerTLS, server: MemoryServer | None = None) -> None:
        self.end = SSL.Connection(context, None)
        self.end.set_connect_state()
        self.server = server or MemoryServer().sync()
        endpoint = KeepingEndpoint()
        MutualTLSEndpoint(endpoint, options).listen(self.server.site)
        assert isinstance(endpoint.factory, TLSMemoryBIOFactory)
        endpoint.factory._clock = self.server.clock
        self.transport = ClientTransport()
        protocol = endpoint.factory.buildProtocol(self.transport.getPeer())
        assert protocol is not None
        self.protocol = protocol
        self.protocol.makeConnection(self.transport)

    @property
    def requests(self) -> int:
        """How many requests have reached the server."""
        return len(self.server.writes)

    @property
    def closed(self) -> bool:
        """Whether the server has closed its side."""
        return self.transport.disconnecting

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.protocol.dataReceived(data)
        self.server.clock.advance(0)

    def received(self) -> bytes:
        """What the server has sent, as it is; once."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def pump(self) -> None:
        """Carry what either end has to say to the other."""
        with contextlib.suppress(SSL.WantReadError):
            self.send(self.end.bio_read(1 << 20))
        if data := self.received():
            self.end.bio_write(data)

    def ask(self) -> int:
        """Shake hands, make one request, and return the status of its answer; raises SSL.Error for an alert."""
        for _ in range(6):
            with contextlib.suppress(SSL.WantReadError):
                self.end.do_handshake()
            self.pump()
        self.end.sendall(PUT)
        self.pump()
        (answer,) = read_answers(self.end.recv(1 << 16))
        return answer.status

    def alert(self) -> str:
        """Fail to ask, and return the reason."""
        try:
            self.ask()
        except SSL.Error as error:
            return str(error)
        raise AssertionError("the client was let in")


class FolderTests(SynchronousTestCase):
    """Tests with files of their own."""

    def setUp(self) -> None:
        """Make a folder and a CA."""
        self.folder = temporary_folder(self)
        self.authority = Authority(self.folder)

    def file(self, name: str, content: bytes) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(content)
        return path


class PolicyTests(FolderTests):
    """The handshake, and what comes after it."""

    def setUp(self) -> None:
        """Have a server, and a client that is let in."""
        super().setUp()
        self.server = self.serving(self.authority.issue("localhost"))
        self.client = self.authority.issue("client")

    def serving(self, pair: Pair) -> ServerTLS:
        """The server's policy with a certificate and its key."""
        return ServerTLS(TLSFiles(pair.certificate, pair.key, self.authority.file))

    def connect(self, configure: Callable[[SSL.Context], object] = bool, client: Pair | None = None) -> "TLSClient":
        """Make the client's end, perhaps with something changed."""
        context = client_context(self.authority.file, client or self.client)
        configure(context)
        return TLSClient(context, self.server)

    def test_every_kind_of_key(self) -> None:
        """Ed25519, ECDSA and RSA serve, on either side."""
        keys: list[PrivateKey] = [Ed25519PrivateKey.generate(), ecdsa_key(), rsa.generate_private_key(65537, 2048)]
        keys.append(ec.generate_private_key(ec.SECP384R1()))
        for key in keys:
            pair = self.authority.issue("localhost", key=key)
            context = client_context(self.authority.file, pair)
            self.assertEqual(TLSClient(context, self.serving(pair)).ask(), 200, type(key).__name__)

    def test_several_authorities(self) -> None:
        """The CA file may hold several CAs; a client of any of them is let in."""
        pair, other = self.client, Authority(self.folder, "Other CA")
        both = self.file("both.pem", self.authority.file.read_bytes() + other.file.read_bytes())
        server = ServerTLS(TLSFiles(pair.certificate, pair.key, both))
        for authority in (self.authority, other):
            client = TLSClient(client_context(self.authority.file, authority.issue("client")), server)
            self.assertEqual(client.ask(), 200)

    def test_chains(self) -> None:
        """The certificate file may hold a chain, leaf first; a client that knows only the root verifies it."""
        root = trustme.CA()
        issued = root.create_child_ca().issue_cert("localhost")
        chain = self.file("chain.pem", b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.assertEqual(len(x509.load_pem_x509_certificates(chain.read_bytes())), 2)
        key, ca = self.file("chain.key", issued.private_key_pem.bytes()), self.file("root.pem", root.cert_pem.bytes())
        server = ServerTLS(TLSFiles(chain, key, ca))
        self.assertEqual(TLSClient(client_context(ca, Pair(chain, key)), server).ask(), 200)

    def test_one_self_signed_pair_for_everything(self) -> None:
        """RFD 0's development pair works as certificate, key and CA on both ends."""
        key = Ed25519PrivateKey.generate()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now, day = datetime.now(UTC), timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        # Not from now on: OpenSSL's clock, which is coarser, may be a moment behind.
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        certificate = self.file("public.pem", builder.sign(key, None).public_bytes(Encoding.PEM))
        pair = Pair(certificate, self.file("private.pem", pem_of(key)))
        server = ServerTLS(TLSFiles(pair.certificate, pair.key, certificate))
        self.assertEqual(TLSClient(client_context(certificate, pair), server).ask(), 200)

    def test_tls_1_2_is_refused(self) -> None:
        """An older client fails in the handshake, with the alert that says why."""
        client = self.connect(lambda context: context.set_max_proto_version(SSL.TLS1_2_VERSION))
        self.assertIn("protocol version", client.alert())
        self.assertEqual(client.requests, 0)

    def test_a_client_without_a_certificate_is_refused(self) -> None:
        """Its handshake succeeds, as TLS 1.3 has it; its first read is the alert, and no request is served."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(str(self.authority.file))
        client = TLSClient(context, self.server)
        self.assertIn("certificate required", client.alert())
        self.assertEqual(client.requests, 0)

    def test_clients_that_nobody_vouches_for_are_refused(self) -> None:
        """Another CA's client, one whose time is over or has not come, and a server's certificate."""
        for alert, pair in {
            "unknown ca": Authority(self.folder, "Other CA").issue("client"),
            "certificate expired": self.authority.issue("client", valid_until=timedelta(hours=-1)),
            "bad certificate": self.authority.issue("client", valid_from=timedelta(hours=1)),
            "unsupported certificate": self.authority.issue("client", usages=[SERVER]),
        }.items():
            client = self.connect(client=pair)
            self.assertIn(alert, client.alert())
            self.assertEqual(client.requests, 0, alert)

    def test_aes_128_comes_first(self) -> None:
        """Where a client offers all three suites, in whatever order, AES-128 is what it gets."""
        offered = b"TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
        client = self.connect(lambda context: context.set_tls13_ciphersuites(offered))
        self.assertEqual(client.ask(), 200)
        self.assertEqual(client.end.get_cipher_name(), "TLS_AES_128_GCM_SHA256")

    def test_the_three_suites_of_the_rfd_and_no_other(self) -> None:
        """Each of the three serves alone; a fourth does not."""
        for suite in ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"):
            client = self.connect(lambda context, suite=suite: context.set_tls13_ciphersuites(suite.encode()))  # type: ignore[misc]
            self.assertEqual((client.ask(), client.end.get_cipher_name()), (200, suite))
        client = self.connect(lambda context: context.set_tls13_ciphersuites(b"TLS_AES_128_CCM_SHA256"))
        self.assertIn("handshake failure", client.alert())

    def test_http_1_1_is_all_that_is_negotiated(self) -> None:
        """Whoever offers it gets it, whoever offers nothing is served, and what else there is has its own alert."""
        for offered, chosen in (([b"h2", b"http/1.1"], b"http/1.1"), ([b"http/1.1"], b"http/1.1"), ([], b"")):
            client = self.connect(lambda context, offered=offered: offered and context.set_alpn_protos(offered))  # type: ignore[misc]
            self.assertEqual((client.ask(), client.end.get_alpn_proto_negotiated()), (200, chosen))
            for other in (b"h2", b"http/1.0"):
                refused = self.connect(lambda context, other=other: context.set_alpn_protos([other]))  # type: ignore[misc]
                self.assertIn("no application protocol", refused.alert())
                self.assertEqual((refused.closed, refused.requests), (True, 0))

    def test_no_session_is_resumed(self) -> None:
        """A client that brings its last session back is verified in full again."""
        context = client_context(self.authority.file, self.client)
        first = TLSClient(context, self.server)
        self.assertEqual(first.ask(), 200)
        second = TLSClient(context, self.server)
        if (session := first.end.get_session()) is not None:
            second.end.set_session(session)
        self.assertEqual(second.ask(), 200)
        self.assertIsNotNone(second.end.get_verified_chain(), "a resumed session has no chain that was verified")

    def test_what_is_not_tls_is_not_answered(self) -> None:
        """Plain HTTP never reaches the site."""
        client = self.connect()
        client.send(PUT)
        self.assertNotIn(b"HTTP/1.1", client.received())
        self.assertEqual((client.closed, client.requests), (True, 0))


def client_context(ca: Path, pair: Pair) -> SSL.Context:
    """Make a client's context, which verifies the server by `ca`."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(ca))
    context.set_verify(SSL.VERIFY_PEER)
    context.use_certificate_chain_file(str(pair.certificate))
    context.use_privatekey_file(str(pair.key))
    return context
