"""Both roles of a shared cache on a real control plane, each with a token that allows what it needs and no more."""

import signal
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon, Process, environment, twistd
from tests.functional.redis import RedisServer

from .daemon import PlaneError
from .fixture import shared_plane
from .workload import Cluster

RBAC = Path(__file__).parent / "rbac-shared.yaml"
NAMESPACE = "sre-shared"


class SharedCacheTests(SynchronousTestCase):
    """Two watchers and an api process."""

    def setUp(self) -> None:
        """Start Redis and the api process."""
        folder = temporary_folder(self)
        self.folder = folder
        redis = RedisServer()
        redis.start()
        self.addCleanup(redis.kill)
        plane = shared_plane()
        plane.kubectl("apply", f"--filename={RBAC}")
        (folder / "seal").write_text("one key of the tests")
        self.shared = ["--cluster=kubeconfig", f"--cache={redis.url}", f"--cache-seal={folder / 'seal'}"]
        self.watching = plane.service_account_kubeconfig(NAMESPACE, "watcher")
        self.serving = plane.service_account_kubeconfig(NAMESPACE, "api")
        self.cluster = Cluster(plane.kubectl, self.serving)
        self.namespace = self.cluster.make_namespace()
        self.addCleanup(plane.kubectl, "delete", "namespace", self.namespace, "--wait=false")
        self.api = Daemon(folder, "--role=api", f"--kubeconfig={self.serving}", *self.shared)
        self.addCleanup(self.api.close)

    def watch(self) -> Process:
        """Start a watcher."""
        options = [f"--kubeconfig={self.watching}", *self.shared, f"--lease={NAMESPACE}/watcher"]
        watcher = Process(twistd("sre-server", "--role=watcher", *options), environment(), self.folder)
        self.addCleanup(watcher.close)
        watcher.wait_for_line("deployments: listed")
        return watcher

    def replicas(self) -> int | None:
        """What the api process answers."""
        answer = self.api.get(f"/deployments/{self.namespace}/web/replicas")
        return answer.json["replicas"] if answer.status == 200 else None

    def test_the_roles(self) -> None:
        """What the watcher hears is served by a process that may not list; a write and a takeover show up there."""
        may_list = ("auth", "can-i", "list", "deployments.apps", "--all-namespaces")
        self.assertRaises(PlaneError, shared_plane().kubectl, *may_list, kubeconfig=self.serving)
        self.assertEqual(self.api.get("/deployments").status, 503)
        first = self.watch()
        self.api.wait_for(lambda: self.replicas() == 3, "showing what the watcher heard")
        written = self.api.put(f"/deployments/{self.namespace}/web/replicas", {"replicas": 5})
        self.assertEqual((written.status, self.replicas()), (200, 5))
        second = self.watch()
        first.send_signal(signal.SIGTERM)
        second.wait_for_line("publishing from .* on", 5)
        self.cluster.scale(self.namespace, "web", 6)
        self.api.wait_for(lambda: self.replicas() == 6, "showing what the next watcher heard")
        self.assertNotIn("loaded again", self.api.said())
        second.send_signal(signal.SIGTERM)
        second.wait()
        holder = "--output=jsonpath={.spec.holderIdentity}"
        held = self.cluster.kubectl("get", "lease", "watcher", f"--namespace={NAMESPACE}", holder)
        self.assertEqual(held, "")
