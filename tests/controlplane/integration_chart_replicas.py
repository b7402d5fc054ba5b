"""How many pods there are while autoscaling is switched on, upgraded, rolled back and switched off."""

import os
import re
import subprocess
from typing import Any

from tests.functional.helm import CHART
from tests.guides import blocks

from .chart import WAIT
from .daemon import wait_until
from .integration_chart import ReleaseTestCase

AUTOSCALED: dict[str, Any] = {"autoscaling": {"enabled": True}}
MARK = "sre-server/replicas"
BY_APPLY = "an install by kubectl apply"


class AutoscalingTests(ReleaseTestCase):
    """The count is the cluster's business from the moment that autoscaling is on, and never goes through 1."""

    def _count(self) -> int:
        count: int = self.release.get("deployment")["spec"]["replicas"]
        return count

    def _scale(self, count: int) -> None:
        """Do what the autoscaler does, in the way it does it."""
        namespace = f"--namespace={self.release.namespace}"
        self.release.kubectl("scale", "deployment", self.release.account, f"--replicas={count}", namespace)

    def test_switched_on(self) -> None:
        """From three by hand it goes on with three; later upgrades keep what the autoscaler has come to."""
        self.release.helm("install", {"replicaCount": 3}, *WAIT)
        counts = self.release.follow(self, "{.spec.replicas}")
        self.release.helm("upgrade", AUTOSCALED, *WAIT)
        self.assertEqual(self._count(), 3)
        self.assertEqual(self.release.get("hpa")["spec"]["minReplicas"], 2)
        self._scale(7)
        self.release.helm("upgrade", {**AUTOSCALED, "podAnnotations": {"a": "b"}}, *WAIT)
        self.assertEqual(self._count(), 7)
        self._scale(0)
        self.release.helm("upgrade", {**AUTOSCALED, "podAnnotations": {"a": "c"}}, *WAIT)
        wait_until(lambda: counts()[-1] == 0, "the watch did not see the last change")
        self.assertEqual(sorted(set(counts())), [0, 3, 7])

    def test_from_the_start(self) -> None:
        """Installed with autoscaling, no manifest ever has a count, so neither upgrade nor rollback sets one."""
        self.release.helm("install", AUTOSCALED, *WAIT)
        self._scale(4)
        self.release.helm("upgrade", {**AUTOSCALED, "podAnnotations": {"a": "b"}}, *WAIT)
        self.assertEqual(self._count(), 4)
        self.assertNotIn("replicas:", self.release.helm("get", None, "manifest").partition("kind: Deployment")[2])
        self.release.helm("rollback", None, "1", *WAIT)
        self.assertEqual(self._count(), 4)

    def test_off_and_on_again(self) -> None:
        """Switched off, the count is that of the values; switched on once more, it goes on with that."""
        self.release.helm("install", AUTOSCALED, *WAIT)
        self._scale(4)
        self.release.helm("upgrade", {"replicaCount": 3}, *WAIT)
        self.assertEqual(self._count(), 3)
        self.assertNotIn(MARK, self.release.get("deployment")["metadata"].get("annotations", {}))
        counts = self.release.follow(self, "{.spec.replicas}")
        self.release.helm("upgrade", AUTOSCALED, *WAIT)
        self.assertEqual(set(counts()), {3})

    def test_applied(self) -> None:
        """Applied without helm, the count stays as well, after what docs/install.md says to do first."""
        first = [block.commands for block in blocks("install.md") if block.needs == BY_APPLY]
        self.assertEqual(len(first), 2)
        for commands, way in zip(first, ("", "--server-side --field-manager=gitops"), strict=True):
            self._shell(self._apply("--set replicaCount=3", way))
            self._shell(commands)
            self.release.account = "sre-server"
            counts = self.release.follow(self, "{.spec.replicas}")
            self._shell(self._apply("--set autoscaling.enabled=true", way))
            self.assertIn(MARK, self.release.get("deployment")["metadata"]["annotations"])
            self.assertEqual(set(counts()), {3}, way)
            self.release.kubectl("delete", "deployment,hpa", "sre-server", f"--namespace={self.release.namespace}")

    def _apply(self, settings: str, way: str) -> str:
        rendered = f"helm template sre-server helm/sre-server --namespace sre {settings} --values values.yaml"
        return f"{rendered} | kubectl apply --namespace sre {way} --filename=-"

    def _shell(self, commands: str) -> None:
        """Run commands of a guide, in the release's namespace."""
        (self.release.folder / "values.yaml").write_text("{}", encoding="utf-8")
        chart = self.release.folder / "helm"
        if not chart.exists():
            chart.symlink_to(CHART.parent)
        plane = self.release.plane
        path = os.pathsep.join((str(plane.binaries), os.environ.get("PATH", os.defpath)))
        environment = {"PATH": path, "HOME": str(self.release.folder), "KUBECONFIG": str(plane.admin_kubeconfig)}
        script = re.sub(r"namespace(:?) sre\b", rf"namespace\1 {self.release.namespace}", commands)
        command = ["bash", "-e", "-o", "pipefail", "-c", script]
        done = subprocess.run(
            command, cwd=chart.parent, capture_output=True, text=True, timeout=120, check=False, env=environment
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
