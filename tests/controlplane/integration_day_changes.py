"""Who changed a count, as two servers tell it of a real control plane, and the loop that puts all of them back."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon
from tests.functional.restoring import restore

from .fixture import shared_plane
from .workload import own_cluster

APPLIED = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {namespace}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: pause, image: pause}}]}}
"""
SCALER = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: web, namespace: {namespace}}}
spec: {{minReplicas: 4, maxReplicas: 6, scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}},
  metrics: [{{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}}}]}}
"""
MANY = 100
MEANT = "?confirm=mass&confirm=autoscaler"
SCALE = "through /scale, program unknown"


@cache
def _kubeconfig() -> Path:
    return own_cluster().server_kubeconfig


class DayChangesTests(SynchronousTestCase):
    """Two servers with the rights of rbac.yaml, and a namespace of the test's own."""

    def setUp(self) -> None:
        """Start both; the second one's log is that of a pod that writes nothing."""
        plane = shared_plane()
        self.kubectl = plane.kubectl
        folder = temporary_folder(self)
        authority = Authority(folder)
        self.ours = self._serve(folder / "ours", authority, "1000:1000")
        self.other = self._serve(folder / "other", authority, "10:80")
        self.namespace = own_cluster().make_namespace()
        self.addCleanup(self.kubectl, "delete", "namespace", self.namespace, "--wait=false")
        for daemon in (self.ours, self.other):
            daemon.wait_for(lambda daemon=daemon: daemon.get(self.web).status == 200, "listing the Deployment")  # type: ignore[misc]

    def _serve(self, folder: Path, authority: Authority, write_rate: str) -> Daemon:
        folder.mkdir()
        options = ["--cluster=kubeconfig", f"--kubeconfig={_kubeconfig()}", f"--write-rate={write_rate}"]
        daemon = Daemon(folder, *options, authority=authority)
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        return daemon

    @property
    def web(self) -> str:
        """The URL of the Deployment."""
        return f"/deployments/{self.namespace}/web"

    def changes(self, daemon: Daemon) -> list[dict[str, Any]]:
        """What a server tells of it."""
        told: list[dict[str, Any]] = daemon.get(f"{self.web}/changes").json["changes"]
        return told

    def told(self, daemon: Daemon) -> list[dict[str, Any]]:
        """The same without when each was seen, which is each server's own."""
        return [{**each, "at": ""} for each in self.changes(daemon)]

    def last(self, after: int) -> tuple[int, str | None, str, bool]:
        """Wait for a change to this count, on the server that writes nothing, and return what is told of it."""
        self.other.wait_for(lambda: [each["after"] for each in self.changes(self.other)][-1:] == [after], f"at {after}")
        told = self.changes(self.other)[-1]
        return told["before"], told["by"], told["program"], told["gap"]

    def scale(self, replicas: int) -> None:
        """Scale with kubectl."""
        self.kubectl("scale", "deployment/web", f"--namespace={self.namespace}", f"--replicas={replicas}")

    def apply(self, replicas: int, *options: str) -> None:
        """Apply from the server's side, as a GitOps controller does."""
        manifest = APPLIED.format(namespace=self.namespace, replicas=replicas)
        command = ("apply", "--server-side", "--field-manager=gitops", *options, "--filename=-")
        self.kubectl(*command, input=manifest)

    def test_programs(self) -> None:
        """kubectl, an apply after 6 and after 0, ours through another server: each is told by who made it."""
        self.scale(6)
        self.assertEqual(self.last(6), (3, None, "kubectl", False))
        self.scale(0)
        self.assertEqual(self.last(0), (6, None, SCALE, False))
        self.apply(2, "--force-conflicts")
        self.assertEqual(self.last(2), (0, None, "gitops", False))
        self.assertEqual(self.ours.put(f"{self.web}/replicas", {"replicas": 5}, **{"X-Reason": "a sale"}).status, 200)
        self.assertEqual(self.last(5)[0], 2)
        self.other.wait_for(lambda: self.changes(self.other)[-1]["by"] == "alice", "knowing the author")
        self.assertEqual(self.ours.put(f"{self.web}/replicas", {"replicas": 0}).status, 200)
        self.last(0)
        self.other.wait_for(lambda: self.changes(self.other)[-1]["by"] == "alice", "knowing the author of a 0")
        self.ours.wait_for(lambda: self.told(self.ours) == self.told(self.other), "telling the same")
        self.apply(7)
        self.assertEqual(self.last(7), (0, None, "gitops", False))

    def test_an_autoscaler(self) -> None:
        """What an autoscaler does is told as its controller's."""
        self.kubectl("apply", "--filename=-", input=SCALER.format(namespace=self.namespace))
        self.assertEqual(self.last(4), (3, None, "kube-controller-manager", False))
        self.assertEqual(self.ours.put(f"{self.web}/replicas{MEANT}", {"replicas": 1}).status, 200)
        for daemon in (self.ours, self.other):
            daemon.wait_for(lambda: len(self.changes(daemon)) == 3, "telling of what it undid")  # noqa: B023
            self.assertEqual([each["after"] for each in self.changes(daemon)], [4, 1, 4])
        self.assertEqual(self.last(4), (1, None, "kube-controller-manager", False))

    def test_a_mass_accident(self) -> None:
        """A loop sets all to 0, one of them in three steps; the documented loop puts all of them back, at its pace."""
        template = APPLIED.format(namespace=self.namespace, replicas=2).replace("name: web,", "name: {name},", 1)
        names = [f"web-{number}" for number in range(MANY)]
        self.kubectl("create", "--filename=-", input="---".join(template.replace("{name}", name) for name in names))
        listed = f"/deployments/{self.namespace}"
        self.ours.wait_for(lambda: len(self.ours.get(listed).json[0]["deployments"]) == MANY + 2, "listing all")
        since = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        for name in names:
            url = f"{listed}/{name}/replicas{MEANT}"
            self.assertEqual(self.ours.put(url, {"replicas": 0}).status, 200)
        self.scale(9)
        self.scale(1)
        self.scale(0)
        self.other.wait_for(lambda: [each["after"] for each in self.changes(self.other)] == [9, 1, 0], "telling of all")
        printed = restore(self.other, since)  # which takes longer than the limit of writes allows
        self.assertEqual(printed.count("Successfully updated"), MANY + 1, printed)
        path = "--output=jsonpath={.items[*].spec.replicas}"
        counts = self.kubectl("get", "deployments", f"--namespace={self.namespace}", path).split()
        self.assertEqual(sorted(counts), sorted(["2"] * MANY + ["3", "1"]))
