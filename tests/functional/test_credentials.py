"""Credentials on the wire: certificates, tokens that rotate, and proxies that must see nothing."""

import os
import ssl
from pathlib import Path
from tempfile import TemporaryDirectory

from sre_server.cluster.connection import Connection
from sre_server.cluster.credentials import InCluster, Kubeconfig
from sre_server.cluster.tls import TLSFiles
from sre_server.errors import ClusterUnreachable
from tests.certificates import Authority
from tests.functional.cluster import ConnectionTestCase, answer


class TLSTests(ConnectionTestCase):
    """The cluster's certificate."""

    def setUp(self) -> None:
        """Make two authorities and a certificate of the first."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.good, self.other = Authority(self.folder, "Good"), Authority(self.folder, "Other")
        (self.folder / "token").write_text("secret\n")

    def tls(self, name: str = "localhost") -> ssl.SSLContext:
        """Make the server's side."""
        pair = self.good.issue(name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        return context

    def in_cluster(self, port: int, authority: Authority) -> InCluster:
        """Make the credentials of a pod that trusts this authority."""
        (self.folder / "ca.crt").write_bytes(authority.file.read_bytes())
        environ = {"KUBERNETES_SERVICE_HOST": "localhost", "KUBERNETES_SERVICE_PORT": str(port)}
        return InCluster(environ, self.folder)

    def test_trusted(self) -> None:
        """A certificate of the mounted authority is trusted, and the token goes over it, without its newline."""
        cluster = self.cluster(answer(b"hello"), tls=self.tls())
        self.assertEqual(self.get(Connection(self.in_cluster(cluster.port, self.good))), b"hello")
        self.assertEqual(cluster.header("Authorization"), "Bearer secret")

    def test_untrusted(self) -> None:
        """A certificate of another authority ends the connection before the token is sent."""
        cluster = self.cluster(answer(), tls=self.tls())
        with self.assertRaises(ClusterUnreachable) as raised:
            self.get(Connection(self.in_cluster(cluster.port, self.other)))
        self.assertIn("not trusted", str(raised.exception))
        self.assertEqual(cluster.requests, [])

    def test_another_name(self) -> None:
        """A certificate for another name is not trusted either."""
        cluster = self.cluster(answer(), tls=self.tls("example.org"))
        self.assertRaises(ClusterUnreachable, self.get, Connection(self.in_cluster(cluster.port, self.good)))
        self.assertEqual(cluster.requests, [])

    def test_rotated_token_after_a_401(self) -> None:
        """A 401 makes the next request read the token anew; one that cannot be read leaves the last one in use."""
        cluster = self.cluster(answer(b"{}", "401 Unauthorized"), answer(), answer(), tls=self.tls())
        credentials = self.in_cluster(cluster.port, self.good)
        connection = Connection(credentials)
        self.get(connection)
        (self.folder / "token").write_text("rotated")
        self.get(connection)
        self.assertEqual(cluster.header("Authorization"), "Bearer rotated")
        (self.folder / "token").unlink()
        self.get(connection)
        self.assertEqual(cluster.header("Authorization"), "Bearer rotated")

    def test_request_that_meets_a_rotation(self) -> None:
        """A request, even a PATCH, whose token was rotated just now is sent once more with the new one, and no more."""
        unauthorized = answer(b"{}", "401 Unauthorized")
        cluster = self.cluster(answer(), unauthorized, answer(b"done"), unauthorized, unauthorized, tls=self.tls())
        connection = Connection(self.in_cluster(cluster.port, self.good))
        self.get(connection)
        for token, status in (("second", 200), ("third", 401)):
            (self.folder / "token").write_text(token)
            with connection.request("PATCH", "/x", {}, body=b"{}", read_timeout=5) as reply:
                self.assertEqual(reply.status, status)
            self.assertEqual(cluster.header("Authorization"), f"Bearer {token}")
        self.assertEqual(len(cluster.requests), 5)
        self.assertTrue(all(request.endswith(b"\r\n\r\n{}") for request in cluster.requests[1:]))

    def test_rotated_authority(self) -> None:
        """A CA that was replaced is in use for the next connection, at the latest a second after it was written."""
        cluster = self.cluster(answer(), answer(), tls=self.tls())
        self.patch(TLSFiles, "REREAD_AFTER", 0)
        connection = Connection(self.in_cluster(cluster.port, self.good))
        self.get(connection)
        (self.folder / "ca.crt").write_bytes(self.other.file.read_bytes())
        self.assertRaises(ClusterUnreachable, self.get, connection)

    def test_token_is_not_read_again_at_once(self) -> None:
        """Without a 401 a token is used for a minute before the file is read again."""
        cluster = self.cluster(answer(), answer(), tls=self.tls())
        connection = Connection(self.in_cluster(cluster.port, self.good))
        self.get(connection)
        (self.folder / "token").write_text("rotated")
        self.get(connection)
        self.assertEqual(cluster.header("Authorization"), "Bearer secret")

    def test_missing_credentials(self) -> None:
        """Credentials that cannot be read mean that the request was never sent; the error says what is missing."""
        (self.folder / "token").unlink()
        with self.assertRaises(ClusterUnreachable) as raised:
            self.get(Connection(self.in_cluster(1, self.good)))
        self.assertIn("token", str(raised.exception))

    def test_proxies_do_not_divert(self) -> None:
        """Proxies of the environment see nothing of the traffic in the cluster, or of that to the simulator."""
        proxy = self.cluster()
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
            self.patch(os, "environ", {**os.environ, name: proxy.url})
        for name in ("NO_PROXY", "no_proxy"):
            self.patch(os, "environ", {key: value for key, value in os.environ.items() if key != name})
        secure, plain = self.cluster(answer(), tls=self.tls()), self.cluster(answer())
        self.assertEqual(self.get(Connection(self.in_cluster(secure.port, self.good))), b"{}")
        self.assertEqual(self.get(self.connect(plain.url)), b"{}")
        self.assertEqual(proxy.requests, [])

    def kubeconfig(self, port: int, token: str) -> Kubeconfig:
        """Write a kubeconfig file with this token."""
        authority = self.good.file.resolve()
        path = self.folder / "config"
        path.write_text(f"""
            {{apiVersion: v1, kind: Config, current-context: c,
              clusters: [{{name: k, cluster: {{server: "https://localhost:{port}",
                                             certificate-authority: "{authority}"}}}}],
              users: [{{name: u, user: {{token: {token}}}}}],
              contexts: [{{name: c, context: {{cluster: k, user: u}}}}]}}""")
        return Kubeconfig(str(path))

    def test_kubeconfig_token(self) -> None:
        """The token of a kubeconfig's user is sent, and the file is read again after a 401, not before."""
        cluster = self.cluster(answer(), answer(b"{}", "401 Unauthorized"), answer(), tls=self.tls())
        connection = Connection(self.kubeconfig(cluster.port, "one"))
        self.get(connection)
        self.kubeconfig(cluster.port, "two")
        self.get(connection)
        sent = [cluster.header("Authorization", number) for number in range(3)]
        self.assertEqual(sent, ["Bearer one", "Bearer one", "Bearer two"])
