"""The chart and the server together: the options it passes, the check it comes with, and the time it gives to stop."""

import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster import feed
from sre_server.daemon.config import Authorization, ClusterKind
from sre_server.daemon.options import Options
from sre_server.security.guardrails import load_guardrails
from sre_server.security.policy import load_policy
from sre_server.web import service
from tests.certificates import Authority, Flaw
from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon, environment
from tests.functional.helm import MODES, Document, Values, is_temporary, named, pod_specs, render, server_container
from tests.functional.pythons import pythons

pytestmark = pytest.mark.xdist_group("chart")

MOUNT = "/etc/sre-server"
SPARE_SECONDS = 1.0
NOWHERE = """
apiVersion: v1
kind: Config
current-context: blue
contexts: [{name: blue, context: {cluster: nowhere}}]
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:1"}}]
"""


def options_of(documents: list[Document], folder: Path, component: str = "server") -> Options:
    """Parse the arguments of a container of the chart's, with what is mounted there put into a folder."""
    authority = Authority(folder)
    pair = authority.issue("localhost")
    tls = folder / "tls"
    tls.mkdir()
    (tls / "tls.crt").write_bytes(pair.certificate.read_bytes())
    (tls / "tls.key").write_bytes(pair.key.read_bytes())
    (tls / "client-ca.crt").write_bytes(authority.file.read_bytes())
    (tls / "crl.pem").write_bytes(authority.revocation_list())
    for document in documents:
        if document["kind"] == "ConfigMap" and "data" in document:
            (folder / "config").mkdir(exist_ok=True)
            for name, text in document["data"].items():
                (folder / "config" / name).write_text(text)
    (folder / "cache").mkdir()
    for name in ("seal", "password", "sentinel-password", "ca.crt", "tls.crt", "tls.key"):
        (folder / "cache" / name).write_text("one line that is long enough")
    (folder / "kubeconfig").mkdir()
    (folder / "kubeconfig/kubeconfig").write_text(NOWHERE)
    arguments = [argument.replace(MOUNT, str(folder)) for argument in server_container(documents, component)["args"]]
    # This is not a pod, and of a shared cache a simulated cluster is refused.
    shared = any(argument.startswith("--cache=") for argument in arguments)
    here = "--cluster=kubeconfig" if shared else "--cluster=simulated"
    options = Options({"KUBECONFIG": str(folder / "kubeconfig/kubeconfig")})
    options.parseOptions([here if argument == "--cluster=in-cluster" else argument for argument in arguments])
    return options


def mount_client(daemon: Daemon, folder: Path) -> None:
    """Put the files of a client into a folder, as the chart mounts them."""
    for source, name in ((daemon.client.certificate, "tls.crt"), (daemon.client.key, "tls.key")):
        (folder / name).write_bytes(source.read_bytes())
    (folder / "ca.crt").write_bytes(daemon.authority.file.read_bytes())


class Indifferent(BaseHTTPRequestHandler):
    """Answers every request in the same way."""

    def do_GET(self) -> None:
        """Say that all is well."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class OptionsTests(SynchronousTestCase):
    """The command line that the chart writes is one that the server takes."""

    def _options(self, values: Values) -> Options:
        return options_of(render(values), temporary_folder(self))

    def test_every_mode(self) -> None:
        """In every mode the server accepts its options and its files, and endpoints are ones that Twisted knows."""
        for mode, values in MODES.items():
            config = self._options(values).config
            for endpoint in (config.listen, config.ops_listen):
                self.assertIsNotNone(serverFromString(MemoryReactor(), endpoint), mode)

    def test_every_option(self) -> None:
        """Each option of the server is one that the chart can set, in one of the roles."""
        containers = [server_container(render(values)) for values in MODES.values()]
        containers.append(server_container(render(MODES["shared cache"]), "watcher"))  # it alone has a Lease
        arguments = [argument for container in containers for argument in container["args"]]
        passed = {argument.partition("=")[0].removeprefix("--") for argument in arguments}
        known = {name for name, *_ in Options.optParameters} | {"namespace"}
        self.assertEqual(passed, known)

    def test_defaults(self) -> None:
        """What the chart says where nobody says anything is what the server would do, but for six things."""
        bare = ["--tls-certificate", "--tls-private-key", "--tls-client-ca"]
        chart = self._options({})
        options = Options({})
        files = [f"{name}={chart[name[2:]]}" for name in bare]
        options.parseOptions([*files, "--cluster=simulated"])
        differing = {name for name, *_ in Options.optParameters if chart[name] != options[name]}
        self.assertEqual(
            differing, {"authorization", "audit-log", "log-format", "ops-listen", "temporary-store", "without"}
        )
        self.assertIs(chart.config.authorization, Authorization.KUBERNETES)

    def test_names_of_the_cluster(self) -> None:
        """What only a cluster that decides is told, the server is told only where one does."""
        for values, passed in (({}, True), (MODES["policy"], False), ({"authorization": "any"}, False)):
            self.assertEqual(self._options({**values, "systemNames": "pass"}).config.pass_system_names, passed)

    def test_documents(self) -> None:
        """Policy and guardrails arrive as they were written, large numbers included."""
        folder = temporary_folder(self)
        policy = named(render(MODES["policy"]), "ConfigMap")["data"]["policy.yaml"]
        (folder / "policy.yaml").write_text(policy)
        self.assertEqual(load_policy(folder / "policy.yaml").rules[0].groups, ("sre",))
        guardrails = named(render(MODES["guardrails"]), "ConfigMap")["data"]["guardrails.yaml"]
        (folder / "guardrails.yaml").write_text(guardrails)
        loaded = load_guardrails(folder / "guardrails.yaml")
        self.assertEqual((loaded.maximum, loaded.largest_step), (2000000, 5))
        self.assertEqual(loaded.protected[0].namespaces, ("*-prod",))

    def test_namespaces(self) -> None:
        """The namespaces are the ones that there are Roles for."""
        documents = render(MODES["namespaces"])
        found = [document for document in documents if document["kind"] == "Role" and not is_temporary(document)]
        roles = {document["metadata"]["namespace"] for document in found}
        self.assertEqual(set(options_of(documents, temporary_folder(self)).config.namespaces), roles)

    def test_kubeconfig(self) -> None:
        """The kubeconfig of another cluster is where it is mounted, and there is a place to unpack it."""
        documents = render(MODES["another cluster"])
        container = server_container(documents)
        self.assertIn(f"--cluster={ClusterKind.KUBECONFIG.value}", container["args"])
        self.assertIn(f"--kubeconfig={MOUNT}/kubeconfig/kubeconfig", container["args"])
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        self.assertLessEqual({f"{MOUNT}/kubeconfig", "/tmp"}, mounts)


class StoppingTests(SynchronousTestCase):
    """Pods come and go without anybody noticing."""

    def test_grace(self) -> None:
        """Past the preStop hook there is time for both ports to drain and the watch to end, and then some."""
        pod = named(render({}), "Deployment")["spec"]["template"]["spec"]
        pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        longest = 2 * service.DRAIN_SECONDS + feed.STOP_SECONDS + SPARE_SECONDS
        self.assertGreater(pause, 0)
        self.assertLessEqual(longest, 15, "the margin that templates/_validation.tpl insists on")
        self.assertGreaterEqual(pod["terminationGracePeriodSeconds"] - pause, longest)
        render({"preStopSeconds": 15})  # the longest that the default grace has room for

    def test_rollout(self) -> None:
        """An old pod goes when a new one is ready, never before; nodes and zones share them evenly."""
        spec = named(render({}), "Deployment")["spec"]
        self.assertEqual(spec["strategy"]["rollingUpdate"], {"maxUnavailable": 0, "maxSurge": 1})
        constraints = spec["template"]["spec"]["topologySpreadConstraints"]
        keys = [constraint["topologyKey"] for constraint in constraints]
        self.assertEqual(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"])
        for constraint in constraints:
            self.assertEqual(constraint["labelSelector"]["matchLabels"], spec["selector"]["matchLabels"])
            self.assertEqual(constraint["matchLabelKeys"], ["pod-template-hash"])

    def test_probes(self) -> None:
        """Probes ask the ops port; only readiness depends on the cluster."""
        container = server_container(render({}))
        paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
        live, ready = {"path": "/livez", "port": "ops"}, {"path": "/readyz", "port": "ops"}
        self.assertEqual(paths, {"startup": live, "liveness": live, "readiness": ready})
        self.assertIn({"name": "ops", "containerPort": 8080, "protocol": "TCP"}, container["ports"])


class CheckTests(SynchronousTestCase):
    """The pod that `helm test` runs, run here against a real server."""

    def setUp(self) -> None:
        """Start the server, and put a client's files where the chart mounts them."""
        folder = temporary_folder(self)
        self.daemon = Daemon(folder, "--cluster=simulated")
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        self.client = folder / "client"
        self.client.mkdir()
        mount_client(self.daemon, self.client)

    def _check(self, mode: str, port: int, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        """Run the pod's command against this machine."""
        (pod,) = (spec for kind, spec in pod_specs(render(MODES[mode])) if kind == "Pod")
        container = pod["containers"][0]
        self.assertEqual(container["command"], ["python", "-c"])
        replaced = {"blue-sre-server.sre.svc": "localhost", "8443": str(port), f"{MOUNT}/client": str(self.client)}
        arguments = [replaced.get(argument, argument) for argument in container["args"]]
        command = [python, "-c", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def test_with_a_certificate(self) -> None:
        """It passes: who has no certificate is refused, who has one is answered."""
        done = self._check("self-signed", self.daemon.port)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.splitlines()[1:], ["GET /readyz: 200", "GET /deployments: 200"])

    def test_other_authorities(self) -> None:
        """It passes with a CA that lacks what strict clients ask for, on the image's Python, too."""
        folder = temporary_folder(self)
        daemon = Daemon(folder, "--cluster=simulated", authority=Authority(folder, flaws=tuple(Flaw)))
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        mount_client(daemon, self.client)
        for python in pythons():
            with self.subTest(python):
                done = self._check("self-signed", daemon.port, python)
                self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_without(self) -> None:
        """Without a certificate to test with, it shows that the server asks for one."""
        done = self._check("defaults", self.daemon.port)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.splitlines(), ["no certificate: refused, as it should be"])

    def test_failures(self) -> None:
        """It fails when nobody listens, when the port asks for no certificate, and when the client is not known."""
        self.assertIn("Connection refused", self._check("self-signed", 1).stderr)
        self.assertIn("no certificate: let in, with 200", self._check("defaults", self._asks_for_none()).stderr)
        stranger = Authority(self.client, "Another CA").issue("mallory")
        (self.client / "tls.crt").write_bytes(stranger.certificate.read_bytes())
        (self.client / "tls.key").write_bytes(stranger.key.read_bytes())
        done = self._check("self-signed", self.daemon.port)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("refused, as it should be", done.stdout)

    def _asks_for_none(self) -> int:
        """Serve whoever comes, over TLS; return the port."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.daemon.authority.issue("localhost"))
        server = HTTPServer(("127.0.0.1", 0), Indifferent)
        self.addCleanup(server.server_close)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        return server.server_port

    def test_not_ready(self) -> None:
        """It fails, and says with what, when the server answers but has no cluster to tell of."""
        kubeconfig = self.client / "kubeconfig"
        kubeconfig.write_text(NOWHERE, encoding="utf-8")
        options = ("--cluster=kubeconfig", f"--kubeconfig={kubeconfig}")
        daemon = Daemon(self.client.parent, *options, authority=self.daemon.authority)
        self.addCleanup(daemon.close)
        done = self._check("self-signed", daemon.port)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("GET /readyz: 503", done.stderr)


class SyntheticTests(SynchronousTestCase):
    """The command of the CronJob."""

    def test_run(self) -> None:
        """Run here against a real server, with the files where the chart mounts them, it succeeds."""
        folder = temporary_folder(self)
        daemon = Daemon(folder, "--cluster=simulated")
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        mount_client(daemon, folder)
        job = next(document for document in render(MODES["synthetic queries"]) if document["kind"] == "CronJob")
        container = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
        here = {"https://blue-sre-server.sre.svc:8443": f"https://localhost:{daemon.port}"}
        arguments = [here.get(argument, argument) for argument in container["args"]]
        arguments = [argument.replace(f"{MOUNT}/client", str(folder)) for argument in arguments]
        command = [sys.executable, *container["command"][1:], *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environment(), cwd=folder
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_command(self) -> None:
        """It asks the Service, by the name that is in the certificate, with the files that are mounted."""
        documents = render(MODES["network policy, narrow"])
        job = next(document for document in documents if document["kind"] == "CronJob")
        spec = job["spec"]["jobTemplate"]["spec"]
        container = spec["template"]["spec"]["containers"][0]
        self.assertEqual(container["command"], ["python", "-m", "sre_server.synthetic"])
        given = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
        self.assertEqual(
            given,
            {
                "--url": "https://blue-sre-server.sre.svc:8443",
                "--certificate": f"{MOUNT}/client/tls.crt",
                "--private-key": f"{MOUNT}/client/tls.key",
                "--server-ca": f"{MOUNT}/client/ca.crt",
                "--timeout": "10",
                "--push-to": "http://push.monitoring:9091/metrics",
            },
        )
        mounted: Any = spec["template"]["spec"]["volumes"][0]["secret"]
        self.assertEqual(mounted["secretName"], "prober")
        self.assertEqual({item["path"] for item in mounted["items"]}, {"tls.crt", "tls.key", "ca.crt"})
        self.assertEqual((spec["backoffLimit"], job["spec"]["concurrencyPolicy"]), (0, "Forbid"))
