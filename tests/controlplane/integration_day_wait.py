"""What comes of writes in a real cluster, and whether a wait for one tells just that."""

import os
import re
import threading
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.functional.daemon import Answer
from tests.functional.load import metrics

from .fixture import shared_plane
from .integration_server import served_cluster

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  replicas: {replicas}
  minReadySeconds: {min_ready_seconds}
  progressDeadlineSeconds: {deadline}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {labels}}}
    spec: {{containers: [{{name: web, image: pause}}]}}
"""
QUOTA = """
apiVersion: v1
kind: ResourceQuota
metadata: {{name: four, namespace: {namespace}}}
spec: {{hard: {{pods: "{pods}"}}}}
"""
AUTOSCALER = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: cart, namespace: {namespace}}}
spec:
  minReplicas: 1
  maxReplicas: 2
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  metrics: [{{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}}}]
"""


class Waiting(threading.Thread):
    """One PUT that waits, under way; `answer` is what came of it."""

    def __init__(self, put: Callable[[], Answer]) -> None:
        super().__init__(daemon=True)
        self._put = put
        self._answer: Answer | None = None
        self.start()

    def run(self) -> None:
        """Ask."""
        self._answer = self._put()

    def answer(self) -> Answer:
        """Wait for the answer."""
        self.join(180)
        assert self._answer is not None
        return self._answer


class WaitTests(SynchronousTestCase):
    """A namespace of one's own, with `web` (3) and `worker` (1), in the control plane of all."""

    def setUp(self) -> None:
        """Make the namespace."""
        if os.environ.get("KUBECONFIG"):
            raise SkipTest("pods are in trouble only in a control plane of our own")
        self.cluster, self.daemon = served_cluster()
        self.plane = shared_plane()
        self.namespace = self.cluster.make_namespace()
        self.addCleanup(self.cluster.kubectl, "delete", "namespace", self.namespace, "--wait=false")
        self.wait_until_settled("web", 3)

    def url(self, name: str) -> str:
        """Where a count is set."""
        return f"/deployments/{self.namespace}/{name}/replicas"

    def wait_until_settled(self, name: str, available: int) -> None:
        """Wait until the server has heard that so many pods are available."""

        def settled() -> bool:
            picture = self.daemon.get(f"/deployments/{self.namespace}/{name}").json
            return bool(picture.get("available") == available and picture["rollout"] == "steady")

        self.daemon.wait_for(settled, f"{available} of {name}")

    def put(self, name: str, replicas: int, seconds: int = 60, confirm: str = "") -> dict[str, Any]:
        """Set a count, and return what came of it."""
        query = f"?confirm={confirm}" if confirm else ""
        answer = self.daemon.put(f"{self.url(name)}{query}", {"replicas": replicas}, Prefer=f"wait={seconds}")
        self.assertEqual((answer.status, answer.headers.get("preference-applied")), (200, f"wait={seconds}"), answer)
        told: dict[str, Any] = answer.json
        return told

    def begin(self, name: str, replicas: int, confirm: str = "") -> Waiting:
        """Set a count, and return once somebody waits for what comes of it."""

        def begun() -> float:
            """How many waits have begun so far: those that go on, and those that have ended."""
            counted = ("sre_server_waits ", "sre_server_wait_outcomes_total{")
            lines = metrics(self.daemon).splitlines()
            return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(counted))

        before = begun()
        query = f"?confirm={confirm}" if confirm else ""
        url = f"{self.url(name)}{query}"
        waiting = Waiting(lambda: self.daemon.put(url, {"replicas": replicas}, Prefer="wait=60"))
        self.daemon.wait_for(lambda: begun() == before + 1, "waiting")
        return waiting

    def deploy(
        self, name: str, replicas: int = 1, trouble: str = "", min_ready_seconds: int = 0, deadline: int = 600
    ) -> None:
        """Make a Deployment, whose pods may be in trouble, and wait until the server knows it."""
        labels = f"{{app: {name}, trouble: {trouble}}}" if trouble else f"{{app: {name}}}"
        manifest = DEPLOYMENT.format(
            name=name,
            namespace=self.namespace,
            replicas=replicas,
            labels=labels,
            min_ready_seconds=min_ready_seconds,
            deadline=deadline,
        )
        self.plane.kubectl("apply", "--server-side", "--filename=-", input=manifest)
        self.daemon.wait_for(lambda: self.daemon.get(self.url(name)).status == 200, f"aware of {name}")

    def test_available(self) -> None:
        """More, fewer, none, and some again; a write that changes nothing is answered as well."""
        for replicas in (5, 5, 1, 0, 2):
            told = self.put("web", replicas)
            self.assertEqual((told["outcome"], told["replicas"]), ("available", replicas), told)
            path = "--output=jsonpath={.status.availableReplicas}"
            available = self.cluster.kubectl("get", "deployment", "web", f"--namespace={self.namespace}", path)
            self.assertEqual(int(available or 0), replicas)

    def test_quota(self) -> None:
        """A quota of 4 is told with its numbers; once it is raised, the pods get available."""

        def allow(pods: int, shown: str) -> None:
            """Set the quota, and wait until admission goes by it."""
            self.plane.kubectl("apply", "--filename=-", input=QUOTA.format(namespace=self.namespace, pods=pods))
            wanted = f"--for=jsonpath={{.status.{shown}"
            self.plane.kubectl("wait", f"--namespace={self.namespace}", "quota/four", wanted, "--timeout=100s")

        allow(4, "used.pods}=4")
        told = self.put("web", 9)
        self.assertEqual((told["outcome"], told["replicas"]), ("quota", 9), told)
        self.assertEqual(told["cause"], "Exceeded quota: four, requested: pods=1, used: pods=4, limited: pods=4.")
        allow(20, "hard.pods}=20")
        told = self.put("web", 8)
        self.assertEqual((told["outcome"], told["replicas"]), ("available", 8), told)

    def test_pods(self) -> None:
        """Pods without an image, that crash, or without a node; and nodes that come back."""
        self.deploy("bare", trouble="image")
        self.deploy("broken", trouble="crashing")
        bare, broken = self.begin("bare", 2), self.begin("broken", 2)
        for name in ("bare", "broken"):
            running = "--for=jsonpath={.status.replicas}=2"
            self.plane.kubectl("wait", f"--namespace={self.namespace}", f"deployment/{name}", running, "--timeout=30s")
        self.plane.kubectl("wait", f"--namespace={self.namespace}", "pod", "--all", "--for=condition=PodScheduled")
        nodes = self.plane.kubectl("get", "nodes", "--output=name").split()
        self.addCleanup(self.plane.kubectl, "uncordon", *nodes)
        self.plane.kubectl("cordon", *nodes)
        web = self.begin("web", 5)
        for waiting, outcome, cause in (
            (bare, "image", "container 'web': ImagePullBackOff: Back-off pulling image."),
            (broken, "crashing", "container 'web': CrashLoopBackOff (it ended with 137, OOMKilled): back-off 40s"),
            (web, "unschedulable", "0/2 nodes are available: 2 node(s) were unschedulable."),
        ):
            told = waiting.answer().json
            self.assertEqual(told["outcome"], outcome, told)
            self.assertIn(cause, told["cause"])
            # The second one may be in trouble a look later.
            self.assertRegex(told["cause"], r"^Pod '[a-z]+-[a-z0-9-]+'( and 1 more)?: ")
        self.plane.kubectl("uncordon", *nodes)
        self.assertEqual(self.put("web", 5)["outcome"], "available")

    def test_superseded(self) -> None:
        """Whoever sets another count meanwhile is named by program: kubectl; nobody, after a 0."""
        self.deploy("bare", trouble="image")
        waiting = self.begin("bare", 4)
        self.cluster.scale(self.namespace, "bare", 3)
        told = waiting.answer().json
        self.assertEqual((told["outcome"], told["replicas"], told["by"]), ("superseded", 3, "kubectl"))
        waiting = self.begin("bare", 4)
        self.cluster.scale(self.namespace, "bare", 0)
        told = waiting.answer().json
        by = "through /scale, program unknown"
        self.assertEqual((told["outcome"], told["replicas"], told["by"]), ("superseded", 0, by))
        waiting = self.begin("bare", 4)
        self.cluster.scale(self.namespace, "bare", 2)  # what was lost with the 0 stays lost
        told = waiting.answer().json
        self.assertEqual((told["outcome"], told["replicas"], told["by"]), ("superseded", 2, by))

    def test_autoscaler(self) -> None:
        """What an autoscaler undoes is told by its name, once it has."""
        self.deploy("bare", trouble="image")
        autoscaler = AUTOSCALER.format(namespace=self.namespace, name="bare")
        self.plane.kubectl("apply", "--filename=-", input=autoscaler)
        picture = f"/deployments/{self.namespace}/bare"
        self.daemon.wait_for(lambda: self.daemon.get(picture).json["autoscaler"] is not None, "aware of the autoscaler")
        told = self.put("bare", 4, confirm="autoscaler")
        by = "kube-controller-manager (HorizontalPodAutoscaler 'cart')"
        self.assertEqual((told["outcome"], told["replicas"], told["by"]), ("superseded", 2, by))

    def test_deleted(self) -> None:
        """A Deployment that is deleted is told to be gone."""
        self.deploy("bare", trouble="image")
        waiting = self.begin("bare", 4)
        self.cluster.kubectl("delete", "deployment", "bare", f"--namespace={self.namespace}", "--wait=false")
        told = waiting.answer().json
        self.assertEqual((told["outcome"], told["replicas"]), ("deleted", None))

    def test_status_that_lags(self) -> None:
        """While no controller has seen a count, the pods of before are never taken for it, though they are as many."""
        self.plane.pause_controllers()
        self.addCleanup(self.plane.resume_controllers)
        told = self.put("web", 5, 1)
        self.assertEqual(told["outcome"], "waiting")
        self.assertEqual(told["cause"], "The Deployment's controller has not seen this count yet.")
        self.assertEqual(self.put("web", 3, 1)["outcome"], "waiting")
        self.plane.resume_controllers()
        self.assertEqual(self.put("web", 3)["outcome"], "available")

    def test_min_ready_seconds(self) -> None:
        """A pod that is ready is available some seconds later, and that is what is waited for."""
        self.deploy("slow", min_ready_seconds=20)
        self.assertEqual(self.put("slow", 4, 1)["outcome"], "waiting")
        picture = f"/deployments/{self.namespace}/slow"
        self.daemon.wait_for(lambda: self.daemon.get(picture).json["ready"] == 4, "showing four that are ready")
        told = self.put("slow", 4, 1)
        self.assertEqual(told["outcome"], "waiting", told)
        self.assertRegex(
            told["cause"], r"^Of 4 pods [01] are available, 4 are ready, 4 are of the latest template, 4 are"
        )
        told = self.put("slow", 4)
        self.assertEqual(told["outcome"], "available", told)

    def test_paused(self) -> None:
        """A paused rollout scales, also where its pods are of an older template, as no others will come."""
        self.cluster.kubectl("rollout", "pause", "deployment/web", f"--namespace={self.namespace}")
        self.assertEqual(self.put("web", 4)["outcome"], "available")
        image = ("set", "image", "deployment/web", "*=another", f"--namespace={self.namespace}")
        self.cluster.kubectl(*image)
        told = self.put("web", 5)
        self.assertEqual((told["outcome"], told["replicas"]), ("available", 5))
        picture = self.daemon.get(f"/deployments/{self.namespace}/web").json
        self.assertEqual((picture["updated"], picture["paused"]), (0, True))

    def test_stuck_rollout(self) -> None:
        """Amid a rollout that does not get on, it is said how far that is; old pods do not help."""
        self.deploy("site", replicas=4, deadline=1)
        self.wait_until_settled("site", 4)
        self.deploy("site", replicas=4, trouble="image", deadline=1)
        picture = f"/deployments/{self.namespace}/site"
        self.daemon.wait_for(lambda: self.daemon.get(picture).json["rollout"] == "stuck", "stuck")
        told = self.put("site", 6, 1)
        self.assertEqual((told["outcome"], told["replicas"]), ("waiting", 6), told)
        how_far = re.compile(r"^Of 6 pods \d are available, \d are of the latest template, \d are there\. .")
        self.daemon.wait_for(lambda: bool(how_far.match(self.put("site", 6, 1)["cause"])), "telling how far it is")
        told = self.put("site", 6)
        self.assertEqual(told["outcome"], "image", told)
