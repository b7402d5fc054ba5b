"""Temporary counts on two servers and a real API server: each comes back once, whatever happens meanwhile."""

import json
import os
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.functional.daemon import Daemon

from .daemon import wait_until
from .fixture import shared_plane
from .workload import SERVER_ACCOUNT, own_cluster

MANY = 50
HOME, ACCOUNT = SERVER_ACCOUNT
STORE = "temporary-counts"
REASON = 'a<b & "c" \\ d'
"""Has what encoders of JSON write differently; the API server compares notes byte by byte."""
# The one ConfigMap, for the server's account, and for somebody who may do all but scale; a third has no right to it.
RULES = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: {STORE}, namespace: {HOME}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {STORE}, namespace: {HOME}}}
rules:
  - {{apiGroups: [""], resources: [configmaps], resourceNames: [{STORE}], verbs: [get, list, watch, patch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {STORE}, namespace: {HOME}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {STORE}}}
subjects:
  - {{kind: ServiceAccount, name: {ACCOUNT}, namespace: {HOME}}}
  - {{apiGroup: rbac.authorization.k8s.io, kind: User, name: onlooker}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: onlooker}}
rules:
  - {{apiGroups: [apps], resources: [deployments], verbs: [get, list, watch]}}
  - {{apiGroups: [""], resources: [namespaces], verbs: [get, list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: onlooker}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: onlooker}}
subjects:
  - {{apiGroup: rbac.authorization.k8s.io, kind: User, name: onlooker}}
  - {{apiGroup: rbac.authorization.k8s.io, kind: User, name: stranger}}
"""


class Server:
    """One server of several, and its audit log."""

    def __init__(self, test: SynchronousTestCase, kubeconfig: Path) -> None:
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        self._audit = Path(folder.name) / "audit.log"
        self.daemon = Daemon(
            Path(folder.name),
            "--cluster=kubeconfig",
            f"--kubeconfig={kubeconfig}",
            f"--audit-log={self._audit}",
            f"--temporary-store={HOME}/{STORE}",
            "--write-rate=1000:2000",
        )
        test.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()

    def lines(self, outcome: str) -> list[dict[str, Any]]:
        """The lines of its audit log that tell of ends with this outcome."""
        lines = [json.loads(line) for line in self._audit.read_text().splitlines() if line.strip()]
        return [line for line in lines if line["action"] == "revert" and line["outcome"] == outcome]

    def kill(self) -> None:
        """End it as a crash does."""
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()


class TemporaryTests(SynchronousTestCase):
    """A namespace of one's own, with `web` (3) and `worker` (1), and an empty ConfigMap."""

    def setUp(self) -> None:
        """Make them."""
        if os.environ.get("KUBECONFIG"):
            raise SkipTest("roles for made-up users have no place in the cluster of $KUBECONFIG")
        self.cluster, self.plane = own_cluster(), shared_plane()
        self.plane.kubectl("apply", "--filename=-", input=RULES)
        self.addCleanup(self.plane.kubectl, "delete", "configmap", STORE, f"--namespace={HOME}", "--ignore-not-found")
        self.namespace = self.cluster.make_namespace()
        self.addCleanup(self.cluster.kubectl, "delete", "namespace", self.namespace, "--wait=false")

    def serve(self) -> Server:
        """Start a server."""
        return Server(self, self.cluster.server_kubeconfig)

    def url(self, name: str) -> str:
        """Where a temporary count is set."""
        return f"/deployments/{self.namespace}/{name}/temporary"

    def set(self, server: Server, name: str, replicas: int, span: str, **headers: str) -> None:
        """Set a count for a time."""

        def known() -> bool:
            return server.daemon.get(f"/deployments/{self.namespace}/{name}/replicas").status == 200

        server.daemon.wait_for(known, f"aware of {name}")
        answer = server.daemon.put(self.url(name), {"replicas": replicas, "for": span}, **headers)
        self.assertEqual(answer.status, 201, answer)

    def replicas(self, name: str) -> int:
        """The count that the cluster has."""
        return self.cluster.replicas(self.namespace, name)

    def noted(self) -> dict[str, str]:
        """What the ConfigMap has."""
        found = json.loads(self.plane.kubectl("get", "configmap", STORE, f"--namespace={HOME}", "--output=json"))
        data: dict[str, str] = found.get("data") or {}
        return data

    def uid(self, name: str) -> str:
        """The UID of a Deployment."""
        path = "--output=jsonpath={.metadata.uid}"
        return self.plane.kubectl("get", "deployment", name, f"--namespace={self.namespace}", path)

    def note(self, name: str, original: int, count: int, until: datetime, claim: str = "") -> None:
        """Note a temporary count, as a server that is gone has left it."""
        note: dict[str, Any] = {"namespace": self.namespace, "deployment": name, "original": original, "count": count}
        note |= {"until": until.isoformat(), "author": "alice", "request_id": "the-put"}
        note |= {"claim": claim} if claim else {}
        patch = json.dumps({"data": {self.uid(name): json.dumps(note)}})
        self.plane.kubectl("patch", "configmap", STORE, f"--namespace={HOME}", "--type=merge", f"--patch={patch}")

    def test_many(self) -> None:
        """Of 50 that end at about the same time on two servers each is set back once, and told once."""
        servers = [self.serve(), self.serve()]
        names = [f"many-{number}" for number in range(MANY)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: self.cluster.deploy(self.namespace, name, 1), names))
        for number, name in enumerate(names):
            self.set(servers[number % 2], name, 2, "5s", **{"X-Reason": REASON})
        wait_until(lambda: not self.noted(), "temporary counts are left")
        self.assertEqual([self.replicas(name) for name in names], [1] * MANY)
        told = [line for server in servers for line in server.lines("changed")]
        self.assertEqual(sorted(line["name"] for line in told), sorted(names))
        self.assertEqual({line["reason"] for line in told}, {REASON})
        others = [line for server in servers for what in ("already so", "superseded") for line in server.lines(what)]
        self.assertEqual(others, [])
        events = ("get", "events", f"--namespace={self.namespace}", "--output=jsonpath={.items[*].message}")
        end = "the end of a temporary count"
        wait_until(lambda: self.plane.kubectl(*events).count(end) == MANY, "there is not an Event of each")

    def test_killed(self) -> None:
        """Another server takes over once a claim has stood for 30 s.

        Of a claimant that was killed before the return, it sets the count back; of one that was killed after it, it
        finds the count as it should be, and neither sets it nor calls it superseded.
        """
        onlooker = Server(self, self.plane.user_kubeconfig("onlooker", []))
        self.note("worker", 0, 1, datetime.now(UTC))
        wait_until(lambda: '"claim"' in self.noted().get(self.uid("worker"), ""), "it is not claimed")
        onlooker.kill()
        self.note("web", 3, 20, datetime.now(UTC), claim="gone/1")
        claimed = self.noted()
        server = self.serve()
        self.assertEqual((self.replicas("worker"), self.noted()), (1, claimed))
        wait_until(lambda: not self.noted(), "it is not taken over")
        self.assertEqual(self.replicas("worker"), 0)
        (line,) = server.lines("changed")
        self.assertEqual((line["identity"], line["old_replicas"], line["request_id"]), ("alice", 1, "the-put"))
        (line,) = server.lines("already so")
        self.assertEqual((line["name"], self.replicas("web"), server.lines("superseded")), ("web", 3, []))

    def test_past_the_end(self) -> None:
        """A server that starts past the end sets the count back, and says how late that is."""
        self.note("web", 2, 3, datetime.now(UTC) - timedelta(minutes=10))
        server = self.serve()
        wait_until(lambda: self.replicas("web") == 2, "it is not set back")
        wait_until(lambda: bool(server.lines("changed")), "it is not told")
        self.assertRegex(server.lines("changed")[0]["rule"], "^6[0-9][0-9] s late$")

    def test_others_have_changed_it(self) -> None:
        """What somebody scaled meanwhile, and what was made anew under the same name, stays as it is."""
        server = self.serve()
        self.set(server, "web", 5, "30s")
        self.set(server, "worker", 5, "30s")
        self.cluster.scale(self.namespace, "web", 7)
        self.cluster.kubectl("delete", "deployment", "worker", f"--namespace={self.namespace}")
        self.cluster.deploy(self.namespace, "worker", 5)
        wait_until(lambda: not self.noted(), "temporary counts are left")
        self.assertEqual((self.replicas("web"), self.replicas("worker")), (7, 5))
        self.assertEqual(server.lines("changed"), [])
        (line,) = server.lines("superseded")
        self.assertEqual((line["name"], line["new_replicas"]), ("web", 7))
        self.assertIn("kubectl", line["rule"])
        (line,) = server.lines("recreated")
        self.assertEqual(line["name"], "worker")

    def test_without_the_right(self) -> None:
        """Without the right to the ConfigMap these calls alone are 503; everything else is served."""
        daemon = Server(self, self.plane.user_kubeconfig("stranger", [])).daemon
        web = f"/deployments/{self.namespace}/web"
        daemon.wait_for(lambda: daemon.get(web).status == 200, "aware of web")
        self.assertEqual([daemon.get(f"{web}/temporary").status, daemon.get("/temporary").status], [503, 503])
        self.assertEqual(daemon.put(f"{web}/temporary", {"replicas": 4, "for": "1m"}).status, 503)
        self.assertIn("temporary", daemon.get(web).json["not_known"])
        warnings = daemon.get("/readyz?verbose").json["warnings"]
        self.assertTrue(any(f"watch configmaps in {HOME}" in warning for warning in warnings), warnings)
