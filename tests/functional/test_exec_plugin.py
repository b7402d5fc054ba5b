"""Exec plugins as real programs: when they run, what they are told, and how they end."""

import json
import os
import select
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.connection import Connection
from sre_server.cluster.credentials import Kubeconfig
from sre_server.cluster.exec_plugin import INFO, Credential, ExecPlugin
from sre_server.errors import CredentialsError
from tests.certificates import Authority
from tests.functional.daemon import Daemon
from tests.functional.recording import RecordingCluster

VERSION = "client.authentication.k8s.io/v1"


class CountedLock:
    """A lock that tells of each who comes to it."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        """Tell, and take it."""
        self.came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self._lock.release()


class PluginTestCase(SynchronousTestCase):
    """A folder with a plugin that is a shell script."""

    def setUp(self) -> None:
        """Make the folder; time is the test's."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def write(self, *lines: str) -> Path:
        """Write the plugin; it tells of each run."""
        path = self.folder / "plugin"
        path.write_text("\n".join(["#!/bin/sh", f"echo >>{self.folder}/runs", *lines, ""]))
        path.chmod(0o755)
        return path

    def prints(self, **status: str) -> None:
        """Make the plugin print a status."""
        document = {"kind": "ExecCredential", "apiVersion": VERSION, "status": status}
        (self.folder / "output").write_text(json.dumps(document))
        self.write(f"cat {self.folder}/output")

    @property
    def runs(self) -> int:
        """How often it ran."""
        told = self.folder / "runs"
        return len(told.read_text()) if told.exists() else 0

    def plugin(self, *arguments: str, seconds: float = 30) -> ExecPlugin:
        """Make what runs it."""
        command = [str(self.folder / "plugin"), *arguments]
        return ExecPlugin(command, VERSION, dict(os.environ), None, lambda: self.now, seconds)

    def fails(self, plugin: ExecPlugin) -> str:
        """Check that no credential comes of it; return why."""
        error = str(self.assertRaises(CredentialsError, plugin.credential))
        self.assertIn(str(self.folder / "plugin"), error)
        self.assertNotIn("\n", error)
        return error


class RunTests(PluginTestCase):
    """When it runs."""

    def test_kept_until_it_is_refused(self) -> None:
        """Without an end, what it printed is kept for as long as nobody refuses it; then it runs once more."""
        self.prints(token="one")
        plugin = self.plugin()
        first = plugin.credential()
        self.now += timedelta(days=1000)
        self.assertIs(plugin.credential(), first)
        self.assertEqual((first, self.runs), (Credential("one", None, None, None), 1))
        self.prints(token="two")
        plugin.renew(first)
        self.assertEqual((plugin.credential().token, self.runs), ("two", 2))
        plugin.renew(first)
        self.assertEqual(self.runs, 2)

    def test_kept_until_it_ends(self) -> None:
        """With an end, it is kept up to that moment."""
        self.prints(token="one", expirationTimestamp="2026-01-01T01:00:00+00:30")
        plugin = self.plugin()
        plugin.credential()
        self.now += timedelta(minutes=30)
        plugin.credential()
        self.assertEqual(self.runs, 1)
        self.now += timedelta(seconds=1)
        plugin.credential()
        self.assertEqual(self.runs, 2)

    def test_once_for_all_who_wait(self) -> None:
        """Of several threads one runs it; the others get what it came to, be it a failure."""
        for line, outcome in ((f"cat {self.folder}/output", "one"), ("exit 3", "exit status is 3")):
            self.prints(token="one")
            self.write(f"read line <{self.folder}/gate", line)
            os.mkfifo(self.folder / "gate")
            plugin, lock = self.plugin(), CountedLock()
            self.patch(plugin, "_lock", lock)
            outcomes: list[str] = []

            def ask(plugin: ExecPlugin = plugin, outcomes: list[str] = outcomes) -> None:
                try:
                    outcomes.append(plugin.credential().token)
                except CredentialsError as error:
                    outcomes.append(str(error))

            before = self.runs
            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
                self.assertTrue(lock.came.acquire(timeout=20))
            (self.folder / "gate").write_text("go\n")
            for thread in threads:
                thread.join(20)
            self.assertEqual([outcome in told for told in outcomes], [True] * 4, outcomes)
            self.assertEqual(self.runs - before, 1)
            (self.folder / "gate").unlink()

    def test_what_it_is_told(self) -> None:
        """It gets its arguments and what is asked of it, and neither a terminal nor the server's process group."""
        self.prints(token="one")
        lines = (self.folder / "plugin").read_text().splitlines()[2:]
        self.write(
            f'echo "$@" >{self.folder}/arguments',
            f'echo "${INFO}" >{self.folder}/info',
            "read line",
            f"ps -o sid= -p $$ >{self.folder}/session || echo 0 >{self.folder}/session",
            *lines,
        )
        ExecPlugin(
            [str(self.folder / "plugin"), "a", "b c"],
            VERSION,
            dict(os.environ),
            {"server": "https://x", "config": None},
        ).credential()
        self.assertEqual((self.folder / "arguments").read_text(), "a b c\n")
        self.assertEqual(
            json.loads((self.folder / "info").read_text()),
            {
                "kind": "ExecCredential",
                "apiVersion": VERSION,
                "spec": {"interactive": False, "cluster": {"server": "https://x", "config": None}},
            },
        )
        self.assertNotEqual(int((self.folder / "session").read_text()), os.getsid(0))


class RefusedTests(PluginTestCase):
    """What follows where the cluster answers 401."""

    def setUp(self) -> None:
        """Make a cluster, and a kubeconfig whose user has the plugin."""
        super().setUp()
        authority = Authority(self.folder)
        pair = authority.issue("localhost")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair.certificate, pair.key)
        self.cluster = RecordingCluster(tls)
        self.addCleanup(self.cluster.close)
        self.kubeconfig = self.folder / "config"
        url = f"https://localhost:{self.cluster.server_port}"
        self.kubeconfig.write_text(
            f"""{{current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}],
            clusters: [{{name: k, cluster: {{
                server: "{url}", certificate-authority: {authority.file.name}}}}}],
            users: [{{name: u, user: {{exec: {{
                apiVersion: {VERSION}, command: ./plugin, interactiveMode: Never}}}}}}]}}"""
        )
        self.prints(token="one")
        self.connection = Connection(Kubeconfig(str(self.kubeconfig)))

    def ask(self, method: str = "GET") -> int:
        """Make a request; return the status."""
        with self.connection.request(method, "/x", {}, body=b"{}", read_timeout=20) as reply:
            reply.read(1000, 5)
            return reply.status

    def tokens(self) -> list[str | None]:
        """Return what each request that arrived proved itself with."""
        return [arrival.authorization for arrival in self.cluster.arrivals]

    def test_sent_once_more(self) -> None:
        """A 401 was not performed: the plugin runs once more, and the request, even a PATCH, is sent once more."""
        for method in ("GET", "PATCH"):
            self.setUp()
            self.assertEqual(self.ask(), 200)
            self.prints(token="two")
            self.cluster.statuses = [401]
            self.assertEqual((self.ask(method), self.ask()), (200, 200))
            self.assertEqual(self.tokens(), ["Bearer one", "Bearer one", "Bearer two", "Bearer two"])
            self.assertEqual((self.cluster.arrivals[2].method, self.runs), (method, 2))

    def test_and_no_more(self) -> None:
        """A second 401 is the answer."""
        self.cluster.statuses = [401, 401]
        self.assertEqual((self.ask("PATCH"), self.runs, len(self.cluster.arrivals)), (401, 2, 2))

    def test_plugin_that_fails_then(self) -> None:
        """Where the plugin fails, its failure is told; nothing was performed."""
        self.ask()
        self.cluster.statuses = [401]
        self.write("exit 3")
        error = str(self.assertRaises(CredentialsError, self.ask, "PATCH"))
        self.assertIn("exit status is 3", error)

    def test_one_for_all_connections(self) -> None:
        """Connections that share a kubeconfig share what its plugin printed."""
        kubeconfig = Kubeconfig(str(self.kubeconfig))
        for self.connection in (Connection(kubeconfig), Connection(kubeconfig)):
            self.ask()
        self.assertEqual(self.runs, 1)

    def test_told_by_readyz(self) -> None:
        """A daemon whose plugin fails says so in readyz, and to nobody anything that the plugin printed."""
        self.write("echo hidden", "exit 3")
        daemon = Daemon(self.folder, "--cluster=kubeconfig", f"--kubeconfig={self.kubeconfig}")
        self.addCleanup(daemon.close)
        told: list[str] = []
        failed = f"deployments: The kubeconfig's exec plugin {self.folder}/plugin failed: its exit status is 3"

        def ready() -> bool:
            answer = daemon.ops("/readyz")
            told.append(answer.json["message"])
            return failed in told[-1]

        daemon.wait_for(ready, "told")
        self.assertNotIn("hidden", told[-1] + daemon.said())


class OutputTests(PluginTestCase):
    """What it prints."""

    def test_certificate(self) -> None:
        """It may give a certificate with its key, with or without a token."""
        pair = Authority(self.folder).issue("alice")
        certificate, key = pair.certificate.read_text(), pair.key.read_text()
        self.prints(clientCertificateData=certificate, clientKeyData=key)
        self.assertEqual(self.plugin().credential(), ("", certificate.encode(), key.encode(), None))

    def test_nothing_to_use(self) -> None:
        """What is no credential is an error that quotes nothing of it."""
        authority = Authority(self.folder)
        one, two = (authority.issue(name) for name in ("one", "two"))
        certificate, key = one.certificate.read_text(), two.key.read_text()
        for status in (
            {},
            {"clientCertificateData": certificate},
            {"token": "secret", "clientCertificateData": certificate, "clientKeyData": key},
            {"token": "secret", "expirationTimestamp": "soon"},
            {"token": "secret", "expirationTimestamp": "2026-01-01T00:00:00"},
        ):
            with self.subTest(status):
                self.prints(**status)
                self.assertNotIn("secret", self.fails(self.plugin()))
        for output in (
            "",
            "secret",
            "{",
            "[]",
            '{"kind": "ExecCredential", "status": {"token": "secret"}}',
            '{"kind": "Secret", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "secret"}}',
            '{"apiVersion": "client.authentication.k8s.io/v1beta1", "status": {"token": "secret"}}',
            '{"apiVersion": "client.authentication.k8s.io/v1", "status": {"token": 1}}',
        ):
            with self.subTest(output):
                (self.folder / "output").write_text(output)
                self.assertNotIn("secret", self.fails(self.plugin()))

    def test_yaml(self) -> None:
        """It may print YAML, too."""
        self.write(f"echo 'apiVersion: {VERSION}'", "echo 'status: {token: one, expirationTimestamp: null}'")
        self.assertEqual(self.plugin().credential().token, "one")

    def test_endless(self) -> None:
        """One that prints without an end is stopped at a mebibyte."""
        self.write("exec yes")
        self.assertIn("1048576 bytes", self.fails(self.plugin()))


class EndTests(PluginTestCase):
    """How it ends."""

    def held(self) -> int:
        """Make a plugin with a child; return what a line comes from when it runs, and the end when both are dead."""
        pipe = self.folder / "alive"
        os.mkfifo(pipe)
        self.write(f"exec 9>{pipe}", "echo >&9", "sleep 1000 & sleep 1000")
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        return reader

    def heard(self, reader: int) -> bytes:
        """Wait for a line, or the end."""
        self.assertTrue(select.select([reader], [], [], 20)[0], "neither a line nor the end")
        return os.read(reader, 100)

    def test_hangs(self) -> None:
        """After its time it is killed with its process group, and named."""
        reader = self.held()
        self.assertIn("did not end within 5 s", self.fails(self.plugin(seconds=5)))
        self.assertEqual((self.heard(reader), self.heard(reader)), (b"\n", b""))

    def test_ends_but_its_output_does_not(self) -> None:
        """A child that keeps the output open does not keep the server, and dies as well."""
        self.write("sleep 1000 &")
        self.assertIn("did not end within 0.5 s", self.fails(self.plugin(seconds=0.5)))

    def test_closes_its_output_and_hangs(self) -> None:
        """Nor does one that has said all it had to say."""
        self.write("exec >&-", "sleep 1000")
        self.assertIn("did not end within 0.5 s", self.fails(self.plugin(seconds=0.5)))

    def test_interrupted(self) -> None:
        """A server that stops ends it at once, and starts no other."""
        reader = self.held()
        plugin = self.plugin()
        failures: list[CredentialsError] = []

        def ask() -> None:
            failures.append(self.assertRaises(CredentialsError, plugin.credential))

        thread = threading.Thread(target=ask)
        thread.start()
        self.assertEqual(self.heard(reader), b"\n")
        plugin.interrupt()
        thread.join(20)
        self.assertEqual((self.heard(reader), len(failures)), (b"", 1))
        self.assertIn("shutting down", self.fails(plugin))
        self.assertEqual(self.runs, 1)

    def test_fails(self) -> None:
        """An exit status that is not 0, a signal, and a program that is not there are told, whatever was printed."""
        self.prints(token="one")
        lines = (self.folder / "plugin").read_text().splitlines()[2:]
        self.write(*lines, "exit 3")
        self.assertIn("exit status is 3", self.fails(self.plugin()))
        self.write(*lines, "kill -9 $$")
        self.assertIn("exit status is -9", self.fails(self.plugin()))
        (self.folder / "plugin").unlink()
        self.assertIn("No such file or directory", self.fails(self.plugin()))
