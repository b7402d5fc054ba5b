"""docs/certificates.md, command by command: its CA, its server, its client, and its revocation."""

import re
import shutil
import ssl
import subprocess
import tempfile
from http.client import HTTPSConnection
from pathlib import Path

import prometheus_client
from cryptography import x509
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.certificates import Pair, load
from tests.functional.daemon import Answer, Daemon, environment
from tests.functional.pythons import ROOT, pythons

GUIDE = ROOT / "docs/certificates.md"
CHECK = ROOT / "helm/sre-server/files/mutual_tls.py"
NAME = "sre.example.org"
HERE = """
import runpy, socket
look_up = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **named: look_up("127.0.0.1", *more, **named)
"""
"""Whatever is looked up is this machine."""


class GuideTests(SynchronousTestCase):
    """A folder in which the guide was followed."""

    def setUp(self) -> None:
        """Run the guide's commands."""
        for tool in ("bash", "openssl"):
            if shutil.which(tool) is None:
                raise SkipTest(f"{tool} is not installed")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        blocks = re.compile(r"^```shell\n(.*?)^```$", re.MULTILINE | re.DOTALL)
        for commands in blocks.findall(GUIDE.read_text(encoding="utf-8")):
            command = ["bash", "-e", "-c", commands]
            done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)

    def _serve(self, *options: str) -> Daemon:
        """Start a server with the guide's files."""
        pair = Pair(self.folder / "server.pem", self.folder / "server.key")
        daemon = Daemon(self.folder, "--cluster=simulated", *options, server=pair, client_ca=self.folder / "ca.pem")
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        return daemon

    def _ask(self, daemon: Daemon) -> Answer:
        """Ask as Alice what she may do, by the name that is in the server's certificate."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.load_cert_chain(self.folder / "alice.pem", self.folder / "alice.key")
        connection = HTTPSConnection("localhost", daemon.port, context=context, timeout=20)
        self.addCleanup(connection.close)
        connection.connect = lambda: _connect(connection, context)  # type: ignore[method-assign]
        return daemon.request("GET", "/deployments/shop/cart/permissions", connection=connection)

    def test_the_ca(self) -> None:
        """The guide's client is known to the guide's server by its CN."""
        answer = self._ask(self._serve())
        self.assertEqual((answer.status, answer.json["identity"]), (200, "alice"))

    def test_the_strictest_clients(self) -> None:
        """What the guide makes has all that RFC 5280 asks for, so that no client refuses it."""
        for purpose, certificate in (("sslserver", "server.pem"), ("sslclient", "alice.pem")):
            command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.pem", certificate]
            done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout), (0, f"{certificate}: OK\n"), done.stderr)
        authority = load(self.folder / "ca.pem").extensions
        self.assertTrue(authority.get_extension_for_class(x509.BasicConstraints).critical)
        self.assertTrue(authority.get_extension_for_class(x509.KeyUsage).value.key_cert_sign)
        identifier = authority.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        for certificate in ("ca.pem", "server.pem", "alice.pem"):
            extensions = load(self.folder / certificate).extensions
            issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
            self.assertEqual(issuer.key_identifier, identifier, certificate)

    def test_the_charts_own_checks(self) -> None:
        """`helm test` and the synthetic query pass with what the guide makes, on the image's Python, too."""
        daemon = self._serve()
        for name, made in (("tls.crt", "alice.pem"), ("tls.key", "alice.key"), ("ca.crt", "ca.pem")):
            (self.folder / name).write_bytes((self.folder / made).read_bytes())
        synthetic = (
            "--url",
            f"https://{NAME}:{daemon.port}",
            "--certificate",
            "tls.crt",
            "--private-key",
            "tls.key",
            "--server-ca",
            "ca.crt",
        )
        environ = environment()
        # The other Python has none of our dependencies; the one that the query needs is pure Python.
        environ["PYTHONPATH"] += f":{Path(prometheus_client.__file__).parents[1]}"
        for python in pythons():
            for run, arguments in (
                (f"runpy.run_path({str(CHECK)!r})", (NAME, str(daemon.port), ".")),
                ("runpy.run_module('sre_server.synthetic', run_name='__main__')", synthetic),
            ):
                with self.subTest(python, run=run):
                    done = subprocess.run(
                        [python, "-c", HERE + run, *arguments],
                        cwd=self.folder,
                        env=environ,
                        capture_output=True,
                        text=True,
                        timeout=60,
                        check=False,
                    )
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_revocation(self) -> None:
        """The guide's revocation list is one that the server takes, and it shuts the guide's client out."""
        daemon = self._serve(f"--tls-crl={self.folder / 'crl.pem'}")
        refusal = self.assertRaises(ssl.SSLError, self._ask, daemon)
        self.assertIn("REVOKED", refusal.reason)


def _connect(connection: HTTPSConnection, context: ssl.SSLContext) -> None:
    """Connect to this machine, and expect the certificate of another name."""
    super(HTTPSConnection, connection).connect()
    connection.sock = context.wrap_socket(connection.sock, server_hostname=NAME)
