"""docs/certificates.md, command by command: its CA, its server, its client, and its revocation."""

import re
import shutil
import ssl
import subprocess
import tempfile
from http.client import HTTPSConnection
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.certificates import Pair
from tests.functional.daemon import Answer, Daemon

GUIDE = Path(__file__).parents[2] / "docs/certificates.md"


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

    def test_the_revocation(self) -> None:
        """The guide's revocation list is one that the server takes, and it shuts the guide's client out."""
        daemon = self._serve(f"--tls-crl={self.folder / 'crl.pem'}")
        refusal = self.assertRaises(ssl.SSLError, self._ask, daemon)
        self.assertIn("REVOKED", refusal.reason)


def _connect(connection: HTTPSConnection, context: ssl.SSLContext) -> None:
    """Connect to this machine, and expect the certificate of another name."""
    super(HTTPSConnection, connection).connect()
    connection.sock = context.wrap_socket(connection.sock, server_hostname="sre.example.org")
