"""kubeconfig means what it means to kubectl: one table, given to both, with all that arrives written down."""

import ipaddress
import json
import os
import shutil
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from unittest import mock

from cryptography import x509
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from sre_server.cluster.connection import Connection
from sre_server.cluster.credentials import Kubeconfig
from sre_server.errors import ClusterUnreachable, CredentialsError
from tests.certificates import Authority, Pair
from tests.functional.kubeconfig_cases import V1, Case
from tests.functional.kubeconfigs import CASES
from tests.functional.recording import Arrival, RecordingCluster, RecordingProxy

USUAL = Arrival("GET", "/version", "Bearer secret-one", (), gzip=True, certificate=None, server_name=None)
KUBECTL = ("kubectl", "version", "--output=json", "--request-timeout=10s")


class KubeconfigTable(SynchronousTestCase):
    """The table, and a folder with all that it names."""

    def setUp(self) -> None:
        """Make clusters, proxies, certificates, files and plugins."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.authority = Authority(self.folder, "Cluster")
        self.alice, bob = self.authority.issue("alice"), self.authority.issue("bob")
        names = [x509.DNSName("cluster.example"), x509.DNSName("localhost")]
        names_and_address = [*names, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        server = self.authority.issue("server", alternative_names=names_and_address)
        self.tls, self.plain = RecordingCluster(self.server_side(server)), RecordingCluster()
        self.proxies = (
            RecordingProxy(self.tls, self.plain),
            RecordingProxy(self.tls, self.plain, tls=self.server_side(server)),
            RecordingProxy(self.tls, self.plain, socks=True),
        )
        for made in (self.tls, self.plain, *self.proxies):
            self.addCleanup(made.close)
        for source, name in (
            (server.certificate, "server.pem"),
            (self.alice.certificate, "alice.pem"),
            (self.alice.key, "alice.key"),
            (bob.key, "bob.key"),
            (self.authority.file, "pki/ca.crt"),
        ):
            self.write(name, source.read_text())
        self.names = self.made()
        self.write_files()
        self.write_plugins()

    def server_side(self, pair: Pair) -> ssl.SSLContext:
        """Make a context that takes client certificates where there are any."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        context.load_verify_locations(self.authority.file)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def made(self) -> dict[str, str]:
        """Return what the names in the table stand for."""
        http, https, socks = self.proxies
        ca = b64encode(self.authority.file.read_bytes()).decode()
        return {
            "FOLDER": str(self.folder),
            "TLS": self.tls.url,
            "TLSHOST": self.tls.url.removeprefix("https://"),
            "PLAIN": self.plain.url,
            "HOST": self.plain.url.removeprefix("http://"),
            "HTTP": http.url,
            "HTTPADDRESS": http.address,
            "HTTPS": https.url,
            "SOCKS": socks.url,
            "SOCKSADDRESS": socks.address,
            "CA": ca,
            "WRAPPED": "\\n".join(ca[start : start + 64] for start in range(0, len(ca), 64)),
            "CERTIFICATE": b64encode(self.alice.certificate.read_bytes()).decode(),
            "KEY": b64encode(self.alice.key.read_bytes()).decode(),
        }

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def write_files(self) -> None:
        """Write the files that the table names."""
        for name, text in (
            ("token", "from-file\n"),
            ("empty", ""),
            ("blank", " \n"),
            ("lines", "secret-one\nsecret-two\n"),
            ("comment", "# nothing\n"),
            ("nulls", "clusters: null\nusers: null\ncontexts: null\npreferences: {}\ncurrent-context: ''\n"),
            ("broken", "{token: secret-one"),
            ("sub/token", "from-sub"),
            ("sub/config", "users: [{name: u, user: {tokenFile: token}}]"),
            ("other", "current-context: d\ncontexts: [{name: d, context: {cluster: k, user: nobody}}]"),
        ):
            self.write(name, text)

    def write_plugins(self) -> None:
        """Write the plugins that the table names."""
        pair = {
            "clientCertificateData": self.alice.certificate.read_text(),
            "clientKeyData": self.alice.key.read_text(),
            "token": "from-plugin",
        }
        self.write("bin/pair.json", json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": pair}))
        printed = """printf '{"apiVersion": "%%s", "kind": "ExecCredential", "status": {"token": "%%s"}}' %s "%s"\n"""
        told = """printf %s "$KUBERNETES_EXEC_INFO" | tr -d ' ' | sed 's/.*"NAME":\\[*"\\([a-z]*\\)".*/\\1/'"""
        server_name, audience = (f"$({told.replace('NAME', field)})" for field in ("tls-server-name", "audience"))
        for name, script in (
            ("bin/plugin", printed % (V1, "from-plugin")),
            ("more/hidden", printed % (V1, "from-plugin")),
            ("bin/beta", printed % (V1 + "beta1", "from-plugin")),
            ("bin/echo", printed % (V1, "$1-$B")),
            ("bin/informed", printed % (V1, f"{server_name}-{audience}")),
            ("bin/certificate", f"cat {self.folder}/bin/pair.json"),
            ("bin/failing", printed % (V1, "secret-one") + "; exit 3"),
            ("bin/silent", "true"),
        ):
            self.write(name, f"#!/bin/sh\n{script}\n", 0o700)

    def fill(self, text: str) -> str:
        """Put what was made into a text of the table."""
        return Template(text).safe_substitute(self.names)

    def environ(self, case: Case) -> dict[str, str]:
        """Write the case's document; return the environment in which it is read."""
        self.write("config", self.fill(case.document()))
        for made in (self.tls, self.plain):
            made.arrivals.clear()
        for proxy in self.proxies:
            proxy.asked.clear()
        return {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "KUBECONFIG": self.fill(case.files),
            **{name: self.fill(value) for name, value in case.environ.items()},
        }

    def check_arrived(self, case: Case) -> None:
        """Check what arrived last, and by which way."""
        arrived = (*self.tls.arrivals, *self.plain.arrivals)
        self.assertEqual(arrived[-1:], (Arrival(**{**USUAL._asdict(), **case.sent}),))
        asked = [f"{proxy.url.partition(':')[0]} {proxy.asked[-1]}" for proxy in self.proxies if proxy.asked]
        self.assertEqual(asked, [self.fill(case.via)] if case.via else [])

    def check_nothing_arrived(self) -> None:
        """Check that nobody was asked for a thing."""
        self.assertEqual((self.tls.arrivals, self.plain.arrivals), ([], []))

    def check_here(self, case: Case) -> None:
        """Give a case to the server's own client."""
        environ = self.environ(case)
        kubeconfig = Kubeconfig(environ["KUBECONFIG"], environ=environ)

        def ask() -> None:
            kubeconfig.check()
            headers = {"Accept-Encoding": "gzip"}  # as for a list
            with Connection(kubeconfig).request("GET", "/version", {}, headers=headers, read_timeout=10) as reply:
                reply.read(1000, 5)

        with mock.patch.dict(os.environ, environ):
            if case.refused is None:
                ask()
                self.check_arrived(case)
                return
            error = str(self.assertRaises(CredentialsError, ask))
        self.check_nothing_arrived()
        self.assertIn(self.fill(case.refused), error)
        self.assertNotIn("\n", error)
        self.assertNotIn("secret", error)

    def check_kubectl(self, case: Case) -> None:
        """Give a case to kubectl."""
        environ = self.environ(case)
        done = subprocess.run(
            KUBECTL, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        if case.only_here:
            self.assertEqual(done.returncode, 0, done.stderr)
        elif case.refused is not None:
            self.check_nothing_arrived()
            self.assertNotEqual(done.returncode, 0)
        else:
            self.check_arrived(case)

    def check_all(self, check: Callable[[Case], None]) -> None:
        """Check every case; fail with all that are not as they should be."""
        failed: dict[str, object] = {}
        for case in CASES:
            try:
                check(case)
            except (AssertionError, ClusterUnreachable) as error:
                failed[case.name] = error
        self.assertEqual(failed, {})

    def test_here(self) -> None:
        """What a kubeconfig says arrives, or the server refuses to start, names the field and quotes no secret."""
        self.check_all(self.check_here)

    def test_kubectl(self) -> None:
        """The same arrives from kubectl, which refuses the same; the few that only we refuse are marked."""
        if shutil.which("kubectl") is None:
            raise SkipTest("kubectl is not installed")
        self.check_all(self.check_kubectl)

    def test_context(self) -> None:
        """A context that is named goes before the current one; one that is not there is refused."""
        environ = self.environ(Case("", more="current-context: none"))
        self.assertEqual(Kubeconfig(environ["KUBECONFIG"], "c").access().configuration.host, self.tls.url)
        self.assertRaises(CredentialsError, Kubeconfig(environ["KUBECONFIG"], "d").check)

    def test_untrusted(self) -> None:
        """A cluster of another CA, or of another name, is asked for nothing, and is said not to be trusted."""
        other = b64encode(Authority(self.folder, "Other").file.read_bytes()).decode()
        for cluster in (
            f'{{server: "$TLS", certificate-authority-data: {other}}}',
            '{server: "$TLS", tls-server-name: else.example, certificate-authority-data: $CA}',
        ):
            environ = self.environ(Case("", cluster=cluster))
            connection = Connection(Kubeconfig(environ["KUBECONFIG"]))
            error = self.assertRaises(ClusterUnreachable, connection.request, "GET", "/version", {}, read_timeout=5)
            self.assertIn("not trusted", str(error))
            self.check_nothing_arrived()
