"""What an operator who mistyped sees: one line that says what, a non-zero exit, and no daemon."""

import socket
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, Pair
from tests.functional.daemon import environment, twistd


class UsageTests(SynchronousTestCase):
    """Runs `twistd sre-server` with one thing wrong at a time."""

    def setUp(self) -> None:
        """Make a folder with good certificates."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.authority = Authority(self.folder)
        self.pair = self.authority.issue("localhost")

    def _refused(self, *options: str, pair: Pair | None = None, **extra: str) -> str:
        """Run, and return the one line that says what was wrong: on stderr, or in the log once that has begun."""
        certificate, key = pair or self.pair
        pair_options = [f"--tls-certificate={certificate}", f"--tls-private-key={key}"]
        ended = subprocess.run(
            twistd("sre-server", *pair_options, "--cluster=simulated", *options),
            env=environment({"HOME": str(self.folder), **extra}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        output = str(ended.stderr + ended.stdout)
        self.assertEqual(ended.returncode, 1, output)
        self.assertNotIn("Traceback", output)
        said = [line for line in output.splitlines() if "sre-server: " in line]
        self.assertEqual(len(said), 1, output)
        return said[0]

    def test_files(self) -> None:
        """A missing option, a missing file, a key of another pair and a file that is no PEM are each named."""
        authority = f"--tls-client-ca={self.authority.file}"
        other = self.authority.issue("other")
        nowhere = self.folder / "nowhere.pem"
        self.assertIn("--tls-client-ca is required", self._refused())
        self.assertIn(str(nowhere), self._refused(f"--tls-client-ca={nowhere}"))
        self.assertIn("is not a usable PEM file", self._refused(f"--tls-client-ca={__file__}"))
        self.assertIn("does not belong to", self._refused(authority, pair=Pair(self.pair.certificate, other.key)))

    def test_no_cluster(self) -> None:
        """Where there is neither a pod nor a kubeconfig, the line says so and how to go on without a cluster."""
        line = self._refused(f"--tls-client-ca={self.authority.file}", "--cluster=auto")
        self.assertIn("no cluster", line)
        self.assertIn("--cluster=simulated", line)

    def test_unusable_kubeconfig(self) -> None:
        """A kubeconfig that is there but names no such context is refused before anything listens."""
        kubeconfig = self.folder / "config"
        kubeconfig.write_text('{"contexts": [], "clusters": [], "users": [], "current-context": "gone"}')
        options = (f"--tls-client-ca={self.authority.file}", "--cluster=kubeconfig", f"--kubeconfig={kubeconfig}")
        self.assertIn("gone", self._refused(*options))

    def test_kubeconfig_with_secrets(self) -> None:
        """What is wrong with a kubeconfig is named by its field, and no secret that stands there is quoted."""
        authority = f"--tls-client-ca={self.authority.file}"
        (self.folder / "token").write_text("hidden-one\nhidden-two\n")
        for user, field in (
            ("{tokenFile: token}", "tokenFile"),
            ('{token: "hidden-one\\nhidden-two"}', "token"),
            ("{token: hidden-one, password: hidden-two}", "password"),
            ("{token: hidden-one, client-certificate-data: hidden-two}", "client-key"),
            ("{token: hidden-one, auth-provider: {config: {x: hidden-two}}}", "auth-provider"),
            ("{token: [hidden-one]}", "user.token"),
            ("{token: hidden-one", "YAML"),
        ):
            with self.subTest(user):
                (self.folder / "config").write_text(
                    "{current-context: c, clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}],"
                    f"contexts: [{{name: c, context: {{cluster: k, user: u}}}}], users: [{{name: u, user: {user}}}]}}"
                )
                line = self._refused(authority, "--cluster=kubeconfig", f"--kubeconfig={self.folder / 'config'}")
                self.assertIn(field, line)
                self.assertNotIn("hidden", line)

    def test_port_in_use(self) -> None:
        """A port that somebody else listens on ends the process, instead of a daemon that serves nobody."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for option in ("--listen", "--ops-listen"):
                endpoints = {"--listen": "tcp:0:interface=127.0.0.1", option: f"tcp:{port}:interface=127.0.0.1"}
                listen = [f"{name}={endpoint}" for name, endpoint in endpoints.items()]
                line = self._refused(f"--tls-client-ca={self.authority.file}", *listen)
                expected = f"{option}: 'tcp:{port}:interface=127.0.0.1' cannot be listened at: Address already in use"
                self.assertIn(expected, line)

    def test_port_in_use_in_the_background(self) -> None:
        """The command of a twistd that goes into the background ends, too, says what, and leaves no pidfile behind."""
        pidfile = self.folder / "twistd.pid"
        files = {"certificate": self.pair.certificate, "private-key": self.pair.key, "client-ca": self.authority.file}
        options = ["--cluster=simulated", *(f"--tls-{name}={path}" for name, path in files.items())]
        run = [f"--pidfile={pidfile}", f"--logfile={self.folder / 'twistd.log'}"]
        with socket.create_server(("127.0.0.1", 0)) as taken:
            listen = f"--listen=tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            ended = subprocess.run(
                twistd("sre-server", *options, listen, run=run),
                env=environment({"HOME": str(self.folder)}),
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        self.assertEqual(ended.returncode, 1)
        self.assertIn("sre-server: --listen: 'tcp:", ended.stderr + ended.stdout)  # of which twistd tells so much
        self.assertIn("Address already in use", (self.folder / "twistd.log").read_text())
        self.assertFalse(pidfile.exists())

    def test_bad_endpoint(self) -> None:
        """An endpoint that means nothing, or cannot be, is named with its option."""
        for endpoint in ("nonsense:1", "tcp:99999", "unix:/nowhere/socket"):
            line = self._refused(f"--tls-client-ca={self.authority.file}", f"--listen={endpoint}")
            self.assertIn(f"--listen: '{endpoint}'", line)

    def test_environment(self) -> None:
        """A mistake in an environment variable is found as one on the command line is."""
        authority = f"--tls-client-ca={self.authority.file}"
        self.assertIn("max-staleness", self._refused(authority, SRE_SERVER_MAX_STALENESS="soon"))

    def test_unknown_option(self) -> None:
        """A mistyped option is one line, not two screens of twistd's own help."""
        self.assertIn("--tls-cert-ca", self._refused("--tls-cert-ca=x"))
