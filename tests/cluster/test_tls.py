"""TLS with the cluster: as strict as kubectl on every Python, and up to date with its files; all of it in memory."""

import ssl
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.tls import PEM, TLSFiles, TLSMaterial
from sre_server.errors import CredentialsError
from tests.certificates import CLIENT, Authority, Flaw, Pair
from tests.handshakes import server_context, shake_hands


class TLSTestCase(SynchronousTestCase):
    """A folder with an authority."""

    def setUp(self) -> None:
        """Make it."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.authority = Authority(self.folder, "Good")
        self.other = Authority(self.folder, "Other")


class StrictnessTests(TLSTestCase):
    """Whom the server believes to be its cluster."""

    def check(self, pair: Pair, trusted: Path) -> None:
        """Shake hands with a cluster that has this certificate; raises ssl.SSLError."""
        shake_hands(TLSMaterial(trusted.read_bytes()).context(), server_context(pair), "cluster.example")

    def test_authorities_of_clusters(self) -> None:
        """The CAs of EKS, MicroK8s and private clusters, which lack what strict clients ask for, are trusted."""
        for flaws in ((), *((flaw,) for flaw in Flaw)):
            authority = Authority(self.folder, f"CA {flaws}", flaws=flaws)
            with self.subTest(flaws):
                self.check(authority.issue("cluster.example"), authority.file)

    def test_the_same_on_any_python(self) -> None:
        """Python's own contexts are strict from 3.13 on; ours are not, and take partial chains before that, too."""
        flags = TLSMaterial(self.authority.file.read_bytes()).context().verify_flags
        self.assertFalse(flags & ssl.VERIFY_X509_STRICT)
        self.assertTrue(flags & ssl.VERIFY_X509_PARTIAL_CHAIN)

    def test_partial_chains(self) -> None:
        """A CA file with an intermediate authority alone, or with the very certificate, is enough, as for kubectl."""
        intermediate = Authority(self.folder, "Intermediate", self.authority)
        pair = intermediate.issue("cluster.example")
        for anchor in (intermediate.file, pair.certificate):
            with self.subTest(anchor.name):
                self.check(pair, anchor)

    def test_refused(self) -> None:
        """Another authority, another name, an end that has passed, and what is for clients are refused."""
        for pair in (
            self.other.issue("cluster.example"),
            self.authority.issue("else.example"),
            self.authority.issue("cluster.example", valid_until=timedelta(hours=-1)),
            self.authority.issue("cluster.example", usages=[CLIENT]),
        ):
            with self.subTest(pair.certificate.name):
                self.assertRaises(ssl.SSLCertVerificationError, self.check, pair, self.authority.file)

    def test_unverified(self) -> None:
        """Whoever asks for no verification gets none."""
        context = TLSMaterial(verify=False).context()
        shake_hands(context, server_context(self.other.issue("else.example")), "cluster.example")

    def test_client_certificate(self) -> None:
        """A client certificate and its key, which never touch a disk where that can be helped, are presented."""
        alice = self.authority.issue("alice")
        trusted = self.authority.file.read_bytes()
        server = server_context(self.authority.issue("cluster.example"))
        server.load_verify_locations(self.authority.file)
        server.verify_mode = ssl.CERT_REQUIRED
        context = TLSMaterial(trusted, alice.certificate.read_bytes(), alice.key.read_bytes()).context()
        shown = shake_hands(context, server, "cluster.example")
        self.assertEqual(shown, ssl.PEM_cert_to_DER_cert(alice.certificate.read_text()))


class FilesTests(TLSTestCase):
    """Files that are written anew."""

    def setUp(self) -> None:
        """Begin with good ones."""
        super().setUp()
        self.now = 100.0
        self.paths = Pair(self.folder / "tls.crt", self.folder / "tls.key")
        self.ca = self.folder / "ca.crt"
        self.ca.write_bytes(self.authority.file.read_bytes())
        self.alice, self.bob = self.authority.issue("alice"), self.authority.issue("bob")
        self.write(self.alice)
        self.files = self.make()

    def make(self) -> TLSFiles:
        """Make what reads them."""
        pems = [PEM(path.name, path=path) for path in (self.ca, *self.paths)]
        return TLSFiles(*pems, now=lambda: self.now)

    def write(self, pair: Pair) -> None:
        """Put a pair into the files."""
        self.paths.certificate.write_bytes(pair.certificate.read_bytes())
        self.paths.key.write_bytes(pair.key.read_bytes())

    def test_rotation(self) -> None:
        """New files are taken over a second later, and until then nothing is read."""
        first = self.files.material()
        self.write(self.bob)
        self.ca.write_bytes(self.other.file.read_bytes())
        self.now += 0.9
        self.assertIs(self.files.material(), first)
        self.now += 0.1
        second = self.files.material()
        self.assertEqual(second.authorities, self.other.file.read_bytes())
        self.assertEqual(
            (second.certificate, second.key), (self.bob.certificate.read_bytes(), self.bob.key.read_bytes())
        )

    def test_half_a_rotation(self) -> None:
        """A pair that does not match yet, or a file that is away or no PEM, leaves the last good one in use."""
        first = self.files.material()
        self.paths.certificate.write_bytes(self.bob.certificate.read_bytes())
        self.now += 1
        self.assertEqual(self.files.material(), first)
        self.paths.key.unlink()
        self.now += 1
        self.assertEqual(self.files.material(), first)
        self.write(self.bob)
        self.ca.write_text("-----BEGIN CERTIFICATE-----\n")
        self.now += 1
        self.assertEqual(self.files.material(), first)
        self.ca.write_bytes(self.authority.file.read_bytes())
        self.now += 1
        self.assertEqual(self.files.material().key, self.bob.key.read_bytes())

    def test_never_good(self) -> None:
        """At first there is no last good one: the error names the file or the field, in one line."""
        encrypted = load_pem_private_key(self.alice.key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        for path, content, named in (
            (self.ca, None, str(self.ca)),
            (self.ca, b"", "ca.crt"),
            (self.ca, b"no PEM", "ca.crt"),
            (self.paths.key, None, str(self.paths.key)),
            (self.paths.key, self.bob.key.read_bytes(), "tls.crt"),
            (self.paths.key, encrypted, "tls.crt"),
            (self.paths.certificate, b"no PEM", "tls.crt"),
        ):
            with self.subTest(named, content=content):
                before = path.read_bytes()
                path.unlink() if content is None else path.write_bytes(content)
                error = self.assertRaises(CredentialsError, self.make().material)
                path.write_bytes(before)
                self.assertIn(named, str(error))
                self.assertNotIn("\n", str(error))
