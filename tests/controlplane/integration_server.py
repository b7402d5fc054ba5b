"""The server in a real cluster, that of $KUBECONFIG or the control plane of this folder: its whole job, end to end."""

import atexit
import tempfile
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.daemon import Daemon

from .workload import Cluster, cluster


@cache
def served_cluster() -> tuple[Cluster, Daemon]:
    """Return the cluster and a server of it, with the kubeconfig that is meant for it; both end with the process."""
    served = cluster()
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    daemon = Daemon(Path(folder.name), "--cluster=kubeconfig", f"--kubeconfig={served.server_kubeconfig}")
    atexit.register(daemon.close)
    daemon.wait_until_ready()
    return served, daemon


class ServerTests(SynchronousTestCase):
    """One server for all tests, one namespace for each."""

    def setUp(self) -> None:
        """Make a namespace, and wait until the server has heard of its Deployments."""
        self.cluster, self.daemon = served_cluster()
        self.namespace = self.cluster.make_namespace()
        self.addCleanup(
            self.cluster.kubectl, "delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found"
        )
        self.daemon.wait_for(lambda: self._names() == ["web", "worker"], "listing both Deployments")

    def _names(self) -> list[str]:
        answer = self.daemon.get(f"/deployments/{self.namespace}")
        return list(answer.json[0]["deployments"]) if answer.status == 200 else []

    def _replicas(self, name: str = "web") -> int | None:
        answer = self.daemon.get(f"/deployments/{self.namespace}/{name}/replicas")
        return answer.json["replicas"] if answer.status == 200 else None

    def test_lists(self) -> None:
        """The namespace and its Deployments are in every list of both families."""
        named = {"namespace": self.namespace, "deployments": ["web", "worker"]}
        counts = [{"deployment": "web", "replica_count": 3}, {"deployment": "worker", "replica_count": 1}]
        get = self.daemon.get
        self.assertIn(named, get("/deployments").json)
        self.assertEqual(get(f"/deployments/{self.namespace}").json, [named])
        self.assertIn(self.namespace, get("/namespaces").json["namespaces"])
        self.assertIn("kube-system", get("/namespaces").json["namespaces"])
        self.assertEqual(get(f"/namespaces/{self.namespace}/deployments").json, named)
        self.assertIn(named, get("/namespaces/ANY/deployments").json)
        all_counts = {"namespace": self.namespace, "deployments": counts}
        self.assertEqual(get(f"/namespaces/{self.namespace}/deployments/ANY/replica_count").json, all_counts)
        self.assertIn(all_counts, get("/namespaces/ANY/deployments/ANY/replica_count").json)

    def test_write(self) -> None:
        """A count set through either family is the cluster's at once, and the next read's."""
        written = self.daemon.put(f"/deployments/{self.namespace}/web/replicas", {"replicas": 5})
        self.assertEqual((written.status, self._replicas()), (200, 5))
        self.assertEqual(self.cluster.replicas(self.namespace, "web"), 5)
        path = f"/namespaces/{self.namespace}/deployments/web/replica_count"
        self.assertEqual(self.daemon.request("PUT", f"{path}/0").status, 200)
        self.assertEqual(self.daemon.get(path).json["replica_count"], 0)
        self.assertEqual(self.cluster.replicas(self.namespace, "web"), 0)

    def test_conditional_write(self) -> None:
        """The tag of a read makes a write conditional on what was read, by the real cluster's own comparison."""
        url = f"/deployments/{self.namespace}/web/replicas"
        for body in ({"replicas": 4}, {"replicas": 0}, {"replicas": 2}):
            etag = self.daemon.get(url).headers["etag"]
            self.assertEqual(self.daemon.get(url, **{"If-None-Match": etag}).status, 304)
            self.assertEqual(self.daemon.put(url, body, **{"If-Match": etag}).status, 200, body)
            self.assertEqual(self.cluster.replicas(self.namespace, "web"), body["replicas"])
            late = self.daemon.put(url, {"replicas": 9}, **{"If-Match": etag})
            self.assertEqual((late.status, late.headers["etag"]), (412, self.daemon.get(url).headers["etag"]))
            self.assertIn(f"its count is {body['replicas']} now", late.json["message"])
            self.assertEqual(self.cluster.replicas(self.namespace, "web"), body["replicas"])
        family_b = f"/namespaces/{self.namespace}/deployments/web/replica_count/6"
        self.assertEqual(self.daemon.request("PUT", family_b, headers={"If-Match": '"2-another-uid"'}).status, 412)
        self.assertEqual(self.daemon.request("PUT", family_b, headers={"If-Match": "*"}).status, 200)

    def test_many_writes(self) -> None:
        """Each of many writes in a row is what the next read shows, whatever the watch is still bringing."""
        for replicas in range(1, 31):
            path = f"/namespaces/{self.namespace}/deployments/web/replica_count/{replicas}"
            self.assertEqual(self.daemon.request("PUT", path).status, 200)
            self.assertEqual(self._replicas(), replicas)

    def test_external_scale(self) -> None:
        """What kubectl scales shows up through the watch."""
        self.cluster.scale(self.namespace, "web", 7)
        self.daemon.wait_for(lambda: self._replicas() == 7, "showing 7 replicas")

    def test_created_and_deleted(self) -> None:
        """A Deployment created or deleted by somebody else appears and vanishes; recreated, it is the new one."""
        self.cluster.deploy(self.namespace, "late", 2)
        self.daemon.wait_for(lambda: self._replicas("late") == 2, "showing the new Deployment")
        self.cluster.kubectl("delete", "deployment", "late", f"--namespace={self.namespace}")
        self.daemon.wait_for(lambda: self._replicas("late") is None, "forgetting the Deployment")
        self.cluster.deploy(self.namespace, "late", 4)
        self.daemon.wait_for(lambda: self._replicas("late") == 4, "showing the recreated Deployment")

    def test_unknown(self) -> None:
        """What does not exist is 404 in family A and 410 in family B, reading and writing; the message says which."""
        for name in ("gone", "web"):
            namespace = self.namespace if name == "gone" else "no-such-namespace"
            what = "Deployment 'gone'" if name == "gone" else "namespace 'no-such-namespace'"
            answers = [
                (404, self.daemon.get(f"/deployments/{namespace}/{name}/replicas")),
                (404, self.daemon.put(f"/deployments/{namespace}/{name}/replicas", {"replicas": 1})),
                (410, self.daemon.get(f"/namespaces/{namespace}/deployments/{name}/replica_count")),
                (410, self.daemon.request("PUT", f"/namespaces/{namespace}/deployments/{name}/replica_count/1")),
            ]
            for status, answer in answers:
                self.assertEqual((answer.status, what in answer.json["message"]), (status, True), answer)

    def test_namespace_deleted(self) -> None:
        """A deleted namespace takes its Deployments with it, in both families."""
        self.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")
        gone = f"/namespaces/{self.namespace}/deployments"
        self.daemon.wait_for(lambda: self.daemon.get(gone).status == 410, "without the namespace", 120)
        self.assertEqual(self.daemon.get(f"/deployments/{self.namespace}").status, 404)
        self.assertNotIn(self.namespace, self.daemon.get("/namespaces").json["namespaces"])
