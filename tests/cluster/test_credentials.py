"""Where the cluster is, and how to prove who we are; time is the test's, and pods are folders."""

import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.access import DEAD_SECONDS
from sre_server.cluster.credentials import InCluster, Unauthenticated
from sre_server.cluster.tokens import TokenFile
from sre_server.errors import CredentialsError
from tests.certificates import Authority


class FolderTestCase(SynchronousTestCase):
    """A folder of the test's own."""

    def setUp(self) -> None:
        """Make it."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_text(text)
        return path


class TokenFileTests(FolderTestCase):
    """A token that the kubelet rewrites."""

    def setUp(self) -> None:
        """Begin with a token, at any time."""
        super().setUp()
        self.now = 12345.0
        self.path = self.file("token", "one\n")
        self.tokens = TokenFile(self.path, lambda: self.now)

    def test_stripped(self) -> None:
        """The newline at the end of the file is no part of the token."""
        self.assertEqual(self.tokens.token(), "one")

    def test_read_again_after_a_minute(self) -> None:
        """A new token is in use at the latest a minute after it was written, and the file is not read all the time."""
        self.tokens.token()
        self.file("token", "two")
        self.now += 59.9
        self.assertEqual(self.tokens.token(), "one")
        self.now += 0.1
        self.assertEqual(self.tokens.token(), "two")
        self.file("token", "three")
        self.now += 60
        self.assertEqual(self.tokens.token(), "three")

    def test_bad_file_keeps_the_last_token(self) -> None:
        """A file that is missing, empty, blank or no text leaves the last token in use, and is tried again."""
        self.tokens.token()
        for number, content in enumerate((None, b"", b" \n", b"\xff\xfe")):
            before = self.tokens.token()
            if content is None:
                self.path.unlink()
            else:
                self.path.write_bytes(content)
            self.now += 61
            self.assertEqual(self.tokens.token(), before)
            self.file("token", f"good{number}")
            self.assertEqual(self.tokens.token(), f"good{number}")

    def test_never_a_token(self) -> None:
        """Without any token so far there is nothing to go on with; the error names the file."""
        self.file("blank", "\n")
        for name in ("blank", "missing"):
            path = self.folder / name
            with self.assertRaises(CredentialsError) as raised:
                TokenFile(path, lambda: self.now).token()
            self.assertIn(str(path), str(raised.exception))

    def test_forget(self) -> None:
        """After a refusal the file is read at the next use; if it cannot be, the old token is used once more."""
        self.tokens.token()
        self.file("token", "two")
        self.tokens.forget()
        self.assertEqual(self.tokens.token(), "two")
        self.path.unlink()
        self.tokens.forget()
        self.assertEqual(self.tokens.token(), "two")


class InClusterTests(FolderTestCase):
    """The service account of a pod."""

    def setUp(self) -> None:
        """Mount one."""
        super().setUp()
        self.file("token", "secret")
        self.authority = Authority(self.folder)
        (self.folder / "ca.crt").write_bytes(self.authority.file.read_bytes())
        self.environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
        self.credentials = InCluster(self.environ, self.folder)

    def test_present(self) -> None:
        """A pod has both the variable and the token; without either this is none."""
        self.assertTrue(self.credentials.present())
        self.assertFalse(InCluster({}, self.folder).present())
        self.assertFalse(InCluster({"KUBERNETES_SERVICE_HOST": ""}, self.folder).present())
        self.assertFalse(InCluster(self.environ, self.folder / "elsewhere").present())

    def test_host(self) -> None:
        """The host is an IPv4 address, a name or an IPv6 address, which takes brackets; the port is 443 if not said."""
        for host, port, url in (
            ("10.0.0.1", "6443", "https://10.0.0.1:6443"),
            ("fd00::1", "6443", "https://[fd00::1]:6443"),
            ("kubernetes.default.svc", None, "https://kubernetes.default.svc:443"),
        ):
            with self.subTest(host):
                environ = {"KUBERNETES_SERVICE_HOST": host} | ({"KUBERNETES_SERVICE_PORT": port} if port else {})
                self.assertEqual(InCluster(environ, self.folder).access().configuration.host, url)

    def authorization(self) -> str:
        """Return what a request would prove itself with now."""
        return dict(self.credentials.access().headers)["Authorization"]

    def test_configuration(self) -> None:
        """The mounted CA is trusted and nothing else, hosts are verified, no proxy is used, and nothing is retried."""
        configuration, tls, _, _ = self.credentials.access()
        self.assertEqual(tls and tls.authorities, self.authority.file.read_bytes())
        self.assertTrue(tls and tls.verify)
        self.assertEqual((configuration.proxy, configuration.no_proxy), (None, "*"))
        self.assertIs(configuration.retries, False)

    def test_dead_peers(self) -> None:
        """Where the system can tell that a peer is dead, it is to do so, whether or not there is something to send."""
        configuration, *_ = self.credentials.access()
        chosen = configuration.socket_options or []
        options = {name: value for level, name, value in chosen if level == socket.IPPROTO_TCP}
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            self.assertEqual(options[socket.TCP_USER_TIMEOUT], 1000 * DEAD_SECONDS)
            probed = options[socket.TCP_KEEPINTVL] * options[socket.TCP_KEEPCNT]
            self.assertEqual(options[socket.TCP_KEEPIDLE] + probed, DEAD_SECONDS)
        self.assertIn((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), chosen)

    def test_authorization(self) -> None:
        """The token is a bearer token, and after a refusal it is read again: at once, and at the next use."""
        refused = self.credentials.access()
        self.assertEqual(self.authorization(), "Bearer secret")
        self.file("token", "rotated\n")
        self.assertEqual(self.authorization(), "Bearer secret")
        self.assertTrue(self.credentials.renewed(refused))
        self.assertEqual(self.authorization(), "Bearer rotated")
        self.assertFalse(self.credentials.renewed(self.credentials.access()))
        self.file("token", "late\n")
        self.assertEqual(self.authorization(), "Bearer late")

    def test_errors(self) -> None:
        """What is missing is named in one line."""
        (self.folder / "ca.crt").unlink()
        for credentials, missing in (
            (InCluster({}, self.folder), "KUBERNETES_SERVICE_HOST"),
            (self.credentials, "ca.crt"),
            (InCluster(self.environ, self.folder / "elsewhere"), "elsewhere"),
        ):
            with self.assertRaises(CredentialsError) as raised:
                credentials.access()
            self.assertIn(missing, str(raised.exception))
            self.assertNotIn("\n", str(raised.exception))


class UnauthenticatedTests(SynchronousTestCase):
    """The simulator."""

    def test_configuration(self) -> None:
        """The URL is asked for when it is needed, no proxy is used, and there is nothing to prove."""
        urls = ["http://127.0.0.1:1234"]
        credentials = Unauthenticated(lambda: urls[0])
        urls[0] = "http://127.0.0.1:5678"
        access = credentials.access()
        self.assertEqual(access.configuration.host, "http://127.0.0.1:5678")
        self.assertIsNone(access.configuration.proxy)
        self.assertEqual((access.tls, access.headers), (None, ()))
        self.assertFalse(credentials.renewed(access))
