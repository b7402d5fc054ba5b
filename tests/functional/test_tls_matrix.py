"""Who gets in: every kind of client that must not, each followed by one that must.

In TLS 1.3 the server's refusal arrives after the handshake, so each attempt reads until it sees it.
"""

import socket
import ssl
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import CLIENT, SERVER, Authority
from tests.functional.daemon import Daemon

REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class TLSMatrixTests(SynchronousTestCase):
    """One daemon, many clients."""

    def setUp(self) -> None:
        """Start the daemon."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.daemon = Daemon(self.folder, "--cluster=simulated")
        self.addCleanup(self.daemon.close)

    def _plain(self, data: bytes) -> bytes:
        """Send bytes without TLS and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=20) as connection:
            connection.sendall(data)
            received = b""
            while chunk := connection.recv(4096):
                received += chunk
            return received

    def _tls(self, context: ssl.SSLContext) -> bytes:
        """Send a request over TLS and return all that comes back; raises what the refusal raises."""
        with (
            socket.create_connection(("127.0.0.1", self.daemon.port), timeout=20) as connection,
            context.wrap_socket(connection, server_hostname="localhost") as secured,
        ):
            secured.sendall(REQUEST)
            received = b""
            while chunk := secured.recv(4096):
                received += chunk
            return received

    def _anonymous(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.daemon.authority.file))

    def _old(self) -> ssl.SSLContext:
        context = self.daemon.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    def test_refusals(self) -> None:
        """Whoever is not vouched for is refused with the alert that says why, and the next good client is served."""
        authority = self.daemon.authority
        stranger = Authority(self.folder, "Another CA").issue("alice")
        day = timedelta(days=1)
        expired = authority.issue("alice", valid_from=-2 * day, valid_until=-day)
        early = authority.issue("alice", valid_from=day, valid_until=2 * day)
        server_only = authority.issue("alice", usages=[SERVER])
        context = self.daemon.context
        cases: list[tuple[str, Callable[[], ssl.SSLContext], str]] = [
            ("no certificate", self._anonymous, "CERTIFICATE_REQUIRED"),
            ("wrong CA", lambda: context(stranger), "UNKNOWN_CA"),
            ("expired", lambda: context(expired), "CERTIFICATE_EXPIRED"),
            ("not yet valid", lambda: context(early), "BAD_CERTIFICATE"),
            ("server-only EKU", lambda: context(server_only), "UNSUPPORTED_CERTIFICATE"),
            ("TLS 1.2", self._old, "PROTOCOL_VERSION"),
        ]
        for name, make_context, alert in cases:
            refusal = self.assertRaises(ssl.SSLError, self._tls, make_context())
            self.assertIn(alert, refusal.reason, name)
            self.assertEqual(self.daemon.get("/livez").status, 200, f"a good client after: {name}")

    def test_not_tls(self) -> None:
        """Plain HTTP and garbage get no HTTP answer, only the end of the connection; the next good client is served."""
        for name, data in [("plain HTTP", REQUEST), ("garbage", b"\x00\xff" * 4096), ("a newline", b"\r\n\r\n" * 512)]:
            try:
                received = self._plain(data)
            except ConnectionResetError:
                received = b""
            self.assertNotIn(b"HTTP", received, name)
            self.assertEqual(self.daemon.get("/livez").status, 200, f"a good client after: {name}")

    def test_good_clients(self) -> None:
        """A certificate with clientAuth, and one without any extended key usage, are both let in."""
        for usages in ([CLIENT], []):
            pair = self.daemon.authority.issue("bob", usages=usages)
            self.assertIn(b" 200 ", self._tls(self.daemon.context(pair)))

    def test_cipher_suite(self) -> None:
        """A client that offers every suite gets TLS 1.3 with AES-128, which the server prefers."""
        with (
            socket.create_connection(("127.0.0.1", self.daemon.port), timeout=20) as connection,
            self.daemon.context().wrap_socket(connection, server_hostname="localhost") as secured,
        ):
            self.assertEqual(secured.cipher(), ("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128))

    def test_no_resumption(self) -> None:
        """A session that a client tries to resume is not resumed: its certificate is verified anew."""
        context = self.daemon.context()
        session = None
        for _ in range(2):
            with (
                socket.create_connection(("127.0.0.1", self.daemon.port), timeout=20) as connection,
                context.wrap_socket(connection, server_hostname="localhost", session=session) as secured,
            ):
                secured.sendall(REQUEST)
                while secured.recv(4096):
                    pass
                self.assertFalse(secured.session_reused)
                session = secured.session
