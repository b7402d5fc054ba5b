"""The server when a real control plane goes away, hangs, forgets its history, and says no."""

import os
import signal
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.functional.daemon import Daemon

from .daemon import wait_until
from .fixture import shared_plane
from .workload import Cluster, own_cluster

READ_ONLY = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: one-namespace, namespace: {namespace}}}
rules:
  - {{apiGroups: [apps], resources: [deployments], verbs: [get, list, watch]}}
  - {{apiGroups: [""], resources: [namespaces], verbs: [get]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: one-namespace, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: one-namespace}}
subjects: [{{kind: ServiceAccount, name: default, namespace: {account}}}]
"""


class OutageTests(SynchronousTestCase):
    """A server of its own for each test, in the control plane that tests may hurt."""

    def setUp(self) -> None:
        """Make a namespace and start a server that is the service account."""
        if os.environ.get("KUBECONFIG"):
            raise SkipTest("the control plane of $KUBECONFIG is not ours to hurt")
        self.plane = shared_plane()
        self.cluster: Cluster = own_cluster()
        self.namespace = self.cluster.make_namespace()
        self.addCleanup(self.cluster.kubectl, "delete", "namespace", self.namespace, "--wait=false")
        # Not the account of all tests, some of whose servers still run: what is in the audit log is this one's.
        self.user = f"system:serviceaccount:{self.namespace}:server"
        account = f"--serviceaccount={self.namespace}:server"
        self.cluster.kubectl("create", "serviceaccount", "server", f"--namespace={self.namespace}")
        self.cluster.kubectl("create", "clusterrolebinding", self.namespace, "--clusterrole=sre-server", account)
        self.addCleanup(self.cluster.kubectl, "delete", "clusterrolebinding", self.namespace)
        self.plane.wait_until_granted(self.user, "watch", "deployments.apps", "--all-namespaces")
        self.daemon = self._serve(self.plane.service_account_kubeconfig(self.namespace, "server"))
        self._wait_for_replicas(3)

    def _serve(self, kubeconfig: Path, *options: str) -> Daemon:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        daemon = Daemon(Path(folder.name), "--cluster=kubeconfig", f"--kubeconfig={kubeconfig}", *options)
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        return daemon

    @property
    def _path(self) -> str:
        return f"/deployments/{self.namespace}/web/replicas"

    def _wait_for_replicas(self, replicas: int) -> None:
        def shown() -> bool:
            answer = self.daemon.get(self._path)
            return answer.status == 200 and bool(answer.json["replicas"] == replicas)

        self.daemon.wait_for(shown, f"showing {replicas} replicas", 60)

    def _requests_of_the_server(self) -> int:
        """How often it has asked for something, but for watches: those are begun anew whenever one ends."""
        events = self.plane.audit_events()
        return sum(event["user"]["username"] == self.user and event["verb"] != "watch" for event in events)

    def test_lists_are_streamed(self) -> None:
        """The first list of either resource came as the beginning of its one watch: the audit log knows no list."""
        started = [
            event
            for event in self.plane.audit_events()
            if event["user"]["username"] == self.user and event["verb"] in ("list", "watch")
        ]
        self.assertNotEqual(started, [])
        last = {event["objectRef"]["resource"]: event for event in started}
        self.assertEqual(sorted(last), ["deployments", "namespaces"])
        for event in last.values():
            self.assertEqual(event["verb"], "watch")
            self.assertIn("sendInitialEvents=true", event["requestURI"])

    def test_reads_cost_the_cluster_nothing(self) -> None:
        """A thousand reads leave no trace in the apiserver's audit log, where one write leaves one."""
        before = self._requests_of_the_server()
        connection = self.daemon.connect()
        self.addCleanup(connection.close)
        paths = (self._path, "/deployments", "/namespaces", "/namespaces/ANY/deployments/ANY/replica_count")
        for _ in range(250):
            for path in paths:
                self.assertEqual(self.daemon.request("GET", path, connection=connection).status, 200)
        self.assertEqual(self.daemon.put(self._path, {"replicas": 4}).status, 200)
        wait_until(lambda: self._requests_of_the_server() > before, "the write is not in the audit log")
        self.assertEqual(self._requests_of_the_server(), before + 1)

    def test_apiserver_restarted(self) -> None:
        """While the apiserver is down reads go on and a write is 502; when it is back the watch follows it again."""
        self.plane.stop_apiserver()
        self.addCleanup(self._restart_if_down)
        self.assertEqual(self.daemon.get(self._path).json["replicas"], 3)
        written = self.daemon.put(self._path, {"replicas": 9})
        self.assertEqual((written.status, "cannot be reached" in written.json["message"]), (502, True))
        self.plane.start_apiserver()
        self.assertEqual(self.cluster.replicas(self.namespace, "web"), 3)
        self.cluster.scale(self.namespace, "web", 6)
        self._wait_for_replicas(6)
        self.assertEqual(self.daemon.put(self._path, {"replicas": 2}).status, 200)
        self.assertEqual(self.cluster.replicas(self.namespace, "web"), 2)

    def _restart_if_down(self) -> None:
        if not self._is_up():
            self.plane.start_apiserver()

    def _is_up(self) -> bool:
        try:
            return self.plane.request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def test_apiserver_crashed(self) -> None:
        """An apiserver that is killed under open watches is followed again after its return."""
        self.plane.stop_apiserver(crash=True)
        self.plane.start_apiserver()
        self.cluster.scale(self.namespace, "web", 8)
        self._wait_for_replicas(8)

    def test_history_forgotten(self) -> None:
        """A server that was away while history was forgotten gets a 410, lists anew, and misses nothing."""
        self.daemon.send_signal(signal.SIGSTOP)
        self.addCleanup(self.daemon.send_signal, signal.SIGCONT)
        self.cluster.scale(self.namespace, "web", 5)
        self.cluster.kubectl("delete", "deployment", "worker", f"--namespace={self.namespace}")
        self.plane.compact()
        self.plane.stop_apiserver()
        self.plane.start_apiserver()
        self.daemon.send_signal(signal.SIGCONT)
        self._wait_for_replicas(5)
        path = f"/deployments/{self.namespace}"
        self.daemon.wait_for(lambda: self.daemon.get(path).json[0]["deployments"] == ["web"], "aware that one is gone")
        self.daemon.wait_for_line("too old|brought nothing")

    def test_restored_from_a_backup(self) -> None:
        """A control plane whose history went back is believed within two minutes, also in what is no longer there."""
        self.plane.backup()
        self._wait_for_replicas(3)
        for replicas in range(4, 10):
            self.cluster.scale(self.namespace, "web", replicas)
        self.cluster.deploy(self.namespace, "later", 1)
        self._wait_for_replicas(9)
        self.plane.run_ahead(self.namespace)
        self.plane.restore()
        self.assertEqual(self.cluster.replicas(self.namespace, "web"), 3)
        self.daemon.wait_for(lambda: self.daemon.get(self._path).json.get("replicas") == 3, "believing it", 120)
        self.assertEqual(self.daemon.get(f"/deployments/{self.namespace}").json[0]["deployments"], ["web", "worker"])
        self.assertEqual(self.daemon.ops("/readyz").status, 200)
        self.assertEqual(self.daemon.put(self._path, {"replicas": 5}).status, 200)
        self.assertEqual(self.daemon.get(self._path).json["replicas"], 5)

    def test_apiserver_hung(self) -> None:
        """While the apiserver answers nothing reads go on, and a write is 504 with its outcome said to be unknown."""
        self.plane.pause_apiserver()
        self.addCleanup(self.plane.resume_apiserver)
        self.assertEqual(self.daemon.get(self._path).status, 200)
        written = self.daemon.put(self._path, {"replicas": 9})
        self.assertIn(written.status, (502, 504))
        self.plane.resume_apiserver()
        self.cluster.scale(self.namespace, "web", 7)
        self._wait_for_replicas(7)

    def test_namespace_deleted_with_its_role(self) -> None:
        """Of two namespaces one that goes with its Role is a warning; the other is served, after a restart as well."""
        other = self.cluster.make_namespace()
        for name in (self.namespace, other):
            self.cluster.kubectl(
                "apply", "--filename=-", input=READ_ONLY.format(namespace=name, account=self.namespace)
            )
        kubeconfig = self.plane.service_account_kubeconfig(self.namespace, "default")
        options = (f"--namespace={self.namespace}", f"--namespace={other}")
        limited = self._serve(kubeconfig, *options)
        limited.wait_for(lambda: limited.get("/deployments").status == 200, "granted both", 60)
        self.cluster.kubectl("delete", "namespace", other)
        missing = f"get namespaces in {other}"
        limited.wait_for(lambda: missing in str(limited.ops("/readyz?verbose").json), "missing a permission", 60)
        for daemon in (limited, self._serve(kubeconfig, *options)):
            self.assertEqual(daemon.ops("/readyz").status, 200)
            self.assertEqual(daemon.get(self._path).json["replicas"], 3)
        self.assertEqual(daemon.get(f"/deployments/{other}").status, 503)
        across = daemon.get("/deployments")
        self.assertEqual((across.status, other in across.json["message"]), (503, True))
        known = daemon.get("/deployments", **{"Cache-Control": "max-stale"})
        self.assertEqual((known.status, other in known.headers["warning"]), (200, True))

    def test_limited_to_a_namespace(self) -> None:
        """With --namespace and a Role alone the server reads that namespace, says no to others, and RBAC bites."""
        self.cluster.kubectl(
            "apply", "--filename=-", input=READ_ONLY.format(namespace=self.namespace, account=self.namespace)
        )
        kubeconfig = self.plane.service_account_kubeconfig(self.namespace, "default")
        limited = self._serve(kubeconfig, f"--namespace={self.namespace}")
        self.assertEqual(limited.get("/namespaces").json, {"namespaces": [self.namespace]})
        self.assertEqual(limited.get(self._path).json["replicas"], 3)
        self.assertEqual(limited.get("/deployments/kube-system").status, 404)
        refused = limited.put(self._path, {"replicas": 9})
        self.assertEqual((refused.status, "forbidden" in refused.json["message"]), (502, True))
        self.assertEqual(self.cluster.replicas(self.namespace, "web"), 3)
