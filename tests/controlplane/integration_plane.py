"""What the control plane promises to other integration tests, checked against the running one."""

import http.client
import json
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from .daemon import PlaneError, wait_until
from .fixture import shared_plane

RBAC = Path(__file__).parent / "rbac.yaml"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CHART = {
    "Chart.yaml": "{apiVersion: v2, name: probe, version: 0.1.0}",
    "templates/map.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: probe-{{ .Release.Name }}}}",
}


class ControlPlaneTests(SynchronousTestCase):
    """The shared control plane behaves as a cluster, and can be hurt and healed."""

    def setUp(self) -> None:
        """Take the shared control plane and put the product's permissions in it."""
        self.plane = shared_plane()
        self.plane.kubectl("apply", f"--filename={RBAC}")

    def deploy(self, name: str, replicas: int) -> None:
        """Create a Deployment in the default namespace that is removed after the test, and await its pods."""
        self.plane.kubectl("create", "deployment", name, "--image=none", f"--replicas={replicas}")
        self.addCleanup(self.plane.kubectl, "delete", "deployment", name)
        self.plane.kubectl("rollout", "status", "deployment", name, "--timeout=100s")

    def version(self) -> str:
        """Return the resourceVersion of the default namespace's Deployments, now."""
        listed = json.loads(self.plane.kubectl("get", "--raw", DEPLOYMENTS))
        return str(listed["metadata"]["resourceVersion"])

    def watch(self, version: str) -> list[dict[str, Any]]:
        """Return the events that a watch of the Deployments from a resourceVersion gets in five seconds."""
        path = f"{DEPLOYMENTS}?watch=true&resourceVersion={version}&timeoutSeconds=5"
        return [json.loads(line) for line in self.plane.kubectl("get", "--raw", path).splitlines()]

    def errors(self, events: list[dict[str, Any]]) -> list[tuple[str, int | None, str | None]]:
        """Return what of each event matters to a watcher that was away."""
        return [(event["type"], event["object"].get("code"), event["object"].get("reason")) for event in events]

    def test_deployment_becomes_available(self) -> None:
        """A Deployment's pods are made, scheduled, and run on the two nodes."""
        self.deploy("available", 3)
        pods = json.loads(self.plane.kubectl("get", "pods", "--selector=app=available", "--output=json"))
        self.assertListEqual([pod["status"]["phase"] for pod in pods["items"]], ["Running"] * 3)
        self.assertLessEqual({pod["spec"]["nodeName"] for pod in pods["items"]}, {"node-0", "node-1"})

    def test_version_is_the_pinned_one(self) -> None:
        """The API server and kubectl both know their version, which is the same."""
        version = json.loads(self.plane.kubectl("version", "--output=json"))
        server, client = (version[side]["gitVersion"] for side in ("serverVersion", "clientVersion"))
        self.assertMultiLineEqual(server, client)
        self.assertRegex(server, r"^v1\.[1-9]\d+\.\d+$")

    def test_service_account_may_do_what_the_product_does(self) -> None:
        """The product's service account lists Deployments and patches their scale."""
        self.deploy("scaled", 1)
        account = self.plane.service_account_kubeconfig("sre-system", "sre-server")
        listed = self.plane.kubectl("get", "deployments", "--all-namespaces", kubeconfig=account)
        self.assertRegex(listed, "scaled")
        status, content = self.plane.request(
            "PATCH",
            f"{DEPLOYMENTS}/scaled/scale",
            token=self.plane.service_account_token("sre-system", "sre-server"),
            body=b'{"spec": {"replicas": 2}}',
            content_type="application/merge-patch+json",
        )
        self.assertListEqual([status], [200], content)
        self.plane.kubectl("wait", "deployment", "scaled", "--for=jsonpath={.status.readyReplicas}=2")

    def test_service_account_may_do_nothing_else(self) -> None:
        """The product's service account cannot delete a Deployment, change its template, or read pods."""
        self.deploy("kept", 1)
        account = self.plane.service_account_kubeconfig("sre-system", "sre-server")
        for forbidden in (
            ["delete", "deployment", "kept"],
            ["patch", "deployment", "kept", '--patch={"spec": {"paused": true}}'],
            ["get", "pod", "kept"],
            ["delete", "pods", "--all"],
            ["get", "secrets", "--all-namespaces"],
        ):
            with self.assertRaisesRegex(PlaneError, "forbidden"):
                self.plane.kubectl(*forbidden, kubeconfig=account)

    def test_user_is_who_the_certificate_says(self) -> None:
        """A kubeconfig with a client certificate authenticates its user, in all its groups."""
        kubeconfig = self.plane.user_kubeconfig("alice", ["staff", "on-call"])
        me = json.loads(self.plane.kubectl("auth", "whoami", "--output=json", kubeconfig=kubeconfig))
        user = me["status"]["userInfo"]
        self.assertMultiLineEqual(user["username"], "alice")
        self.assertSetEqual(set(user["groups"]), {"staff", "on-call", "system:authenticated"})

    def test_audit_log_counts_requests(self) -> None:
        """The audit log has exactly the requests that a user made."""
        kubeconfig = self.plane.user_kubeconfig("counted", ["system:masters"])
        for _ in range(3):
            self.plane.kubectl("get", "--raw", DEPLOYMENTS, kubeconfig=kubeconfig)

        def requests() -> list[str]:
            """Return what the user has asked, as far as it is in the log."""
            events = self.plane.audit_events()
            return [event["requestURI"] for event in events if event["user"]["username"] == "counted"]

        wait_until(lambda: len(requests()) >= 3, "the audit log misses requests")
        self.assertListEqual(requests(), [DEPLOYMENTS] * 3)

    def test_helm_installs(self) -> None:
        """Helm installs a chart, lists the release, and removes it."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in CHART.items():
                path = Path(folder) / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(content)
            self.plane.helm("install", "trial-run", folder)
        self.addCleanup(self.plane.helm, "uninstall", "trial-run")
        self.assertRegex(self.plane.helm("list", "--short"), "trial-run")
        self.plane.kubectl("get", "configmap", "probe-trial-run")

    def test_apiserver_can_be_stopped_and_started(self) -> None:
        """A stopped API server refuses connections; started again it has its data, and pods still run."""
        self.deploy("lasting", 1)
        self.plane.stop_apiserver()
        self.addCleanup(self.plane.start_apiserver)
        with self.assertRaisesRegex(PlaneError, "refused"):
            self.plane.kubectl("get", "deployments")
        self.plane.start_apiserver()
        self.plane.kubectl("scale", "deployment", "lasting", "--replicas=2")
        self.plane.kubectl("rollout", "status", "deployment", "lasting", "--timeout=100s")

    def test_apiserver_can_crash(self) -> None:
        """An API server that is killed outright comes back just the same."""
        self.deploy("durable", 1)
        self.plane.stop_apiserver(crash=True)
        self.plane.start_apiserver()
        self.assertRegex(self.plane.kubectl("get", "deployments"), "durable")

    def test_apiserver_can_be_paused(self) -> None:
        """A paused API server lets its clients wait; resumed, it answers again."""
        self.plane.pause_apiserver()
        self.addCleanup(self.plane.resume_apiserver)
        with self.assertRaisesRegex(PlaneError, "(?i)timeout|deadline"):
            self.plane.kubectl("get", "--raw", "/version", "--request-timeout=1s")
        self.plane.resume_apiserver()
        self.plane.kubectl("get", "--raw", "/version")

    def test_compaction_expires_exact_lists_but_not_watches(self) -> None:
        """After compact() an exact list of an older version gets a 410, and a watch from it still works."""
        old = self.version()
        self.deploy("compacted", 1)
        exact = f"{DEPLOYMENTS}?resourceVersion={old}&resourceVersionMatch=Exact"
        self.assertListEqual([self.plane.request("GET", exact)[0]], [http.client.OK])
        self.plane.compact()
        gone = http.client.GONE
        wait_until(lambda: self.plane.request("GET", exact)[0] == gone, "the exact list still works")
        self.assertLessEqual({"ADDED"}, {event["type"] for event in self.watch(old)})

    def test_restart_expires_watches(self) -> None:
        """A watcher that was away across a compaction and a restart gets 410 Gone."""
        old = self.version()
        self.deploy("forgotten", 1)
        self.plane.compact()
        self.plane.stop_apiserver()
        self.plane.start_apiserver()
        self.assertListEqual(self.errors(self.watch(old)), [("ERROR", 410, "Expired")])

    def test_restart_expires_watches_even_without_compaction(self) -> None:
        """The API server forgets what it has not seen itself, so a restart alone gives a 410 as well."""
        old = self.version()
        self.deploy("unseen", 1)
        self.plane.stop_apiserver()
        self.plane.start_apiserver()
        self.assertListEqual(self.errors(self.watch(old)), [("ERROR", 410, "Expired")])
