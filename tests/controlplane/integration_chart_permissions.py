"""The server with exactly the token that the chart granted: its whole job, and nothing more."""

import os
from http.client import HTTPSConnection
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Answer, Daemon

from .chart import WAIT, Release
from .integration_day_wait import DEPLOYMENT
from .workload import own_cluster

CLIENT = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: scaler, namespace: {namespace}}}
rules:
  - {{apiGroups: [apps], resources: [deployments], verbs: [get]}}
  - {{apiGroups: [apps], resources: [deployments/scale], verbs: [patch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: scaler, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: scaler}}
subjects: [{{kind: User, name: alice}}]
"""
POLICY = {
    "authorization": "policy",
    "policy": {"rules": [{"identities": ["alice"], "verbs": ["read", "scale"]}]},
}
CACHE = ("apps", "deployments", ("get", "list", "watch"))
SCALE = ("apps", "deployments/scale", ("patch",))
AUTOSCALERS = ("autoscaling", "horizontalpodautoscalers", ("list", "watch"))
NAMESPACES = ("", "namespaces", ("list", "watch"))
ONE_NAMESPACE = ("", "namespaces", ("get",))
RECORD = ("", "events", ("create",))
EVENTS = ("", "events", ("create", "list", "watch"))
PLANS = (("", "resourcequotas", ("list",)), ("policy", "poddisruptionbudgets", ("list",)))
PODS = ("", "pods", ("list",))
REVIEWS = ("authorization.k8s.io", "subjectaccessreviews", ("create",))


class GrantTests(SynchronousTestCase):
    """A release, a server outside of the cluster that has its token, and two namespaces with Deployments."""

    def setUp(self) -> None:
        """Make the namespaces, in one of which Alice may read and scale."""
        if os.environ.get("KUBECONFIG"):
            raise SkipTest("the chart is tried in a control plane of our own")
        self.release = Release(temporary_folder(self))
        self.addCleanup(self.release.close)
        cluster = own_cluster()
        self.cluster = cluster
        self.served, self.other = cluster.make_namespace(), cluster.make_namespace()
        for namespace in (self.served, self.other):
            self.addCleanup(cluster.kubectl, "delete", "namespace", namespace, "--wait=false")
        cluster.kubectl("apply", "--filename=-", input=CLIENT.format(namespace=self.served))

    def _serve(self, values: dict[str, Any]) -> Daemon:
        """Install the chart, and run the server with the options and the token that its pods have."""
        self.release.helm("install", values, *WAIT)
        daemon = Daemon(self.release.folder, *self.release.server_options(), authority=self.release.authority)
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        return daemon

    def _as(self, daemon: Daemon, name: str, method: str, path: str, body: bytes | None = None) -> Answer:
        context = daemon.context(daemon.authority.issue(name))
        connection = HTTPSConnection("localhost", daemon.port, context=context, timeout=20)
        self.addCleanup(connection.close)
        return daemon.request(method, path, body, {"Content-Type": "application/json"} if body else {}, connection)

    def _whole_job(self, daemon: Daemon) -> None:
        """List, read, write, see what others write, and leave an Event; say no to whom the rules say no."""
        web = f"/deployments/{self.served}/web/replicas"
        listed = daemon.get(f"/deployments/{self.served}").json
        self.assertEqual(listed, [{"namespace": self.served, "deployments": ["web", "worker"]}])
        self.assertEqual(daemon.get(web).json["replicas"], 3)
        picture = f"/deployments/{self.served}/web"
        daemon.wait_for(lambda: daemon.get(picture).json.get("rollout") == "steady", "showing it settled")
        planned = self._as(daemon, "alice", "POST", f"/deployments/{self.served}/web/plan", b'{"replicas": 5}')
        self.assertEqual((planned.json["verdict"], planned.json["findings"]), ("will hold", []))
        self.assertEqual(daemon.put(web, {"replicas": 5}).status, 200)
        self.assertEqual(self.cluster.replicas(self.served, "web"), 5)
        self.cluster.scale(self.served, "web", 4)
        daemon.wait_for(lambda: daemon.get(web).json["replicas"] == 4, "showing what kubectl set")
        events = ("get", "events", f"--namespace={self.served}", "--field-selector=reason=ScaledOnRequest")
        message = "--output=jsonpath={.items[*].message}"
        daemon.wait_for(lambda: self.cluster.kubectl(*events, message) == "alice scaled this from 3 to 5", "an Event")
        for method, path, body in (("GET", web, None), ("PUT", web, b'{"replicas": 9}')):
            self.assertEqual(self._as(daemon, "mallory", method, path, body).status, 403)
        for complaint in ("Forbidden", "forbidden", "Traceback", "could not be left"):
            self.assertNotIn(complaint, daemon.said())

    def _attempts(self, namespace: str) -> dict[str, int]:
        """Return what the apiserver answers to things that the server has no business with."""
        plane = self.release.plane
        token = plane.service_account_token(self.release.namespace, self.release.account)
        web = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
        patch = b'{"spec": {"replicas": 9}}'
        attempts = {
            "get secrets": ("GET", f"/api/v1/namespaces/{namespace}/secrets", None),
            "get own secret": ("GET", f"/api/v1/namespaces/{self.release.namespace}/secrets/sre-server-tls", None),
            "get pods": ("GET", f"/api/v1/namespaces/{namespace}/pods", None),
            "get configmaps": ("GET", f"/api/v1/namespaces/{namespace}/configmaps", None),
            "get nodes": ("GET", "/api/v1/nodes", None),
            "delete a Deployment": ("DELETE", web, None),
            "patch a Deployment": ("PATCH", web, patch),
            "patch its status": ("PATCH", f"{web}/status", patch),
            "get its scale": ("GET", f"{web}/scale", None),
            "delete events": ("DELETE", f"/api/v1/namespaces/{namespace}/events", None),
            "get a quota": ("GET", f"/api/v1/namespaces/{namespace}/resourcequotas/any", None),
            "delete the namespace": ("DELETE", f"/api/v1/namespaces/{namespace}", None),
            "get roles": ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", None),
        }
        merge = "application/merge-patch+json"
        return {
            what: plane.request(method, path, token=token, body=body, content_type=merge)[0]
            for what, (method, path, body) in attempts.items()
        }

    def test_whole_cluster(self) -> None:
        """Cluster-wide: the job is done, the grant is that of docs/iam.md, and all else is refused."""
        self.release.make_secret("prober", "sre-server-synthetic")
        queries = {"enabled": True, "clientCertificate": {"secretName": "prober"}}
        daemon = self._serve({"syntheticQueries": queries})
        self._whole_job(daemon)
        seen = self._as(daemon, "sre-server-synthetic", "GET", "/deployments").json
        self.assertEqual(seen, [{"namespace": self.release.namespace, "deployments": [self.release.account]}])
        self.assertEqual(
            self.release.granted(self.other), {CACHE, SCALE, AUTOSCALERS, NAMESPACES, *PLANS, EVENTS, REVIEWS}
        )
        self.assertEqual(set(self._attempts(self.served).values()), {403})

    def test_namespaces(self) -> None:
        """In chosen namespaces: the same job there, nothing but reviews anywhere else."""
        daemon = self._serve({"namespaces": [self.served]})
        self._whole_job(daemon)
        self.assertEqual(daemon.get("/namespaces").json, {"namespaces": [self.served]})
        self.assertEqual(
            self.release.granted(self.served), {CACHE, SCALE, AUTOSCALERS, ONE_NAMESPACE, *PLANS, EVENTS, REVIEWS}
        )
        self.assertEqual(self.release.granted(self.other), {REVIEWS})
        self.assertEqual(set(self._attempts(self.served).values()), {403})

    def test_namespaces_and_policy(self) -> None:
        """With a policy of its own, a server of chosen namespaces has no permission at all beyond them."""
        self._whole_job(self._serve({"namespaces": [self.served], **POLICY}))
        self.assertEqual(self.release.granted(self.served), {CACHE, SCALE, AUTOSCALERS, ONE_NAMESPACE, *PLANS, EVENTS})
        self.assertEqual(self.release.granted(self.other), set())
        self.assertEqual(set(self._attempts(self.served).values()), {403})

    def test_pod_causes(self) -> None:
        """With `server.podCauses` waits are told why pods do not run, by the right to list them, and no more."""
        daemon = self._serve({"namespaces": [self.served], "server": {"podCauses": True}})
        labels = "{app: bare, trouble: image}"
        bare = {"name": "bare", "namespace": self.served, "replicas": 1, "labels": labels}
        manifest = DEPLOYMENT.format(**bare, min_ready_seconds=0, deadline=600)
        self.cluster.kubectl("apply", "--server-side", "--filename=-", input=manifest)
        path = f"/deployments/{self.served}/bare/replicas"
        daemon.wait_for(lambda: daemon.get(path).status == 200, "aware of it")
        told = daemon.put(path, {"replicas": 2}, Prefer="wait=60").json
        self.assertEqual(told["outcome"], "image", told)
        self.assertEqual(
            self.release.granted(self.served), {CACHE, SCALE, AUTOSCALERS, ONE_NAMESPACE, *PLANS, PODS, EVENTS, REVIEWS}
        )
        allowed = [what for what, status in self._attempts(self.served).items() if status != 403]
        self.assertEqual(allowed, ["get pods"])
