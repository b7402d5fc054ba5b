"""Certificates, revocation lists and CAs that change under a living connection, and files that make no sense meanwhile.

A change counts within 10 s, which `tests/security/test_reloading.py` holds to the second, on the next request of an old
connection as in every new handshake; what cannot be used leaves everything as it was, and says so in the log, in the
metrics and in `readyz?verbose`.
"""

import ssl
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from http.client import HTTPSConnection
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, Pair, load
from tests.functional.daemon import Answer, Daemon
from tests.functional.load import GOOD, connect_tls, metric, pause, report

WITHIN = 30.0
PAIR, TRUST = "server pair", "client CAs and CRLs"
FAMILY_A, FAMILY_B = "/deployments/shop", "/namespaces"


class MotionTests(SynchronousTestCase):
    """A daemon whose files change; Alice is in good standing throughout, on one connection."""

    def setUp(self) -> None:
        """Make two CAs, and the files that will change."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.own = Authority(self.folder)
        self.other = Authority(self.folder, "Other CA")

    def start(self, *options: str, server: Pair | None = None, client_ca: Path | None = None) -> None:
        """Start the daemon, and have Alice connected."""
        self.daemon = Daemon(
            self.folder, "--cluster=simulated", *options, server=server, client_ca=client_ca, authority=self.own
        )
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        self.alice = self.connect(self.daemon.client)
        self.assertEqual(self.get(self.alice).status, 200)

    def connect(self, pair: Pair) -> HTTPSConnection:
        """Return a connection that stays as it is: one that the daemon has closed is not opened again."""
        connection = HTTPSConnection("localhost", self.daemon.port, context=self.daemon.context(pair), timeout=20)
        connection.connect()
        connection.auto_open = 0
        self.addCleanup(connection.close)
        return connection

    def get(self, connection: HTTPSConnection, path: str = FAMILY_A) -> Answer:
        """Ask on a connection."""
        return self.daemon.request("GET", path, connection=connection)

    def is_let_in(self, pair: Pair) -> bool:
        """Tell whether a new handshake, and a request behind it, go well."""
        return self.alert(pair) is None

    def alert(self, pair: Pair) -> str | None:
        """Return the alert that refuses a new handshake, or None if it is not refused."""
        try:
            with connect_tls(self.daemon, pair) as connection:
                connection.sendall(GOOD)
                connection.recv(1)
        except ssl.SSLError as error:
            return error.reason
        return None

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for what was promised, asking gently, and report how long that took."""
        began = time.monotonic()
        while not condition():
            self.assertLess(time.monotonic() - began, WITHIN, what)
            pause(0.1)
        report(f"{what}: {time.monotonic() - began:.1f} s of {WITHIN:.0f} s")

    def assert_refused(self, what: str, connection: HTTPSConnection, path: str, status: int) -> None:
        """Check that the next request of a connection gets this status in time, and then the end."""
        answers = [self.get(connection, path)]

        def refused() -> bool:
            if answers[-1].status == 200:
                answers.append(self.get(connection, path))
            return answers[-1].status != 200

        self.wait_for(what, refused)
        self.assertEqual((answers[-1].status, answers[-1].headers["connection"]), (status, "close"), what)
        self.assertEqual(self.get(self.alice).status, 200, f"Alice, {what}")

    def failing(self, group: str) -> float:
        """What the metric says of a group of files."""
        return metric(self.daemon, f'sre_server_reload_failing{{what="{group}"}}')

    def assert_kept(self, what: str, why: str, group: str = TRUST) -> None:
        """Check that a change is refused, and that all the world is told."""
        self.wait_for(f"{what}: refused", lambda: self.failing(group) == 1)
        self.daemon.wait_for_line(f"{group}: the change is not taken over: .*{why}")
        (warning,) = self.daemon.ops("/readyz?verbose").json["warnings"]
        self.assertRegex(warning, f"{group}: .*{why}")
        self.assertTrue(self.is_let_in(self.daemon.client), what)
        self.assertEqual(self.get(self.alice).status, 200, what)

    def assert_taken(self, what: str, group: str = TRUST) -> None:
        """Check that a change is taken over, and that nothing is left to warn of."""
        self.wait_for(f"{what}: taken over", lambda: self.failing(group) == 0)
        self.assertEqual(self.daemon.ops("/readyz?verbose").json["warnings"], [])

    def test_a_certificate_that_expires(self) -> None:
        """Its owner is told beforehand; afterwards the next request is refused in the family's status."""
        self.start()
        lasting = self.connect(self.own.issue("carol", valid_until=timedelta(days=8)))
        self.assertNotIn("x-client-certificate-expires", self.get(lasting).headers)
        brief = self.own.issue("bob", valid_until=timedelta(seconds=15))
        connections = {FAMILY_A: (self.connect(brief), 401), FAMILY_B: (self.connect(brief), 403)}
        ends = load(brief.certificate).not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
        for path, (connection, _) in connections.items():
            answer = self.get(connection, path)
            self.assertEqual((answer.status, answer.headers["x-client-certificate-expires"]), (200, ends))
        self.assertGreaterEqual(metric(self.daemon, "sre_server_client_certificate_expiring_requests_total"), 2)
        for path, (connection, status) in connections.items():
            self.assert_refused(f"expired, {path}", connection, path, status)
        self.wait_for("expired, a new handshake", lambda: "CERTIFICATE_EXPIRED" in (self.alert(brief) or ""))

    def test_a_certificate_that_is_revoked(self) -> None:
        """A new list counts for old connections and for new ones; an older list, or a forged one, counts for none."""
        lists = self.folder / "crl.pem"
        lists.write_bytes(self.own.revocation_list(number=2))
        self.start("--tls-crl", str(lists))
        bob = self.own.issue("bob")
        first, second = self.connect(bob), self.connect(bob)
        self.assertEqual((self.get(first).status, self.get(second, FAMILY_B).status), (200, 200))
        lists.write_bytes(self.own.revocation_list(load(bob.certificate).serial_number, number=3))
        self.assert_refused("revoked", first, FAMILY_A, 401)
        self.assert_refused("revoked, the other family", second, FAMILY_B, 403)
        self.assertIn("CERTIFICATE_REVOKED", self.alert(bob) or "")
        lists.write_bytes(self.own.revocation_list(number=1))
        self.assert_kept("an older list", "older than the one in use")
        self.assertIn("CERTIFICATE_REVOKED", self.alert(bob) or "")
        lists.write_bytes(self.own.revocation_list(number=9, signed_by=self.other))
        self.daemon.wait_for_line("not taken over: .*no client CA has signed", WITHIN)
        self.assertIn("CERTIFICATE_REVOKED", self.alert(bob) or "")
        for why, how in (
            ("OpenSSL cannot enforce", {"extensions": [(x509.DeltaCRLIndicator(3), True)]}),
            ("dated in the future", {"issued": timedelta(hours=1), "next_update": timedelta(hours=2)}),
        ):
            lists.write_bytes(self.own.revocation_list(number=9, **how))
            self.daemon.wait_for_line(f"not taken over: .*{why}", WITHIN)
            self.assert_kept(f"a list {why}", why)
            self.assertIn("CERTIFICATE_REVOKED", self.alert(bob) or "")
        lists.write_bytes(self.own.revocation_list(number=4))
        self.assert_taken("a newer list")
        self.assertTrue(self.is_let_in(bob))

    def test_an_authority_that_is_withdrawn(self) -> None:
        """Clients of a CA that is added get in soon, and are refused soon after its withdrawal."""
        authorities = self.folder / "clients.pem"
        authorities.write_bytes(self.own.file.read_bytes())
        self.start(client_ca=authorities)
        bob = self.other.issue("bob")
        self.assertIn("UNKNOWN_CA", self.alert(bob) or "")
        authorities.write_bytes(self.own.file.read_bytes() + self.other.file.read_bytes())
        self.wait_for("a new CA", lambda: self.is_let_in(bob))
        first, second = self.connect(bob), self.connect(bob)
        self.assertEqual((self.get(first).status, self.get(second, FAMILY_B).status), (200, 200))
        authorities.write_bytes(self.own.file.read_bytes())
        self.assert_refused("a CA withdrawn", first, FAMILY_A, 401)
        self.assert_refused("a CA withdrawn, the other family", second, FAMILY_B, 403)
        self.assertIn("UNKNOWN_CA", self.alert(bob) or "")

    def test_a_pair_that_makes_no_sense(self) -> None:
        """A half-written or mismatched pair leaves the last good one in use, and keeps no revocation out."""
        served, new, bob = self.own.issue("localhost"), self.own.issue("localhost"), self.own.issue("bob")
        lists = self.folder / "crl.pem"
        lists.write_bytes(self.own.revocation_list(number=1))
        self.start("--tls-crl", str(lists), server=served)
        certificate = new.certificate.read_bytes()
        served.certificate.write_bytes(certificate[: len(certificate) // 2])
        self.assert_kept("a half-written certificate", "is not a usable PEM file", PAIR)
        served.certificate.write_bytes(certificate)
        self.daemon.wait_for_line("not taken over: .*does not belong to the certificate", WITHIN)
        self.assert_kept("a certificate without its key", "does not belong to the certificate", PAIR)
        connected = self.connect(bob)
        lists.write_bytes(self.own.revocation_list(load(bob.certificate).serial_number, number=2))
        self.assert_refused("revoked meanwhile", connected, FAMILY_A, 401)
        self.assertIn("CERTIFICATE_REVOKED", self.alert(bob) or "")
        served.key.write_bytes(new.key.read_bytes())
        self.assert_taken("a new pair", PAIR)
        with connect_tls(self.daemon) as connection:
            shown = connection.getpeercert(binary_form=True)
        self.assertEqual(shown, load(new.certificate).public_bytes(Encoding.DER))
        self.assertEqual(self.get(self.alice).status, 200)
