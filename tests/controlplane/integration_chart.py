"""The chart in a real control plane: installed, upgraded, scaled, and gone without a trace."""

import os
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fakes import temporary_folder

from .chart import WAIT, Release
from .daemon import PlaneError, wait_until

FULL = {
    "guardrails": {"maximum": 50},
    "networkPolicy": {"enabled": True, "clients": [{"podSelector": {}}]},
    "syntheticQueries": {
        "enabled": True,
        "clientCertificate": {"secretName": "prober"},
        "pushTo": "http://push.monitoring:9091",
    },
    "dashboard": {"enabled": True},
    "service": {"type": "NodePort", "externalTrafficPolicy": "Local"},
}


class ReleaseTestCase(SynchronousTestCase):
    """A namespace of its own, under the Pod Security Standard `restricted`."""

    def setUp(self) -> None:
        """Make it."""
        if os.environ.get("KUBECONFIG"):
            raise SkipTest("the chart is tried in a control plane of our own")
        self.release = Release(temporary_folder(self))
        self.addCleanup(self.release.close)


class LifecycleTests(ReleaseTestCase):
    """From install to uninstall."""

    def test_install_and_uninstall(self) -> None:
        """Everything is admitted, pods become ready under `restricted`, and after uninstall nothing is left."""
        self.release.make_secret("prober", "prober")
        before = self.release.left()
        self.release.helm("install", FULL, *WAIT)
        self.assertEqual(before, [])
        status = self.release.get("deployment")["status"]
        self.assertEqual((status["availableReplicas"], status["updatedReplicas"]), (2, 2))
        wait_until(self.release.may_be_disrupted, "no pod may be disrupted")
        self.assertEqual(len(self.release.items("networkpolicies")), 2)

        def endpoints() -> int:
            return sum(len(found["endpoints"] or ()) for found in self.release.items("endpointslices"))

        wait_until(lambda: endpoints() == 2, "there are not two endpoints")
        self.release.helm("uninstall", None, *WAIT)
        wait_until(lambda: self.release.left() == self.release.kept(), "something of the release is left")

    def test_every_pod_is_admitted(self) -> None:
        """The pods of the CronJob and of `helm test` are admitted under `restricted`, too."""
        self.release.make_secret("prober", "prober")
        self.release.helm("install", FULL, *WAIT)
        namespace = f"--namespace={self.release.namespace}"
        job = f"--from=cronjob/{self.release.account}-synthetic"
        self.release.kubectl("create", "job", "now", job, namespace)
        hooks = self.release.plane.helm("get", "hooks", self.release.name, namespace)
        self.release.plane.kubectl("create", "--filename=-", input=hooks)

        def running() -> set[str]:
            pods = self.release.items("pods")
            component = "app.kubernetes.io/component"
            return {pod["metadata"]["labels"][component] for pod in pods if pod["status"]["phase"] == "Running"}

        wait_until(lambda: running() == {"server", "synthetic", "test"}, "not every pod runs")

    def test_the_standard_is_enforced(self) -> None:
        """The namespace does hold pods to the standard: with one field less, none would be admitted."""
        values = {"securityContext": {"allowPrivilegeEscalation": True}, "replicaCount": 1}
        self.release.helm("install", values)

        def refused() -> bool:
            conditions = self.release.get("deployment").get("status", {}).get("conditions", [])
            return any("violates PodSecurity" in condition.get("message", "") for condition in conditions)

        wait_until(refused, "a privileged pod was admitted")

    def test_rolling_upgrade(self) -> None:
        """While pods are replaced, there are never fewer than before that are available, and one more at most."""
        self.release.helm("install", {}, *WAIT)
        seen = self.release.follow(self, "{.status.availableReplicas}")
        wanted = self.release.follow(self, '["{.metadata.name}",{.spec.replicas}]', "replicasets")
        self.release.helm("upgrade", {"image": {"tag": "next"}, "minReadySeconds": 1}, *WAIT)
        live = [pod for pod in self.release.items("pods") if "deletionTimestamp" not in pod["metadata"]]
        self.assertEqual({pod["spec"]["containers"][0]["image"] for pod in live}, {"sre-server:next"})
        self.assertGreater(len(seen()), 3)
        self.assertGreaterEqual(min(seen()), 2)
        by_name: dict[str, int] = {}
        most = 0
        for name, replicas in wanted():
            by_name[name] = replicas
            most = max(most, sum(by_name.values()))
        self.assertEqual(most, 3)

    def test_policy_change(self) -> None:
        """Another policy reaches the ConfigMap and replaces the pods; without restarts the pods stay."""

        def values(maximum: int, *, restart: bool) -> dict[str, Any]:
            return {"guardrails": {"maximum": maximum}, "restartOnConfigChange": restart}

        def pods() -> set[str]:
            live = (pod for pod in self.release.items("pods") if "deletionTimestamp" not in pod["metadata"])
            return {pod["metadata"]["uid"] for pod in live}

        self.release.helm("install", values(1, restart=False), *WAIT)
        first = pods()
        self.release.helm("upgrade", values(2, restart=False), *WAIT)
        self.assertEqual(pods(), first)
        self.assertIn("maximum: 2", self.release.get("configmap")["data"]["guardrails.yaml"])
        self.release.helm("upgrade", values(3, restart=True), *WAIT)
        self.assertEqual(pods() & first, set())

    def test_two_releases(self) -> None:
        """A second release of the same chart, in another namespace, gets in nobody's way."""
        other = Release(temporary_folder(self))
        self.addCleanup(other.close)
        self.release.helm("install", {"fullnameOverride": "same"}, *WAIT)
        other.helm("install", {"fullnameOverride": "same"}, *WAIT)
        self.release.helm("uninstall", None, *WAIT)
        self.assertEqual(len([name for name in other.left() if "clusterrole" in name]), 2)

    def test_self_signed(self) -> None:
        """With nothing prepared, the self-signed trial installs, and its Secrets go with it."""
        trial = {"tls": {"source": "selfSigned", "selfSigned": {"notForProduction": True}}}
        self.release.helm("install", trial, *WAIT)
        self.assertIn("NOT FOR PRODUCTION", self.release.helm("upgrade", trial, *WAIT))
        self.release.helm("uninstall", None, *WAIT)
        wait_until(lambda: self.release.left() == self.release.kept(), "something of the release is left")

    def test_helm_refuses(self) -> None:
        """A misspelt value stops the upgrade before anything is changed."""
        self.release.helm("install", {}, *WAIT)
        generation = self.release.get("deployment")["metadata"]["generation"]
        error = self.assertRaises(PlaneError, self.release.helm, "upgrade", {"replicas": 5})
        self.assertIn("'replicas' not allowed", str(error))
        self.assertEqual(self.release.get("deployment")["metadata"]["generation"], generation)
