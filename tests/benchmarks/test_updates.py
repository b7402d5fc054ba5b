"""KeyUpdates that are sealed here are what OpenSSL takes for them."""

import contextlib
import tempfile
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.benchmarks.updates import logged_secret, sealed
from tests.certificates import Authority

REQUEST = b"GET / HTTP/1.1\r\n\r\n"


def records_of(sent: bytes) -> list[bytes]:
    """Take apart what was sent."""
    records = []
    while sent:
        length = 5 + int.from_bytes(sent[3:5])
        records.append(sent[:length])
        sent = sent[length:]
    return records


class SealedTests(SynchronousTestCase):
    """In memory, from one end of a handshake to the other."""

    def setUp(self) -> None:
        """Make a certificate."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.pair = Authority(Path(folder.name)).issue("localhost")

    def shaken_hands(self, suite: bytes) -> tuple[SSL.Connection, str]:
        """Return the server's end of a handshake, and the client's key log."""
        lines: list[bytes] = []
        server, client = SSL.Context(SSL.TLS_METHOD), SSL.Context(SSL.TLS_METHOD)
        server.use_certificate_file(str(self.pair.certificate))
        server.use_privatekey_file(str(self.pair.key))
        client.set_tls13_ciphersuites(suite)
        client.set_keylog_callback(lambda _, line: lines.append(line))
        ours, theirs = SSL.Connection(server), SSL.Connection(client)
        ours.set_accept_state()
        theirs.set_connect_state()
        for end, other in ((theirs, ours), (ours, theirs), (theirs, ours)):
            with contextlib.suppress(SSL.WantReadError):
                end.do_handshake()
            other.bio_write(end.bio_read(65536))
        ours.do_handshake()
        return ours, b"\n".join(lines).decode()

    def test_keys_change_with_each(self) -> None:
        """After any number of them a request is read with the keys of then, of either size."""
        for suite, digest in ((b"TLS_AES_128_GCM_SHA256", "sha256"), (b"TLS_AES_256_GCM_SHA384", "sha384")):
            server, log = self.shaken_hands(suite)
            secret = logged_secret(log, "CLIENT_TRAFFIC_SECRET_0")
            *updates, request = sealed(digest, secret, 100, REQUEST, answered=False)
            for record in updates:
                server.bio_write(record)
                self.assertRaises(SSL.WantReadError, server.recv, 100)
            server.bio_write(request)
            self.assertEqual(server.recv(100), REQUEST)

    def test_an_answer_is_asked_for(self) -> None:
        """OpenSSL sends a KeyUpdate of its own before what it sends next, for one that asks for it and for no other."""
        for answered in (False, True):
            server, log = self.shaken_hands(b"TLS_AES_128_GCM_SHA256")
            with contextlib.suppress(SSL.WantReadError):
                server.bio_read(65536)  # tickets
            secret = logged_secret(log, "CLIENT_TRAFFIC_SECRET_0")
            server.bio_write(next(sealed("sha256", secret, 1, REQUEST, answered=answered)))
            self.assertRaises(SSL.WantReadError, server.recv, 100)
            server.send(b"answer")
            records = records_of(server.bio_read(65536))
            self.assertEqual(len(records), 1 + answered)
