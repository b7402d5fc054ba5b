"""Plans in front of the simulated cluster: what they find there, and what becomes of the writes that hold to them."""

from typing import Any

import msgspec

from tests.functional.daemon import Answer
from tests.functional.simulated import SimulatedTestCase

JSON = {"Content-Type": "application/json"}
STOREFRONT = "/deployments/shop/storefront"


class PlanTests(SimulatedTestCase):
    """The simulator has an autoscaler, a quota, a disruption budget and what GitOps applies."""

    def setUp(self) -> None:
        """Know the autoscaler, too."""
        super().setUp()
        self.daemon.wait_for(lambda: self.daemon.get(STOREFRONT).json["autoscaler"] is not None, "the autoscaler")

    def plan(self, path: str, replicas: int) -> Answer:
        """Ask for a plan."""
        return self.daemon.request("POST", f"{path}/plan", msgspec.json.encode({"replicas": replicas}), JSON)

    def found(self, path: str, replicas: int) -> tuple[str, dict[str, str]]:
        """The verdict, and what is said about what."""
        body: dict[str, Any] = self.plan(path, replicas).json
        return body["verdict"], {each["about"]: each["message"] for each in body["findings"]}

    def test_findings(self) -> None:
        """Each of the simulator's is found, with its name and numbers."""
        verdict, found = self.found(STOREFRONT, 20)
        self.assertEqual((verdict, list(found)), ("is refused", ["guardrail", "autoscaler"]))
        self.assertIn("(3..10) puts it back to 10", found["autoscaler"])
        verdict, found = self.found("/deployments/payments/gateway", 8)
        self.assertEqual((verdict, list(found)), ("may not hold", ["quota"]))
        self.assertIn("ResourceQuota payments allows pods 12, of which 9 is used: 3 of 4 more pods fit", found["quota"])
        self.assertEqual(self.found("/deployments/payments/gateway", 7), ("will hold", {}))
        self.assertEqual(self.found("/deployments/payments/gateway", 13)[0], "will not hold")
        verdict, found = self.found("/deployments/payments/ledger", 2)
        self.assertEqual((verdict, list(found)), ("will hold", ["disruption budget"]))
        verdict, found = self.found("/deployments/shop/catalog", 6)
        self.assertEqual((verdict, list(found)), ("may not hold", ["apply"]))
        self.assertIn("argocd-controller (server-side apply)", found["apply"])

    def test_holding_to_a_plan(self) -> None:
        """It is done while the plan stands, and 412 in words once the autoscaler has other bounds."""
        tag = self.plan(STOREFRONT, 7).headers["etag"]
        patch = {"spec": {"maxReplicas": 8}}
        path = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/storefront"
        self.simulator.call("PATCH", path, patch, "application/merge-patch+json")
        self.daemon.wait_for(lambda: self.daemon.get(STOREFRONT).json["autoscaler"]["max"] == 8, "other bounds")
        answer = self.daemon.put(f"{STOREFRONT}/replicas", {"replicas": 7}, **{"If-Match": tag})
        self.assertEqual(answer.status, 412)
        self.assertIn("the autoscaler or its bounds", answer.json["message"])
        tag = self.plan(STOREFRONT, 7).headers["etag"]
        answer = self.daemon.put(f"{STOREFRONT}/replicas", {"replicas": 7}, **{"If-Match": tag})
        self.assertEqual(answer.status, 200, answer)
        self.assertIn("may change it", answer.headers["warning"])

    def test_what_it_costs(self) -> None:
        """A plan is two lists and a get; a write that holds to it lists quotas once more; nothing else does."""
        before = self.simulator.counts()
        tag = self.plan("/deployments/shop/cart", 4).headers["etag"]
        path = "/deployments/shop/cart/replicas"
        self.assertEqual(self.daemon.put(path, {"replicas": 4}, **{"If-Match": tag}).status, 200)
        self.assertEqual(self.daemon.put(path, {"replicas": 5}).status, 200)
        after = self.simulator.counts()
        cost = {what: count - before.get(what, 0) for what, count in after.items()}
        asked = ("list resourcequotas", "list poddisruptionbudgets", "get deployments", "patch scale")
        self.assertEqual([cost.get(what, 0) for what in asked], [2, 1, 1, 2], cost)

    def test_without_the_rights(self) -> None:
        """What may not be listed is said not to be known, and a warning of readyz names the right."""
        self.simulator.faults({"kind": "status", "verb": "list", "resource": "resourcequotas", "code": 403})
        verdict, found = self.found("/deployments/payments/gateway", 13)
        self.assertEqual((verdict, list(found)), ("may not hold", ["not known"]))
        self.assertIn("list resourcequotas", str(self.daemon.get("/readyz?verbose").json["warnings"]))
