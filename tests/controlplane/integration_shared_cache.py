"""Both roles of a shared cache on a real control plane, each with a token that allows what it needs and no more."""

import signal
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon, Process, environment, twistd
from tests.functional.redis import RedisServer
from tests.functional.replicated import Replicated
from tests.functional.sharing import PASSWORD

from .daemon import PlaneError, wait_until
from .fixture import shared_plane
from .workload import Cluster

RBAC = Path(__file__).parent / "rbac-shared.yaml"
NAMESPACE = "sre-shared"
ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: watcher, namespace: {namespace}}}
rules:
  - {{apiGroups: [apps], resources: [deployments], verbs: [list, watch]}}
  - {{apiGroups: [""], resources: [namespaces], verbs: [get]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: watcher, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: watcher}}
subjects: [{{kind: ServiceAccount, name: default, namespace: {account}}}]
"""


class SharedTestCase(SynchronousTestCase):
    """An api process, and watchers as a test starts them. This has no tests of its own."""

    def setUp(self) -> None:
        """Start Redis and the api process."""
        self.folder = temporary_folder(self)
        self.plane = shared_plane()
        self.plane.kubectl("apply", f"--filename={RBAC}")
        (self.folder / "seal").write_text("one key of the tests")
        (self.folder / "password").write_text(PASSWORD)
        files = (f"--cache-seal={self.folder / 'seal'}", f"--cache-password-file={self.folder / 'password'}")
        self.shared = ["--cluster=kubeconfig", *files, *self.start_redis()]
        self.watching = self.plane.service_account_kubeconfig(NAMESPACE, "watcher")
        self.serving = self.plane.service_account_kubeconfig(NAMESPACE, "api")
        self.cluster = Cluster(self.plane.kubectl, self.serving)
        self.namespace = self.cluster.make_namespace()
        self.addCleanup(self.plane.kubectl, "delete", "namespace", self.namespace, "--wait=false")
        self.api = self.serve()

    def start_redis(self) -> list[str]:
        """Start what the cache is in; return the options that say where that is."""
        redis = RedisServer(password=PASSWORD)
        redis.start()
        self.addCleanup(redis.kill)
        return [f"--cache={redis.url}"]

    def serve(self) -> Daemon:
        """Start an api process."""
        folder = temporary_folder(self)
        api = Daemon(folder, "--role=api", f"--kubeconfig={self.serving}", *self.shared)
        self.addCleanup(api.close)
        return api

    def watch(self) -> Process:
        """Start a watcher."""
        options = [f"--kubeconfig={self.watching}", *self.shared, f"--lease={NAMESPACE}/watcher"]
        watcher = Process(twistd("sre-server", "--role=watcher", *options), environment(), self.folder)
        self.addCleanup(watcher.close)
        watcher.wait_for_line("deployments: listed")
        return watcher

    def replicas(self) -> int | None:
        """What the api process answers."""
        answer = self.api.get(self.path)
        return answer.json["replicas"] if answer.status == 200 else None

    @property
    def path(self) -> str:
        """Where the count of a Deployment is."""
        return f"/deployments/{self.namespace}/web/replicas"

    def shows(self, replicas: int, seconds: float = 60.0) -> None:
        """Wait until the api process answers so."""
        self.api.wait_for(lambda: self.replicas() == replicas, f"showing {replicas}", seconds)


class RoleTests(SharedTestCase):
    """Who may do what, and who leads."""

    def test_the_roles(self) -> None:
        """What the watcher hears is served by a process that may not list; a write and a takeover show up there."""
        may_list = ("auth", "can-i", "list", "deployments.apps", "--all-namespaces")
        self.assertRaises(PlaneError, self.plane.kubectl, *may_list, kubeconfig=self.serving)
        self.assertEqual(self.api.get("/deployments").status, 503)
        first = self.watch()
        self.shows(3)
        written = self.api.put(self.path, {"replicas": 5})
        self.assertEqual((written.status, self.replicas()), (200, 5))
        second = self.watch()
        first.send_signal(signal.SIGTERM)
        second.wait_for_line("publishing from .* on")
        self.cluster.scale(self.namespace, "web", 6)
        self.shows(6)
        self.assertNotIn("loaded again", self.api.said())
        second.send_signal(signal.SIGTERM)
        second.wait()
        self.assertEqual(self.holder(), "")

    def holder(self) -> str:
        """Who holds the Lease."""
        path = "--output=jsonpath={.spec.holderIdentity}"
        return self.cluster.kubectl("get", "lease", "watcher", f"--namespace={NAMESPACE}", path)

    def delete_lease(self) -> None:
        """Delete the Lease, as a clumsy operator might."""
        self.cluster.kubectl("delete", "lease", "watcher", f"--namespace={NAMESPACE}")

    def test_the_lease_is_deleted(self) -> None:
        """Whoever makes it anew leads; readers hear of all that happens, without a reload."""
        first = self.watch()
        first.wait_for_line("this watcher leads")
        second = self.watch()
        self.shows(3)
        self.delete_lease()
        wait_until(lambda: "watcher" in self.leases() and self.holder() != "", "no Lease again")
        for replicas in (4, 5):
            self.cluster.scale(self.namespace, "web", replicas)
            self.shows(replicas)
        self.assertNotIn("loaded again", self.api.said())
        for watcher in (first, second):
            self.assertNotIn("unexpectedly", watcher.said())

    def leases(self) -> str:
        """The names of all Leases."""
        return self.cluster.kubectl("get", "leases", f"--namespace={NAMESPACE}", "--output=name")

    def test_two_watchers_at_once(self) -> None:
        """One that wakes up while the Lease would still be its own is fenced, or sees the Lease first, and stops."""
        first = self.watch()
        first.wait_for_line("this watcher leads")
        second = self.watch()
        self.shows(3)
        first.send_signal(signal.SIGSTOP)
        self.addCleanup(first.send_signal, signal.SIGCONT)
        self.delete_lease()
        second.wait_for_line("publishing from .* on")
        self.cluster.scale(self.namespace, "web", 4)
        first.send_signal(signal.SIGCONT)
        first.wait_for_line("Another watcher publishes|no longer leads")
        self.shows(4)
        self.cluster.scale(self.namespace, "web", 5)
        self.shows(5)
        self.assertNotIn("loaded again", self.api.said())


class NamespacesTests(SharedTestCase):
    """An install of two namespaces, in each of which a Role says what it may read."""

    def setUp(self) -> None:
        """Have a second namespace, and an account with the Roles."""
        super().setUp()
        self.other = self.cluster.make_namespace()
        self.addCleanup(self.plane.kubectl, "delete", "namespace", self.other, "--wait=false", "--ignore-not-found")
        for name in (self.namespace, self.other):
            self.cluster.kubectl("apply", "--filename=-", input=ROLE.format(namespace=name, account=self.namespace))
        # For the UID by which a cluster is known.
        which = ROLE.format(namespace="kube-system", account=self.namespace)
        self.cluster.kubectl("apply", "--filename=-", input=which)
        self.addCleanup(self.cluster.kubectl, "delete", "--filename=-", input=which)
        self.watching = self.plane.service_account_kubeconfig(self.namespace, "default")
        self.api.close()
        self.shared += [f"--namespace={self.namespace}", f"--namespace={self.other}"]
        self.api = self.serve()

    def watch(self, *more: str) -> Process:
        """Start a watcher that is the only one: no Role lets this account hold a Lease."""
        options = [f"--kubeconfig={self.watching}", *self.shared, *more]
        watcher = Process(twistd("sre-server", "--role=watcher", *options), environment(), self.folder)
        self.addCleanup(watcher.close)
        return watcher

    def test_one_is_deleted_with_its_role(self) -> None:
        """The other one is served, by a watcher and to a pod that begin after it, too."""
        first = self.watch()
        self.shows(3)
        elsewhere = f"/deployments/{self.other}"
        self.api.wait_for(lambda: self.api.get(elsewhere).status == 200, "granted the other one", 60)
        self.cluster.kubectl("delete", "namespace", self.other)
        first.send_signal(signal.SIGTERM)
        first.wait()
        self.watch().wait_for_line("publishing from .* on")
        self.cluster.scale(self.namespace, "web", 5)
        self.shows(5)
        later = self.serve()
        later.wait_until_ready()
        self.assertEqual((later.get(self.path).json["replicas"], later.get(elsewhere).status), (5, 503))

    def test_without_a_right_to_the_lease(self) -> None:
        """The log says what is missing: such a watcher never leads."""
        watcher = self.watch(f"--lease={self.namespace}/watcher")
        watcher.wait_for_line("the server lacks the permission to get leases: .*leases.* is forbidden")


class OutageTests(SharedTestCase):
    """A control plane that goes away, and one that goes back."""

    def setUp(self) -> None:
        """Have a watcher and two api processes that have settled."""
        super().setUp()
        self.watcher = self.watch()
        self.shows(3)
        self.other = self.serve()
        self.other.wait_until_ready()

    def age(self, api: Daemon) -> int:
        """How old a process says that its knowledge is."""
        return int(api.get(self.path).headers["age"])

    def test_the_apiserver_is_down(self) -> None:
        """Age grows alike in every process, reads go on, a write says that it reached nobody; then all goes on."""
        self.plane.stop_apiserver()
        try:
            self.watcher.wait_for_line("Next try")
            self.api.wait_for(lambda: self.age(self.api) >= 5, "growing older")
            before, other, after = self.age(self.api), self.age(self.other), self.age(self.api)
            self.assertTrue(before - 3 <= other <= after + 3, (before, other, after))
            self.assertEqual(self.replicas(), 3)
            written = self.api.put(self.path, {"replicas": 9})
            self.assertEqual((written.status, "cannot be reached" in written.json["message"]), (502, True))
        finally:
            self.plane.start_apiserver()
        self.cluster.scale(self.namespace, "web", 6)
        self.shows(6)
        self.assertNotIn("loaded again", self.api.said())

    def test_restored_from_a_backup(self) -> None:
        """A cluster that went back is believed, by those who follow and by those who come."""
        self.plane.backup()
        self.cluster.scale(self.namespace, "web", 4)
        self.shows(4)
        self.cluster.deploy(self.namespace, "later", 1)
        listed = f"/deployments/{self.namespace}"
        self.api.wait_for(lambda: "later" in str(self.api.get(listed).json), "showing another")
        self.plane.run_ahead(self.namespace)
        self.plane.restore()
        self.assertEqual(self.cluster.replicas(self.namespace, "web"), 3)
        self.shows(3, 180)
        for api in (self.api, self.other, self.serve()):
            api.wait_until_ready()
            api.wait_for(lambda api=api: api.get(self.path).json.get("replicas") == 3, "believing it")  # type: ignore[misc]
            self.assertEqual(api.get(listed).json[0]["deployments"], ["web", "worker"])
        self.cluster.scale(self.namespace, "web", 7)
        self.shows(7)


class FailoverTests(SharedTestCase):
    """A Redis whose master sentinels choose."""

    def start_redis(self) -> list[str]:
        """Start a master, a replica and a sentinel."""
        self.servers = Replicated(self, self.folder)
        return self.servers.options

    def test_the_master_is_killed(self) -> None:
        """Reads and writes go on, and all goes on from the replica, without a reload."""
        self.watch()
        self.shows(3)
        self.servers.master.kill()
        self.assertEqual(self.replicas(), 3)
        self.assertEqual(self.api.put(self.path, {"replicas": 4}).status, 200)
        self.servers.wait_for_failover()
        self.cluster.scale(self.namespace, "web", 5)
        self.shows(5)
        self.assertNotIn("loaded again", self.api.said())
