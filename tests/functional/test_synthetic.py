"""The synthetic query as the chart runs it: a process of its own, against a live server and worse."""

import contextlib
import re
import shlex
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.trial.unittest import SynchronousTestCase

from sre_server.synthetic.checks import CHECKS
from tests.certificates import SERVER, Authority, Pair
from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon, environment
from tests.functional.prometheus import serve
from tests.functional.simulated import Simulator
from tests.monitoring import CHECKOUT


class Pushgateway(HTTPServer):
    """Takes what is pushed, as a Pushgateway does, and keeps method, path and metrics; or answers 500."""

    def __init__(self, test: SynchronousTestCase, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Pushed)
        self.status = status
        self.pushed: list[tuple[str, str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        serve(test, self)


class _Pushed(BaseHTTPRequestHandler):
    server: Pushgateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.pushed.append((self.command, self.path, body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Drip(socketserver.ThreadingTCPServer):
    """Sends a byte, then another one, and never comes to the point: of its handshake, or else of its answer."""

    daemon_threads = True

    def __init__(self, test: SynchronousTestCase, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Dripping)
        self.tls = tls
        self.over = threading.Event()
        thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        test.addCleanup(self.server_close)
        test.addCleanup(self.shutdown)
        test.addCleanup(self.over.set)


class _Dripping(socketserver.BaseRequestHandler):
    server: Drip

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            if self.server.tls is None:
                # A TLS record header that announces 16 KiB, then those, very slowly.
                self._drip(self.request, b"\x16\x03\x03\x40\x00")
            else:
                with self.server.tls.wrap_socket(self.request, server_side=True) as secured:
                    self._drip(secured, b"HTTP/1.1 200 OK\r\nDrip: ")

    def _drip(self, peer: socket.socket, beginning: bytes) -> None:
        peer.sendall(beginning)
        while not self.server.over.wait(0.05):
            peer.sendall(b".")


def samples(text: str) -> Mapping[tuple[str, str], float]:
    """Return the samples of a text, by name (without the prefix) and check."""
    return {
        (each.name.removeprefix("sre_server_synthetic_"), each.labels.get("check", "")): each.value
        for family in parse(text)
        for each in family.samples
    }


class SyntheticTests(SynchronousTestCase):
    """A folder with an authority, and clients of it."""

    def setUp(self) -> None:
        """Make the authority."""
        self.folder = temporary_folder(self)
        self.authority = Authority(self.folder)
        self.client = self.authority.issue("probe")

    def daemon(self, *options: str) -> Daemon:
        """Start a server, of a simulated cluster unless the options say otherwise."""
        daemon = Daemon(self.folder, *(options or ("--cluster=simulated",)), authority=self.authority)
        self.addCleanup(daemon.close)
        return daemon

    def ask(
        self,
        port: int,
        *options: str,
        client: Pair | None = None,
        server_ca: Path | None = None,
        host: str = "localhost",
    ) -> subprocess.CompletedProcess[str]:
        """Run the query."""
        pair = client or self.client
        settings = {
            "SRE_SERVER_SYNTHETIC_CERTIFICATE": str(pair.certificate),
            "SRE_SERVER_SYNTHETIC_PRIVATE_KEY": str(pair.key),
            "SRE_SERVER_SYNTHETIC_SERVER_CA": str(server_ca or self.authority.file),
        }
        command = [sys.executable, "-m", "sre_server.synthetic", f"--url=https://{host}:{port}", *options]
        env = environment(settings)
        return subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False
        )

    def assert_failed(self, done: subprocess.CompletedProcess[str], check: str, pattern: str) -> None:
        """Check that it failed in the way that an alert can tell, with a line that says why."""
        self.assertEqual(done.returncode, 1, done)
        (line,) = (line for line in done.stdout.splitlines() if line.split()[1] == check)
        self.assertRegex(line, f"^FAILED .*{pattern}")
        self.assertNotIn("Traceback", done.stderr)


class LiveTests(SyntheticTests):
    """A server that runs."""

    def test_success(self) -> None:
        """Every check succeeds over mutual TLS 1.3; the exit status and the last line say so."""
        done = self.ask(self.daemon_ready().port)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertEqual(
            [line.split()[:2] for line in done.stdout.splitlines()], [["ok", name] for name in (*CHECKS, "all")]
        )

    def daemon_ready(self) -> Daemon:
        """Start a server and wait until it is ready."""
        daemon = self.daemon()
        daemon.wait_until_ready()
        return daemon

    def test_the_documented_command(self) -> None:
        """The command of docs/observability.md, with the certificates of `make run`, succeeds."""
        documented = (CHECKOUT / "docs/observability.md").read_text()
        (command,) = re.findall(r"```shell\n(\.venv/bin/python -m sre_server\.synthetic .*?)```", documented, re.DOTALL)
        make = ["make", "--silent", "certs", f"CERTS={self.folder / '.run'}"]
        subprocess.run(make, cwd=CHECKOUT, check=True, capture_output=True)
        pair = Pair(self.folder / ".run/public-certificate.pem", self.folder / ".run/private-key.pem")
        daemon = Daemon(self.folder, "--cluster=simulated", server=pair, client_ca=pair.certificate)
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        words = shlex.split(command.replace("\\\n", " ").replace(":8443", f":{daemon.port}"))
        done = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done)

    def test_metrics(self) -> None:
        """The same metrics on stdout, in a file, and at the Pushgateway, under a job and an instance of their own."""
        gateway = Pushgateway(self)
        path = self.folder / "sre.prom"
        options = ("--output=metrics", f"--metrics-file={path}", f"--push-to={gateway.url}", "--instance=prod")
        done = self.ask(self.daemon_ready().port, *options)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertEqual(samples(done.stdout)["success", ""], 1)
        self.assertEqual(samples(path.read_text()), samples(done.stdout))
        ((method, where, body),) = gateway.pushed
        self.assertEqual((method, where), ("POST", "/metrics/job/sre-server-synthetic/instance/prod"))
        self.assertEqual(samples(body), samples(done.stdout))

    def test_a_push_with_a_password(self) -> None:
        """It is refused, and not repeated in the log."""
        done = self.ask(8443, "--push-to=http://user:secret@localhost:1")
        self.assertEqual((done.returncode, "secret" in done.stdout + done.stderr), (2, False))
        self.assertIn("--push-to", done.stderr)

    def test_a_push_that_fails(self) -> None:
        """It is told on stderr, and hides neither the result nor the exit status."""
        daemon, gateway = self.daemon_ready(), Pushgateway(self, status=500)
        for where in (gateway.url, "http://127.0.0.1:1", "nonsense://"):
            done = self.ask(daemon.port, f"--push-to={where}")
            self.assertEqual(done.returncode, 0, done)
            self.assertIn("ok     all", done.stdout)
            self.assertIn(f"the metrics were not pushed to {where}", done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_another_authority(self) -> None:
        """A server whose certificate is of another CA, or of another name, is not trusted, and is asked nothing."""
        daemon = self.daemon()
        other = Authority(self.folder, "Other CA")
        self.assert_failed(self.ask(daemon.port, server_ca=other.file), "connect", "certificate is not trusted")
        self.assert_failed(self.ask(daemon.port, host="127.0.0.1"), "connect", "certificate is not trusted")

    def test_a_client_that_is_refused(self) -> None:
        """A client certificate of another CA, one that has ended, and one for servers fail with the server's alert."""
        daemon = self.daemon()
        stranger = Authority(self.folder, "Other CA").issue("probe")
        ended = self.authority.issue("probe", valid_until=timedelta(hours=-1))
        wrong = self.authority.issue("probe", usages=(SERVER,))
        for client, alert in ((stranger, "unknown ca"), (ended, "certificate expired"), (wrong, "unsupported cert")):
            self.assert_failed(self.ask(daemon.port, client=client), "livez", f"TLS: .*{alert}")

    def test_stale(self) -> None:
        """A server that has lost its cluster is alive, and fails what a client would miss."""
        simulator = Simulator(self.folder)
        self.addCleanup(simulator.close)
        daemon = self.daemon(f"--kubeconfig={simulator.kubeconfig}", "--cluster=kubeconfig", "--max-staleness=1")
        simulator.faults({"kind": "hang"}, {"kind": "silent"})
        daemon.wait_for(lambda: daemon.ops("/readyz").status == 503, "stale")
        done = self.ask(daemon.port)
        self.assert_failed(done, "readyz", "503")
        self.assert_failed(done, "replicas", "503")
        self.assertIn("ok     livez", done.stdout)


class DeadTests(SyntheticTests):
    """Something else than a server."""

    def test_nobody_listens(self) -> None:
        """A server that is down: everything fails, and the metrics say so."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        gateway = Pushgateway(self)
        done = self.ask(port, f"--push-to={gateway.url}")
        self.assert_failed(done, "connect", "Connection refused")
        ((_, _, body),) = gateway.pushed
        self.assertEqual(samples(body)["success", ""], 0)
        self.assertNotIn(("last_success_timestamp_seconds", ""), samples(body))

    def test_silence(self) -> None:
        """A peer that accepts and says nothing, or a byte now and then, is given up in time."""
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        for port in (silent.getsockname()[1], Drip(self).server_address[1]):
            self.assert_failed(self.ask(int(port), "--timeout=0.5"), "connect", "not done within 0.5 s")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*self.authority.issue("localhost"))
        for check in ("livez", "replicas"):
            self.assert_failed(
                self.ask(int(Drip(self, tls).server_address[1]), "--timeout=5"), check, "not done within 5 s"
            )

    def test_bad_usage(self) -> None:
        """A key that belongs to another certificate is bad usage, told in a line."""
        mixed = Pair(self.client.certificate, self.authority.issue("other").key)
        done = self.ask(8443, client=mixed)
        self.assertEqual(done.returncode, 2, done)
        self.assertIn("key values mismatch", done.stderr.lower())
        self.assertNotIn("Traceback", done.stderr)
