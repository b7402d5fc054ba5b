"""Revoked certificates in the handshake itself, between two OpenSSL ends in memory."""

from datetime import timedelta
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.tls import ServerTLS, TLSFiles
from tests.certificates import Authority, Pair, load
from tests.fakes import temporary_folder
from tests.security import test_tls

GOOD, REVOKED = "let in", "certificate revoked"


class RevocationTests(SynchronousTestCase):
    """Two clients of a CA, one of them to be revoked, and servers with lists of that CA's."""

    def setUp(self) -> None:
        """Make the CA and its clients."""
        self.folder = temporary_folder(self)
        self.authority = Authority(self.folder)
        self.pair = self.authority.issue("localhost")
        self.good, self.bad = self.authority.issue("good"), self.authority.issue("bad")
        self.serial = load(self.bad.certificate).serial_number

    def file(self, name: str, *parts: bytes) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(b"".join(parts))
        return path

    def server(self, *lists: bytes, ca: Path | None = None) -> ServerTLS:
        """A server with these revocation lists."""
        files = TLSFiles(self.pair.certificate, self.pair.key, ca or self.authority.file, self.file("crl.pem", *lists))
        return ServerTLS(files)

    def outcome(self, server: ServerTLS, client: Pair) -> str:
        """What becomes of a client: `let in`, or the alert that it gets."""
        end = test_tls.TLSClient(test_tls.client_context(self.authority.file, client), server)
        try:
            alert = end.alert()
        except AssertionError:
            return GOOD
        self.assertEqual(end.requests, 0)
        return REVOKED if REVOKED in alert else alert


class RevocationHandshakeTests(RevocationTests):
    """Handshakes of clients in every standing."""

    def test_a_revoked_client_gets_the_alert_that_says_so(self) -> None:
        """The revoked client's handshake fails; the other client's does not."""
        server = self.server(self.authority.revocation_list(self.serial))
        self.assertEqual(self.outcome(server, self.good), GOOD)
        self.assertEqual(self.outcome(server, self.bad), REVOKED)

    def test_an_expired_list_still_counts(self) -> None:
        """Past its next update it lets good clients in, and still refuses the revoked one."""
        issued, ended = timedelta(days=-3), timedelta(days=-1)
        server = self.server(self.authority.revocation_list(self.serial, issued=issued, next_update=ended))
        self.assertEqual(self.outcome(server, self.good), GOOD)
        self.assertEqual(self.outcome(server, self.bad), REVOKED)

    def test_a_list_alone_changes_nothing_else(self) -> None:
        """An expired client, another CA's, and one without a certificate are refused as without a list."""
        server = self.server(self.authority.revocation_list(self.serial))
        expired = self.authority.issue("late", valid_until=timedelta(hours=-1))
        self.assertIn("certificate expired", self.outcome(server, expired))
        foreign = Authority(self.folder, "Other CA").issue("good")
        self.assertIn("unknown ca", self.outcome(server, foreign))
        without = SSL.Context(SSL.TLS_CLIENT_METHOD)
        without.load_verify_locations(str(self.authority.file))
        self.assertIn("certificate required", test_tls.TLSClient(without, server).alert())

    def test_an_expired_list_does_not_excuse_another_fault(self) -> None:
        """What is forgiven is the list's age, not the age of a certificate."""
        issued, ended = timedelta(days=-3), timedelta(days=-1)
        server = self.server(self.authority.revocation_list(issued=issued, next_update=ended))
        expired = self.authority.issue("late", valid_until=timedelta(hours=-1))
        self.assertIn("certificate expired", self.outcome(server, expired))
        foreign = Authority(self.folder, "Other CA").issue("good")
        self.assertIn("unknown ca", self.outcome(server, foreign))

    def test_several_authorities(self) -> None:
        """Each client is judged by the list of its own CA."""
        other = Authority(self.folder, "Other CA")
        ca = self.file("both.pem", self.authority.file.read_bytes(), other.file.read_bytes())
        stranger = other.issue("bad")
        lists = [self.authority.revocation_list(), other.revocation_list(load(stranger.certificate).serial_number)]
        server = self.server(*lists, ca=ca)
        for client, outcome in ((self.bad, GOOD), (other.issue("good"), GOOD), (stranger, REVOKED)):
            self.assertEqual(self.outcome(server, client), outcome)

    def test_a_revoked_intermediate_authority(self) -> None:
        """A client of a CA that was itself revoked is refused, although its own certificate never was."""
        middle = Authority(self.folder, "Middle CA", self.authority)
        client = middle.issue("good")
        client.certificate.write_bytes(client.certificate.read_bytes() + middle.file.read_bytes())
        ca = self.file("both.pem", self.authority.file.read_bytes(), middle.file.read_bytes())
        server = self.server(self.authority.revocation_list(), middle.revocation_list(), ca=ca)
        self.assertEqual(self.outcome(server, client), GOOD)
        revoking = self.authority.revocation_list(middle.certificate.serial_number, number=2)
        self.assertEqual(self.outcome(self.server(revoking, middle.revocation_list(), ca=ca), client), REVOKED)

    def test_a_new_list_counts_from_the_next_handshake(self) -> None:
        """After a reload the client that was let in before is refused."""
        server = self.server(self.authority.revocation_list())
        self.assertEqual(self.outcome(server, self.bad), GOOD)
        self.file("crl.pem", self.authority.revocation_list(self.serial, number=2))
        server.reload_trust()
        self.assertEqual(self.outcome(server, self.bad), REVOKED)
        self.assertEqual(self.outcome(server, self.good), GOOD)
