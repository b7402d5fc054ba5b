"""Plans against what a real cluster then does: its autoscaler, its quotas, and what somebody changes in between."""

import json
import os
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Answer, Daemon

from .workload import own_cluster

JSON = {"Content-Type": "application/json"}


class PlanTests(SynchronousTestCase):
    """A server with the rights of docs/iam.md, and a namespace with the Deployments `web` (3) and `worker` (1)."""

    def setUp(self) -> None:
        """Make the namespace, and start the server."""
        if os.environ.get("KUBECONFIG"):
            raise SkipTest("that an autoscaler acts within seconds takes a control plane of our own")
        self.cluster = own_cluster()
        self.namespace = self.cluster.make_namespace()
        self.addCleanup(self.cluster.kubectl, "delete", "namespace", self.namespace, "--wait=false")
        kubeconfig = f"--kubeconfig={self.cluster.server_kubeconfig}"
        self.daemon = Daemon(temporary_folder(self), "--cluster=kubeconfig", kubeconfig)
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        self.wait_for("web", lambda: self.picture("web").get("autoscaler", self) is None, "knowing it")

    def wait_for(self, name: str, condition: Any, what: str) -> None:
        """Wait, and say what there is if it is in vain."""
        self.daemon.wait_for(condition, f"{name}: {what}", 30)

    def picture(self, name: str) -> dict[str, Any]:
        """All that is known of a Deployment."""
        return dict(self.daemon.get(f"/deployments/{self.namespace}/{name}").json)

    def plan(self, name: str, replicas: int, query: str = "") -> Answer:
        """Ask for a plan."""
        path = f"/deployments/{self.namespace}/{name}/plan{query}"
        return self.daemon.request("POST", path, b'{"replicas":%d}' % replicas, JSON)

    def put(self, name: str, replicas: int, query: str = "", **fields: str) -> Answer:
        """Write."""
        return self.daemon.put(
            f"/deployments/{self.namespace}/{name}/replicas{query}", {"replicas": replicas}, **fields
        )

    def apply(self, kind: str, version: str, name: str, spec: dict[str, Any]) -> None:
        """Have an object."""
        metadata = {"name": name, "namespace": self.namespace}
        text = json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
        self.cluster.kubectl("apply", "--filename=-", input=text)

    def get(self, what: str, path: str) -> str:
        """Read a field of an object."""
        return self.cluster.kubectl("get", what, f"--namespace={self.namespace}", f"--output=jsonpath={path}")

    def autoscale(self, name: str) -> None:
        """Have an autoscaler that holds a Deployment in 3..6, without metrics: within them it does nothing."""
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        self.apply(
            "HorizontalPodAutoscaler",
            "autoscaling/v2",
            name,
            {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 6},
        )
        self.wait_for(name, lambda: self.picture(name)["autoscaler"] is not None, "knowing its autoscaler")

    def test_an_autoscaler(self) -> None:
        """What will not hold is undone within seconds; what may not, or will, is there once the autoscaler looked."""
        self.autoscale("web")
        hpa = "horizontalpodautoscaler/web"
        for count, verdict, then in (
            (1, "will not hold", 3),
            (20, "will not hold", 6),
            (5, "may not hold", 5),
            (0, "will hold", 0),
            (1, "will not hold", 3),
        ):
            refused = verdict == "will not hold"
            self.assertEqual(self.plan("web", count).json["verdict"], "is refused" if refused else verdict)
            self.assertEqual(self.put("web", count).status if refused else 422, 422)
            planned = self.plan("web", count, "?confirm=autoscaler")
            self.assertEqual(planned.json["verdict"], verdict, planned)
            written = self.put("web", count, "?confirm=autoscaler", **{"If-Match": planned.headers["etag"]})
            self.assertEqual(written.status, 200, written)
            self.assertIn("HorizontalPodAutoscaler web (3..6)", written.headers["warning"])
            if count == 0:
                self.wait_for("web", lambda: self.picture("web")["autoscaler"]["active"] is False, "switching it off")
            elif not refused:
                self.wait_for("web", lambda: self.get(hpa, "{.status.currentReplicas}") == "5", "looking at it")
            self.wait_for(
                "web",
                lambda then=then: self.picture("web")["replicas"] == then,
                f"{then} after {count}",
            )

    def test_an_autoscaler_in_between(self) -> None:
        """One that is made between plan and write is 412, in words, and the count is what it was."""
        self.wait_for("worker", lambda: self.picture("worker").get("rollout") == "steady", "settled")
        planned = self.plan("worker", 2)
        self.assertEqual(planned.json, {"from": 1, "to": 2, "verdict": "will hold", "findings": []})
        self.autoscale("worker")
        written = self.put("worker", 2, **{"If-Match": planned.headers["etag"]})
        self.assertEqual(written.status, 412, written)
        self.assertIn("the autoscaler or its bounds changed since", written.json["message"])
        by = self.get("deployment/worker", "{.metadata.managedFields[*].manager}")
        self.assertNotIn("sre-server", by)

    def test_a_quota(self) -> None:
        """Nine do not fit into a quota of four, and four are what there is; once it has changed the plan is void."""
        self.cluster.kubectl("delete", "deployment", "worker", f"--namespace={self.namespace}")
        self.apply("ResourceQuota", "v1", "small", {"hard": {"pods": "4"}})
        self.wait_for("web", lambda: self.get("resourcequota/small", "{.status.used.pods}") == "3", "counting pods")
        planned = self.plan("web", 9)
        (found,) = planned.json["findings"]
        self.assertEqual((planned.json["verdict"], found["about"]), ("will not hold", "quota"))
        self.assertIn("ResourceQuota small allows pods 4, of which 3 is used: 1 of 6 more pods fit", found["message"])
        self.assertEqual(self.put("web", 9, **{"If-Match": planned.headers["etag"]}).status, 200)
        self.wait_for("web", lambda: "exceeded quota" in (self.picture("web")["reason"] or ""), "running into it")
        self.wait_for("web", lambda: self.get("deployment/web", "{.status.replicas}") == "4", "as many as fit")
        planned = self.plan("web", 12)
        self.assertIn("0 of 8 more pods fit", str(planned.json))
        self.apply("ResourceQuota", "v1", "small", {"hard": {"pods": "20"}})
        written = self.put("web", 12, **{"If-Match": planned.headers["etag"]})
        self.assertEqual(written.status, 412, written)
        self.assertIn("what the quotas allow changed since", written.json["message"])

    def test_what_pods_take_and_drains(self) -> None:
        """Requests of the template count, which quota and plan add up alike; a budget is found by its selector."""
        set_requests = ("set", "resources", "deployment/web", "--requests=cpu=100m", f"--namespace={self.namespace}")
        self.cluster.kubectl(*set_requests)
        self.cluster.kubectl("delete", "deployment", "worker", f"--namespace={self.namespace}")
        self.apply("ResourceQuota", "v1", "cpu", {"hard": {"requests.cpu": "500m"}})
        self.apply(
            "PodDisruptionBudget", "policy/v1", "web", {"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}}
        )
        used = "{.status.used.requests\\.cpu}"
        self.wait_for("web", lambda: self.picture("web")["rollout"] == "steady", "rolling out")
        self.wait_for("web", lambda: self.get("resourcequota/cpu", used) == "300m", "counting cpu")
        for count, verdict, about in (
            (5, "will hold", []),
            (6, "may not hold", ["quota"]),
            (3, "will hold", ["disruption budget"]),
        ):
            body = self.plan("web", count).json
            found = (body["verdict"], [each["about"] for each in body["findings"]])
            self.assertEqual(found, (verdict, about), body)
