"""The standalone simulator as a process of its own: three commands of the real kubectl, and its end."""

import json
import os
import signal
import socket
import subprocess
from unittest import SkipTest
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.controlplane.build import find_program
from tests.fakes import temporary_folder
from tests.functional.simulated import Simulator

PATIENCE = 60


class KubectlTests(SynchronousTestCase):
    """What a newcomer types."""

    def setUp(self) -> None:
        """Find kubectl, and start a simulator."""
        found = find_program("kubectl")
        if found is None:
            raise SkipTest("kubectl is not installed; `make integration-tests` builds one")
        self.kubectl = found
        folder = temporary_folder(self)
        self.simulator = Simulator(folder)
        self.addCleanup(self.simulator.close)
        self.environment = {**os.environ, "HOME": str(folder), "KUBECONFIG": str(self.simulator.kubeconfig)}

    def run_kubectl(self, *arguments: str, succeeds: bool = True) -> str:
        """Return what kubectl says."""
        done = subprocess.run(
            [self.kubectl, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode == 0, succeeds, done.stdout + done.stderr)
        return done.stdout if succeeds else done.stderr

    def names(self, *arguments: str) -> list[str]:
        """Return the names that `kubectl get` prints."""
        return self.run_kubectl("get", *arguments, "-o", "name").splitlines()

    def cart(self) -> tuple[int, str]:
        """Return how many replicas shop/cart was asked for, and its version."""
        shown = json.loads(self.run_kubectl("get", "deployment", "cart", "-n", "shop", "-o", "json"))
        return shown["spec"]["replicas"], shown["metadata"]["resourceVersion"]

    def test_get(self) -> None:
        """Deployments and namespaces are printed, in pages, too; what is missing is reported as by a real server."""
        head, *rows = self.run_kubectl("get", "deployments", "-n", "shop").splitlines()
        self.assertEqual(head.split(), ["NAME", "AGE"])
        self.assertEqual((len(rows), rows[0].split()[0]), (5, "cart"))
        self.assertIn("namespace/default", self.names("ns"))
        self.assertEqual(len(self.names("deploy", "-A")), 12)
        self.assertEqual(self.names("deploy", "-A", "--chunk-size=5"), self.names("deploy", "-A", "--chunk-size=0"))
        said = self.run_kubectl("get", "deploy", "nothing", succeeds=False)
        self.assertEqual(said, 'Error from server (NotFound): deployments.apps "nothing" not found\n')

    def test_what_bounds_counts(self) -> None:
        """Autoscalers, quotas, budgets and pods are found by their short names."""
        self.assertEqual(self.names("hpa", "-A"), ["horizontalpodautoscaler.autoscaling/storefront"])
        self.assertEqual(
            self.names("quota,pdb", "-n", "payments"), ["resourcequota/payments", "poddisruptionbudget.policy/ledger"]
        )
        self.assertEqual(len(self.names("po", "-n", "shop", "-l", "app.kubernetes.io/name=cart")), 3)

    def test_scale(self) -> None:
        """A Deployment is scaled, also on condition of its present replicas or version, and refused otherwise."""
        scale = ("scale", "-n", "shop", "deployment/cart")
        self.run_kubectl(*scale, "--replicas=5")
        self.assertEqual(self.cart()[0], 5)
        self.run_kubectl(*scale, "--replicas=4", "--current-replicas=5")
        self.run_kubectl(*scale, "--replicas=6", "--current-replicas=5", succeeds=False)
        self.run_kubectl(*scale, "--replicas=6", "--resource-version=1", succeeds=False)
        said = self.run_kubectl("rollout", "status", "-n", "shop", "deployment/cart", f"--timeout={PATIENCE}s")
        self.assertIn("successfully rolled out", said)
        replicas, version = self.cart()
        self.assertEqual(replicas, 4)
        self.run_kubectl(*scale, "--replicas=0", f"--resource-version={version}")
        self.assertEqual(self.cart()[0], 0)

    def test_watch(self) -> None:
        """`get -w` prints the Deployment, then each step of its rollout."""
        command = [self.kubectl, "get", "deployment", "cart", "-n", "shop", "-w", "-o"]
        command.append('jsonpath={.spec.replicas} {.status.readyReplicas}{"\\n"}')
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True) as watcher:
            lines = watcher.stdout
            assert lines is not None
            self.assertEqual(lines.readline(), "3 3\n")
            self.run_kubectl("scale", "-n", "shop", "deployment/cart", "--replicas=5")
            seen: list[str] = []
            while "5 5\n" not in seen:
                seen.append(lines.readline())
            watcher.terminate()
        self.assertEqual((seen[0], seen), ("5 3\n", sorted(seen)))


class StopTests(SynchronousTestCase):
    """The end of the process."""

    def test_ends_with_hung_clients(self) -> None:
        """On SIGTERM it ends soon and without a complaint, whoever is still connected."""
        simulator = Simulator(temporary_folder(self))
        self.addCleanup(simulator.close)
        address = urlsplit(simulator.url)
        watching, hanging, idle = (
            socket.create_connection((address.hostname or "", address.port or 0), timeout=PATIENCE) for _ in range(3)
        )
        with watching, hanging, idle:
            watching.sendall(b"GET /apis/apps/v1/deployments?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(watching.recv(100).startswith(b"HTTP/1.1 200 OK"))
            simulator.faults({"kind": "hang"})
            hanging.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
            simulator.send_signal(signal.SIGTERM)
            self.assertEqual(simulator.wait(10), 0)
        self.assertEqual(len(simulator.output().splitlines()), 1)
