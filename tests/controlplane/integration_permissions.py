"""`--authorization=kubernetes`: the RBAC of a real apiserver decides what each client of the server may do."""

import os
import tempfile
import time
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.functional.daemon import Answer, Daemon
from tests.functional.load import metric

from .workload import SERVER_ACCOUNT, own_cluster

# What the server needs besides, to ask on behalf of others; and three clients, one of which has nothing.
RULES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: sre-server-reviews}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}}
subjects: [{{kind: ServiceAccount, name: {account}, namespace: {home}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader, namespace: {namespace}}}
rules: [{{apiGroups: [apps], resources: [deployments], verbs: [get]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reader, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects: [{{kind: User, name: reader}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: scaler, namespace: {namespace}}}
rules:
  - {{apiGroups: [apps], resources: [deployments], resourceNames: [web], verbs: [get]}}
  - {{apiGroups: [apps], resources: [deployments/scale], resourceNames: [web], verbs: [patch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: scaler, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: scaler}}
subjects: [{{kind: User, name: scaler}}]
"""


class PermissionTests(SynchronousTestCase):
    """A server that asks the apiserver before every write, and before reads that were not asked of late."""

    def setUp(self) -> None:
        """Give three clients their permissions and start the server."""
        if os.environ.get("KUBECONFIG"):
            raise SkipTest("bindings for made-up users have no place in the cluster of $KUBECONFIG")
        self.cluster = own_cluster()
        self.namespace = self.cluster.make_namespace()
        self.addCleanup(self.cluster.kubectl, "delete", "namespace", self.namespace, "--wait=false")
        home, account = SERVER_ACCOUNT
        rules = RULES.format(namespace=self.namespace, home=home, account=account)
        self.cluster.kubectl("apply", "--filename=-", input=rules)
        self.addCleanup(self.cluster.kubectl, "delete", "clusterrolebinding", "sre-server-reviews")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        kubeconfig = f"--kubeconfig={self.cluster.server_kubeconfig}"
        options = ("--authorization=kubernetes", "--cluster=kubeconfig", kubeconfig)
        self.audit = Path(folder.name) / "audit.log"
        self.daemon = Daemon(Path(folder.name), *options, f"--audit-log={self.audit}")
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        self.web = f"/deployments/{self.namespace}/web"

    def _as(self, name: str, method: str, path: str, body: bytes | None = None) -> Answer:
        """Make a request with a certificate of that name."""
        context = self.daemon.context(self.daemon.authority.issue(name))
        connection = HTTPSConnection("localhost", self.daemon.port, context=context, timeout=20)
        self.addCleanup(connection.close)
        headers = {"Content-Type": "application/json"} if body else {}
        return self.daemon.request(method, path, body, headers, connection)

    def test_three_clients(self) -> None:
        """One may read, one may scale a single Deployment, one may do nothing; lists show what may be read."""
        scale = b'{"replicas": 5}'
        worker = f"/deployments/{self.namespace}/worker"
        expected = {
            "reader": ([200, 200, 200, 403, 403], {self.namespace}),
            "scaler": ([403, 200, 403, 200, 403], set()),
            "nobody": ([403, 403, 403, 403, 403], set()),
        }
        for name, (statuses, namespaces) in expected.items():
            answers = [
                self._as(name, "GET", f"/deployments/{self.namespace}"),
                self._as(name, "GET", f"{self.web}/replicas"),
                self._as(name, "GET", f"{worker}/replicas"),
                self._as(name, "PUT", f"{self.web}/replicas", scale),
                self._as(name, "PUT", f"{worker}/replicas", scale),
            ]
            self.assertEqual([answer.status for answer in answers], statuses, name)
            listed = self._as(name, "GET", "/namespaces").json["namespaces"]
            self.assertEqual(set(listed) & {self.namespace, "default", "kube-system"}, namespaces, name)
        self.assertEqual(self._as("nobody", "GET", f"/namespaces/{self.namespace}/deployments").status, 401)
        self.assertEqual(self.cluster.replicas(self.namespace, "web"), 5)
        self.assertEqual(self.cluster.replicas(self.namespace, "worker"), 1)

    def test_permissions_are_told(self) -> None:
        """A client can ask what it may do, and hears who decided."""
        told = self._as("scaler", "GET", f"{self.web}/permissions").json
        self.assertEqual((told["identity"], told["read"]["allowed"], told["scale"]["allowed"]), ("scaler", True, True))
        self.assertIn("RBAC", told["scale"]["rule"])
        self.assertFalse(self._as("reader", "GET", f"{self.web}/permissions").json["scale"]["allowed"])

    def _reviews(self) -> int:
        """How many requests the API server has answered with a new object: while nobody writes, these are reviews."""
        return int(metric(self.daemon, 'sre_server_kube_requests_total{code="201",verb="POST"}'))

    def test_what_reads_cost(self) -> None:
        """Two reviews in 10 s, however many names are read where a client may read all; else one more for each name."""
        missing = [f"/deployments/{self.namespace}/missing-{number}/replicas" for number in range(100)]
        web, worker = f"{self.web}/replicas", f"/deployments/{self.namespace}/worker/replicas"
        for name, paths, statuses, each in (
            ("reader", [web, worker, f"/deployments/{self.namespace}", *missing], {200, 404}, 2),
            ("scaler", [web] * 20, {200}, 3),
            ("nobody", [web, worker] * 10, {403}, 4),
        ):
            before, began = self._reviews(), time.monotonic()
            context = self.daemon.context(self.daemon.authority.issue(name))
            with closing(HTTPSConnection("localhost", self.daemon.port, context=context, timeout=20)) as connection:
                answers = [self.daemon.request("GET", path, None, {}, connection) for path in paths]
            seen = {answer.status for answer in answers}
            took = time.monotonic() - began
            self.assertEqual(seen, statuses, name)
            asked = self._reviews() - before
            self.assertGreaterEqual(asked, each, name)
            self.assertLessEqual(asked, each * (1 + int(took // 10)), name)

    def test_revoked_permission(self) -> None:
        """A permission that is taken away stops the next write at once, and reads within 10 s."""
        self.assertEqual(self._as("scaler", "GET", f"{self.web}/replicas").status, 200)
        self.cluster.kubectl("delete", "rolebinding", "scaler", f"--namespace={self.namespace}")
        revoked_at = time.monotonic()
        self.daemon.wait_for(
            lambda: self._as("scaler", "PUT", f"{self.web}/replicas", b'{"replicas": 9}').status == 403,
            "refusing the write",
        )
        allowed_at = revoked_at

        def refused() -> bool:
            nonlocal allowed_at
            began = time.monotonic()
            if self._as("scaler", "GET", f"{self.web}/replicas").status == 403:
                return True
            allowed_at = began
            return False

        self.daemon.wait_for(refused, "refusing the read", 60)
        self.assertLess(allowed_at - revoked_at, 11)

    def test_the_event_and_the_audit_line(self) -> None:
        """A write leaves an Event on the Deployment that names who did it, and one line in the audit log."""
        self.assertEqual(self._as("scaler", "PUT", f"{self.web}/replicas", b'{"replicas": 6}').status, 200)
        selector = "--field-selector=reason=ScaledOnRequest"
        output = "--output=jsonpath={.items[*].message}"
        events = ("get", "events", f"--namespace={self.namespace}", selector, output)
        self.daemon.wait_for(lambda: self.cluster.kubectl(*events) == "scaler scaled this from 3 to 6", "seen")
        self.assertEqual(self.audit.read_text().count('"outcome":"changed"'), 1)
