"""Who is at the other end of a connection, on every request anew: certificates end, and trust is withdrawn."""

import contextlib
from datetime import UTC, datetime, timedelta
from unittest import mock

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotIdentified
from sre_server.security import clients
from sre_server.security.clients import CertificateClients
from sre_server.security.identity import identify
from sre_server.security.tls import ServerTLS, TLSFiles
from sre_server.security.trust import Trust, load_trust
from tests.certificates import Authority, Pair, load
from tests.fakes import temporary_folder


class Handshaken:
    """A transport whose TLS handshake is over, with this server and this client."""

    def __init__(self, server: ServerTLS, client: Pair, ca: Authority) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(str(ca.file))
        context.use_certificate_chain_file(str(client.certificate))
        context.use_privatekey_file(str(client.key))
        near, far = SSL.Connection(context, None), SSL.Connection(server.policy.context, None)
        near.set_connect_state()
        far.set_accept_state()
        for end, other in [(near, far), (far, near)] * 2:
            with contextlib.suppress(SSL.WantReadError):
                end.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(1 << 20))
        self._end = far

    def getHandle(self) -> SSL.Connection:
        """The OpenSSL end, as Twisted's TLS transport has it."""
        return self._end


class ClientsTests(SynchronousTestCase):
    """One connection of a client of a CA, and a trust that changes meanwhile."""

    def setUp(self) -> None:
        """Shake hands."""
        folder = temporary_folder(self)
        self.authority, self.other = Authority(folder), Authority(folder, "Other CA")
        self.both = folder / "both.pem"
        self.both.write_bytes(self.authority.file.read_bytes() + self.other.file.read_bytes())
        self.crl = folder / "crl.pem"
        self.pair = self.authority.issue("alice")
        self.server = ServerTLS(TLSFiles(*self.authority.issue("localhost"), self.authority.file))
        self.trust = self.server.policy.trust
        self.checks = 0
        self.identify = mock.Mock(side_effect=identify)
        self.clients = CertificateClients(lambda: self.trust, self.identify)
        self.client = self.clients.accepted()
        self.transport = Handshaken(self.server, self.pair, self.authority)

    def name(self) -> str:
        """Who the client is now."""
        return self.client.identity(self.transport).name

    def refusal(self) -> str:
        """Why the client is nobody now."""
        return str(self.assertRaises(NotIdentified, self.client.identity, self.transport))

    def test_who_it_is(self) -> None:
        """The identity is that of the certificate that the handshake proved."""
        identity = self.client.identity(self.transport)
        certificate = load(self.pair.certificate)
        self.assertEqual((identity.name, identity.not_after), ("alice", certificate.not_valid_after_utc))

    def test_the_certificate_is_read_once(self) -> None:
        """However many requests and connections a client has, its certificate is read once, and not verified again."""
        with mock.patch.object(Trust, "check", autospec=True) as check:
            for _ in range(5):
                self.assertEqual(self.name(), "alice")
            self.client = self.clients.accepted()
            self.transport = Handshaken(self.server, self.pair, self.authority)
            self.assertEqual(self.name(), "alice")
        self.assertEqual((self.identify.call_count, check.call_count), (1, 0))

    def test_each_certificate_is_read(self) -> None:
        """Another client is not taken for one that was here before, not even another certificate of the same name."""
        before = self.client.identity(self.transport)
        for name in ("alice", "bob"):
            self.client = self.clients.accepted()
            self.transport = Handshaken(self.server, self.authority.issue(name), self.authority)
            identity = self.client.identity(self.transport)
            self.assertEqual(identity.name, name)
            self.assertNotEqual(identity.certificate_sha256, before.certificate_sha256)

    def test_it_expires_while_connected(self) -> None:
        """From the moment that the certificate ends, no request is served any more."""
        self.assertEqual(self.name(), "alice")
        end = load(self.pair.certificate).not_valid_after_utc
        with mock.patch.object(clients, "datetime") as clock:
            clock.now.return_value = end
            self.assertEqual(self.name(), "alice")
            clock.now.return_value = end + timedelta(microseconds=1)
            self.assertIn("expired", self.refusal())
        self.assertGreater(end, datetime.now(UTC))

    def test_what_vouches_for_it_expires_first(self) -> None:
        """A certificate is worth no more than those above it: the end of an intermediate one is its own."""
        middle = Authority(temporary_folder(self), "Middle CA", self.authority, valid_until=timedelta(hours=1))
        pair = middle.issue("alice")
        pair.certificate.write_bytes(pair.certificate.read_bytes() + middle.file.read_bytes())
        self.transport = Handshaken(self.server, pair, self.authority)
        end = middle.certificate.not_valid_after_utc
        self.assertLess(end, load(pair.certificate).not_valid_after_utc)
        self.assertEqual(self.client.identity(self.transport).not_after, end)
        with mock.patch.object(clients, "datetime") as clock:
            clock.now.return_value = end + timedelta(seconds=1)
            self.assertIn("expired", self.refusal())

    def test_who_is_refused(self) -> None:
        """Whoever is nobody is still the holder of a certificate, and the refusal says of which."""
        sha256 = self.client.identity(self.transport).certificate_sha256
        self.trust = load_trust(self.other.file, None)
        error = self.assertRaises(NotIdentified, self.client.identity, self.transport)
        self.assertEqual(error.certificate_sha256, sha256)
        error = self.assertRaises(NotIdentified, self.clients.accepted().identity, object())
        self.assertIsNone(error.certificate_sha256)

    def test_its_authority_is_withdrawn(self) -> None:
        """The first request after its CA has left the file is refused, and so is every other, until it is back."""
        self.assertEqual(self.name(), "alice")
        self.trust = load_trust(self.other.file, None)
        for _ in range(3):
            self.assertIn("no longer trusted", self.refusal())
        self.trust = load_trust(self.both, None)
        self.assertEqual(self.name(), "alice")

    def test_its_authority_is_withdrawn_before_its_first_request(self) -> None:
        """A connection that was silent until then is judged by the trust of now."""
        self.trust = load_trust(self.other.file, None)
        self.assertIn("no longer trusted", self.refusal())

    def test_another_authority_of_the_same_name(self) -> None:
        """A CA that only calls itself the same vouches for nobody else's clients."""
        self.trust = load_trust(Authority(temporary_folder(self)).file, None)
        self.assertIn("no longer trusted", self.refusal())

    def test_it_is_revoked_while_connected(self) -> None:
        """The first request after a revocation list names it is refused."""
        self.assertEqual(self.name(), "alice")
        self.crl.write_bytes(self.authority.revocation_list())
        self.trust = load_trust(self.authority.file, self.crl, self.trust)
        self.assertEqual(self.name(), "alice")
        self.crl.write_bytes(self.authority.revocation_list(load(self.pair.certificate).serial_number, number=2))
        self.trust = load_trust(self.authority.file, self.crl, self.trust)
        self.assertIn("revoked", self.refusal())
        self.assertIn("revoked", self.refusal())

    def test_it_was_revoked_before_it_connected(self) -> None:
        """A list is looked up by us as well on the first request, should the handshake have let it pass."""
        self.crl.write_bytes(self.authority.revocation_list(load(self.pair.certificate).serial_number))
        self.trust = load_trust(self.authority.file, self.crl)
        self.client = self.clients.accepted()
        for _ in range(2):
            self.assertIn("revoked", self.refusal())

    def test_the_serial_number_of_another_authority(self) -> None:
        """Serial numbers are each CA's own: a list of one revokes nothing of another."""
        serial = load(self.pair.certificate).serial_number
        self.crl.write_bytes(self.authority.revocation_list() + self.other.revocation_list(serial))
        self.trust = load_trust(self.both, self.crl)
        self.assertEqual(self.name(), "alice")

    def test_what_is_still_trusted_is_checked_once_for_each_change(self) -> None:
        """Another CA added beside its own changes nothing for a client, and costs one check."""
        self.assertEqual(self.name(), "alice")
        for expected in (1, 2):
            self.trust = load_trust(self.both, None)
            with mock.patch.object(Trust, "check", autospec=True, side_effect=Trust.check) as check:
                self.assertEqual([self.name() for _ in range(4)], ["alice"] * 4)
            self.assertEqual(check.call_count, 1, expected)

    def test_a_certificate_that_cannot_be_read(self) -> None:
        """One that OpenSSL takes, and our parser does not, is nobody's: that is no error of the server's."""
        der = load(self.pair.certificate).public_bytes(Encoding.DER)
        strange = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
        self.patch(clients, "verified_chain", lambda _: [strange])
        error = self.assertRaises(NotIdentified, self.clients.accepted().identity, None)
        self.assertIn("cannot be read", str(error))

    def test_connections_without_a_certificate(self) -> None:
        """What is no TLS, or had no handshake yet, is nobody."""
        silent = mock.Mock(getHandle=lambda: SSL.Connection(self.server.policy.context, None))
        for transport in (StringTransport(), object(), mock.Mock(getHandle=lambda: None), silent):
            error = self.assertRaises(NotIdentified, self.client.identity, transport)
            self.assertIn("no client certificate", str(error))
        self.assertEqual(self.name(), "alice")

    def test_nobody_twice(self) -> None:
        """A certificate without an identity is refused on each request, not on the first alone."""
        self.identify.side_effect = NotIdentified("Nobody.")
        self.assertEqual([self.refusal(), self.refusal()], ["Nobody.", "Nobody."])
