"""Every file of the TLS policy is replaced again and again, badly, while clients connect and ask: nobody notices."""

import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.reloading import LOOK_SECONDS
from tests.certificates import Authority, load
from tests.functional.asking import Asking
from tests.functional.daemon import Daemon
from tests.functional.load import connect_tls, metric, pause, report, statuses, together

ROUNDS = 2
GROUPS = ("server pair", "client CAs and CRLs")
REQUEST = b"GET /deployments/shop HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def rewrite(path: Path, data: bytes) -> None:
    """Write as no careful program would: empty the file, and fill it in two steps, in no hurry."""
    with path.open("wb") as file:
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            pause(0.4)
            file.write(part)
            file.flush()


class RotationTests(SynchronousTestCase):
    """A daemon whose server pair, client CAs and revocation list change every second or so."""

    def setUp(self) -> None:
        """Start the daemon with all of the files."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.own = Authority(self.folder)
        self.pair = self.own.issue("localhost")
        self.lists = self.folder / "crl.pem"
        self.lists.write_bytes(self.own.revocation_list())
        self.authorities = self.folder / "clients.pem"
        self.authorities.write_bytes(self.own.file.read_bytes())
        self.daemon = Daemon(
            self.folder,
            "--cluster=simulated",
            f"--tls-crl={self.lists}",
            "--handshake-rate=1000",
            server=self.pair,
            client_ca=self.authorities,
            authority=self.own,
        )
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()

    def _rotate(self, round_number: int) -> None:
        """Replace everything: the order of CAs and lists changes, too, and each list names somebody more."""
        new = self.own.issue("localhost")
        guest = Authority(self.folder, f"Guest CA {round_number}")
        parts = [self.own.file.read_bytes(), guest.file.read_bytes()]
        lists = [self.own.revocation_list(*range(1, round_number), number=1 + round_number), guest.revocation_list()]
        rewrite(self.pair.certificate, new.certificate.read_bytes())
        rewrite(self.authorities, b"".join(parts[:: 1 - 2 * (round_number % 2)]))
        rewrite(self.pair.key, new.key.read_bytes())
        rewrite(self.lists, b"".join(lists))

    def _is_newest(self) -> bool:
        with connect_tls(self.daemon) as connection:
            shown = connection.getpeercert(binary_form=True)
        return shown == load(self.pair.certificate).public_bytes(Encoding.DER)

    def test_rotation_under_load(self) -> None:
        """While the files change, no handshake and no request fails, on new connections or on an old one."""
        over = False
        failures: list[str] = []

        def connect() -> int:
            done = 0
            while not over:
                try:
                    with connect_tls(self.daemon) as connection:
                        connection.sendall(REQUEST)
                        received = b""
                        while chunk := connection.recv(4096):
                            received += chunk
                except OSError as error:
                    failures.append(repr(error))
                else:
                    if statuses(received) != [200]:
                        failures.append(repr(received))
                    done += 1
                pause(0.01)
            return done

        def rotate() -> int:
            nonlocal over
            try:
                for round_number in range(1, ROUNDS + 1):
                    self._rotate(round_number)
                    self.daemon.wait_for(self._is_newest, "using the newest pair")
            finally:
                over = True
            return 0

        old = Asking(self.daemon, "/deployments/shop", self.daemon.client, every=0.01)
        began = time.monotonic()
        done = together(connect, connect, connect, rotate)
        asked = old.stop()
        self.assertEqual((failures, asked.failures, list(asked.statuses)), ([], [], ["200"]))
        taken, refused = (
            sum(metric(self.daemon, f'sre_server_reloads_total{{result="{result}",what="{what}"}}') for what in GROUPS)
            for result in ("taken", "refused")
        )
        report(
            f"{ROUNDS} rotations in {time.monotonic() - began:.0f} s, {refused:.0f} states in between refused, "
            f"{taken:.0f} taken: "
            f"{sum(done)} new connections and {asked.statuses['200']} requests on an old one, 0 failed"
        )
        self.assertNotIn("Traceback", self.daemon.said())


class HalfBundleTests(SynchronousTestCase):
    """A daemon without revocation lists, so that nothing but its length says that a bundle of CAs is not whole."""

    def test_a_bundle_written_in_two_steps(self) -> None:
        """A bundle that is cut between two CAs is a whole file, and yet its clients are not refused meanwhile."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        own, guest = Authority(Path(folder.name)), Authority(Path(folder.name), "Guest CA")
        bundle = Path(folder.name) / "clients.pem"
        bundle.write_bytes(own.file.read_bytes())
        daemon = Daemon(Path(folder.name), "--cluster=simulated", client_ca=bundle, authority=own)
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        asking = Asking(daemon, "/deployments/shop", daemon.client, every=0.05)
        for _ in range(2):
            with bundle.open("wb") as file:
                file.write(guest.file.read_bytes())
                file.flush()
                pause(0.5 * LOOK_SECONDS)
                file.write(own.file.read_bytes())
            pause(1.25 * LOOK_SECONDS)
        asked = asking.stop()
        self.assertEqual((list(asked.statuses), asked.failures), (["200"], []))
