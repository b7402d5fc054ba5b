"""The standalone simulator as a process of its own, driven by the real kubectl over real sockets.

Whatever these tests wait for announces itself by a line of output or the end of a process.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.controlplane.build import find_program
from tests.functional.load import pause

ROOT = Path(__file__).resolve().parents[2]
READY = "simulated Kubernetes API at "
PATIENCE = 60


class Simulator:
    """A running `python -m sre_server.simulator`."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.kubeconfig = directory / "kubeconfig"
        command = [sys.executable, "-m", "sre_server.simulator", "--kubeconfig", str(self.kubeconfig), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._errors = directory / "errors"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line.startswith(READY):
            self.stop()
            raise AssertionError(f"the simulator did not start: {line!r} {self.errors!r}")
        self.url = line.removeprefix(READY).strip()

    def stop(self) -> int:
        """End the process, and keep what it complained about; return its status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            if self.process.stdout:
                self.process.stdout.close()
            self.errors = self._errors.read_text()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request, and return the decoded answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def connect(self) -> socket.socket:
        """Return a plain connection."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return socket.create_connection((host, int(port)), timeout=PATIENCE)


class SimulatorTestCase(SynchronousTestCase):
    """Starts a simulator."""

    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        """Start it, and see to its end."""
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        self.directory = directory
        self.simulator = Simulator(directory, *self.options)
        self.addCleanup(self.simulator.stop)

    def tearDown(self) -> None:
        """The simulator must have had nothing to complain about."""
        self.assertEqual(self.simulator.errors, "")


class KubectlTests(SimulatorTestCase):
    """What a newcomer types."""

    def setUp(self) -> None:
        """Find kubectl, and start a simulator."""
        found = find_program("kubectl")
        if found is None:
            raise SkipTest("kubectl is not installed; `make integration-tests` builds one")
        self.kubectl = found
        super().setUp()

    def environment(self) -> dict[str, str]:
        """Return an environment in which kubectl knows only the simulator."""
        home = {"HOME": str(self.directory), "KUBECONFIG": str(self.simulator.kubeconfig)}
        return {**os.environ, **home}

    def run_kubectl(self, *arguments: str, succeeds: bool = True, typed: str | None = None) -> str:
        """Return what kubectl says."""
        done = subprocess.run(
            [self.kubectl, *arguments],
            env=self.environment(),
            input=typed,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode == 0, succeeds, done.stdout + done.stderr)
        return done.stdout if succeeds else done.stderr

    def table(self, *arguments: str) -> list[list[str]]:
        """Return what kubectl prints, cell by cell."""
        return [line.split() for line in self.run_kubectl(*arguments).splitlines()]

    def replicas(self, name: str = "cart", namespace: str = "shop") -> int:
        """Return what a Deployment was asked for."""
        shown = self.run_kubectl("get", "deployment", name, "-n", namespace, "-o", "json")
        return int(json.loads(shown)["spec"]["replicas"])

    def test_get(self) -> None:
        """Deployments and namespaces are printed with the usual columns."""
        head, *rows = self.table("get", "deployments", "-n", "shop")
        self.assertEqual(head, ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"])
        self.assertEqual(rows[0][:4], ["cart", "3/3", "3", "3"])
        head, *rows = self.table("get", "namespaces")
        self.assertEqual((head, rows[0][:2]), (["NAME", "STATUS", "AGE"], ["default", "Active"]))
        head, *rows = self.table("get", "deploy", "-A")
        self.assertEqual((head[0], len(rows)), ("NAMESPACE", 12))

    def test_get_in_chunks(self) -> None:
        """A list that comes in pages is the same list."""
        chunked = self.table("get", "deploy", "-A", "--chunk-size=5")
        whole = self.table("get", "deploy", "-A", "--chunk-size=0")
        self.assertEqual([row[:5] for row in chunked], [row[:5] for row in whole])

    def test_get_selected(self) -> None:
        """Selectors select, and an empty answer says so."""
        _, *rows = self.table("get", "deploy", "-A", "-l", "app.kubernetes.io/name in (cart, ledger)")
        self.assertEqual([row[1] for row in rows], ["ledger", "cart"])
        _, *rows = self.table("get", "deploy", "-A", "--field-selector", "metadata.name=grafana")
        self.assertEqual([row[1] for row in rows], ["grafana"])

    def test_get_missing(self) -> None:
        """What is not there is reported as by a real server."""
        said = self.run_kubectl("get", "deploy", "nothing", succeeds=False)
        self.assertEqual(said, 'Error from server (NotFound): deployments.apps "nothing" not found\n')

    def test_scale(self) -> None:
        """A Deployment is scaled, and its rollout ends."""
        self.run_kubectl("scale", "-n", "shop", "deployment/cart", "--replicas=5")
        self.assertEqual(self.replicas(), 5)
        said = self.run_kubectl("rollout", "status", "-n", "shop", "deployment/cart", f"--timeout={PATIENCE}s")
        self.assertIn("successfully rolled out", said)
        self.assertEqual(self.table("get", "deploy", "cart", "-n", "shop")[1][1], "5/5")

    def test_scale_with_preconditions(self) -> None:
        """Scaling on condition of the present replicas or version works, and is refused otherwise."""
        scale = ("scale", "-n", "shop", "deployment/cart")
        self.run_kubectl(*scale, "--replicas=4", "--current-replicas=3")
        self.run_kubectl(*scale, "--replicas=6", "--current-replicas=3", succeeds=False)
        self.assertEqual(self.replicas(), 4)
        self.run_kubectl(*scale, "--replicas=6", "--resource-version=1", succeeds=False)
        self.run_kubectl("rollout", "status", "-n", "shop", "deployment/cart", f"--timeout={PATIENCE}s")
        shown = json.loads(self.run_kubectl("get", "deploy", "cart", "-n", "shop", "-o", "json"))
        self.run_kubectl(*scale, "--replicas=0", f"--resource-version={shown['metadata']['resourceVersion']}")
        self.assertEqual(self.replicas(), 0)

    def test_watch(self) -> None:
        """`get -w` prints the Deployment, then each step of its rollout."""
        command = [self.kubectl, "get", "deployment", "cart", "-n", "shop", "-w"]
        with subprocess.Popen(command, env=self.environment(), stdout=subprocess.PIPE, text=True) as watcher:
            lines = watcher.stdout
            assert lines is not None
            self.assertEqual(lines.readline().split()[0], "NAME")
            self.assertEqual(lines.readline().split()[1], "3/3")
            self.run_kubectl("scale", "-n", "shop", "deployment/cart", "--replicas=5")
            seen: list[str] = []
            while "5/5" not in seen:
                seen.append(lines.readline().split()[1])
            watcher.terminate()
        self.assertEqual(seen[0], "3/5")
        self.assertEqual(seen, sorted(seen))

    def test_namespace(self) -> None:
        """A namespace is created, filled and deleted with what is in it."""
        self.run_kubectl("create", "namespace", "blue")
        self.run_kubectl("create", "deployment", "web", "-n", "blue", "--image=images.example/web", "--replicas=2")
        said = self.run_kubectl("rollout", "status", "-n", "blue", "deployment/web", f"--timeout={PATIENCE}s")
        self.assertIn("successfully rolled out", said)
        self.run_kubectl("delete", "namespace", "blue")
        self.run_kubectl("get", "deployment", "web", "-n", "blue", succeeds=False)

    def test_manifest(self) -> None:
        """A manifest is applied, applied again, and deleted, with kubectl's validation as it is by default."""
        labels = {"app": "fresh"}
        pod = {"containers": [{"name": "main", "image": "images.example/fresh"}]}
        spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
        manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "fresh"}, "spec": spec}
        apply = ("apply", "-n", "shop", "-f", "-")
        self.assertIn("created", self.run_kubectl(*apply, typed=json.dumps(manifest)))
        changed = {**manifest, "spec": {**spec, "replicas": 2}}
        self.assertIn("configured", self.run_kubectl(*apply, typed=json.dumps(changed)))
        self.assertIn("unchanged", self.run_kubectl(*apply, typed=json.dumps(changed)))
        self.run_kubectl(*apply, "--server-side", "--force-conflicts", typed=json.dumps(changed))
        self.assertEqual(self.replicas("fresh"), 2)
        self.run_kubectl("delete", "deployment", "fresh", "-n", "shop")
        self.run_kubectl("get", "deployment", "fresh", "-n", "shop", succeeds=False)

    def test_patch(self) -> None:
        """Patches of every kubectl sort work; a failed test operation changes nothing."""
        patch = ("patch", "deployment", "cart", "-n", "shop")
        self.run_kubectl(*patch, "--type=merge", "-p", '{"spec":{"replicas":1}}')
        self.run_kubectl(*patch, "-p", '{"spec":{"replicas":2}}')
        step = '{"op":"test","path":"/spec/replicas","value":7}'
        self.run_kubectl(*patch, "--type=json", "-p", f"[{step}]", succeeds=False)
        self.run_kubectl(*patch, "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":7}}')
        self.run_kubectl(*patch, "--type=json", "-p", f"[{step}]")
        self.run_kubectl("set", "image", "-n", "shop", "deployment/cart", "cart=images.example/other")
        self.run_kubectl("rollout", "restart", "-n", "shop", "deployment/cart")
        self.assertEqual(self.replicas(), 7)

    def test_events(self) -> None:
        """An Event is created, listed with the usual columns, and shown with the Deployment that it is about."""
        cart = json.loads(self.run_kubectl("get", "deploy", "cart", "-n", "shop", "-o", "json"))
        about = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "cart"}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": "cart.", "namespace": "shop"},
            "involvedObject": {**about, "uid": cart["metadata"]["uid"]},
            "type": "Normal",
            "reason": "Scaled",
            "message": "ann did it",
            "lastTimestamp": "2026-01-01T12:00:00Z",
        }
        self.run_kubectl("create", "-f", "-", typed=json.dumps(event))
        head, row = self.table("get", "events", "-n", "shop")
        self.assertEqual(head, ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"])
        self.assertEqual(row[1:], ["Normal", "Scaled", "deployment/cart", "ann", "did", "it"])
        head, row = self.table("get", "events", "-A")
        self.assertEqual((head[0], row[0]), ("NAMESPACE", "shop"))
        self.assertIn("ann did it", self.run_kubectl("describe", "deployment", "cart", "-n", "shop"))
        self.assertNotIn("ann", self.run_kubectl("describe", "deployment", "catalog", "-n", "shop"))
        self.assertIn("ann did it", self.run_kubectl("events", "-n", "shop", "--for", "deployment/cart"))

    def test_review(self) -> None:
        """A SubjectAccessReview that kubectl creates comes back with its answer."""
        attributes = {"namespace": "shop", "verb": "get", "group": "apps", "resource": "deployments"}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": "ann", "resourceAttributes": attributes},
        }
        shown = self.run_kubectl("create", "-f", "-", "-o", "json", typed=json.dumps(review))
        self.assertIs(json.loads(shown)["status"]["allowed"], True)

    def test_described(self) -> None:
        """The less frequent questions are answered, too."""
        self.assertIn("deployments", self.run_kubectl("api-resources"))
        self.assertIn("Server Version", self.run_kubectl("version"))
        self.assertIn("3 desired", self.run_kubectl("describe", "deployment", "cart", "-n", "shop"))
        self.assertEqual(self.run_kubectl("get", "--raw", "/readyz"), "ok")


class ProcessTests(SimulatorTestCase):
    """The process itself."""

    options = ("--control", "--deployments", "3")

    def test_ends_with_hung_clients(self) -> None:
        """On SIGTERM it ends soon and well, whoever is still connected."""
        watching, hanging, idle = (self.simulator.connect() for _ in range(3))
        with watching, hanging, idle:
            watching.sendall(b"GET /apis/apps/v1/deployments?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(watching.recv(100).startswith(b"HTTP/1.1 200 OK"))
            self.simulator.call("PUT", "/simulator/faults", {"faults": [{"kind": "hang"}]})
            hanging.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
            asked = time.monotonic()
            self.assertEqual(self.simulator.stop(), 0)
            self.assertLess(time.monotonic() - asked, 10)

    def test_unplugged(self) -> None:
        """Unplugged, it refuses connections and resets the open ones; then it is back on the same port."""
        with self.simulator.connect() as watching:
            watching.sendall(b"GET /apis/apps/v1/deployments?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            self.simulator.call("POST", "/simulator/unplug", {"seconds": 1})
            self.assertRaises(ConnectionError, self.drain, watching)
        refused = 0
        while True:
            try:
                self.assertEqual(len(self.simulator.call("GET", "/apis/apps/v1/deployments")["items"]), 3)
                break
            except OSError as error:  # URLError, or what the system had taken and then reset
                self.assertIsInstance(getattr(error, "reason", error), ConnectionError)
                refused += 1
                pause(0.01)
        self.assertGreater(refused, 0)

    def drain(self, connection: socket.socket) -> None:
        """Read until the connection ends, which must be by a reset."""
        while connection.recv(65536):
            pass

    def test_slow_reader(self) -> None:
        """A watcher that reads nothing for long is cut off; what it missed was not kept for it."""
        with self.simulator.connect() as watching:
            watching.sendall(b"GET /api/v1/namespaces?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            fault = {"kind": "oversized", "size": 20_000_000, "times": 1}
            self.simulator.call("PUT", "/simulator/faults", {"faults": [fault]})
            for number in range(350):
                body = {"metadata": {"name": f"n-{number}"}}
                self.simulator.call("POST", "/api/v1/namespaces", body)
                self.simulator.call("DELETE", f"/api/v1/namespaces/n-{number}")
            received = b""
            while not received.endswith(b"\r\n0\r\n\r\n"):
                data = watching.recv(1 << 20)
                self.assertTrue(data, "the stream did not end properly")
                received = received[-10:] + data
            self.assertEqual(self.simulator.call("GET", "/simulator/requests")["counts"]["create namespaces"], 350)


class TokenTests(SimulatorTestCase):
    """A process that wants a token."""

    options = ("--token", "sesame")

    def test_token(self) -> None:
        """Without the token everything is refused; the kubeconfig holds it."""
        with self.assertRaises(urllib.error.HTTPError) as caught:
            self.simulator.call("GET", "/version")
        refusal: urllib.error.HTTPError = caught.exception
        self.assertEqual(refusal.code, 401)
        refusal.close()
        user = json.loads(self.simulator.kubeconfig.read_text())["users"][0]["user"]
        self.assertEqual(user, {"token": "sesame"})
