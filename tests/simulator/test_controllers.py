"""What acts on changes by itself: an autoscaler, a quota, a disruption budget; and pods, which show what is wrong."""

from sre_server.simulator.autoscaling import SYNC_SECONDS
from sre_server.simulator.kinds import AUTOSCALERS, BUDGETS, PODS, QUOTAS, Object
from tests.simulator.memory import SimulatorTestCase

SHOP_AUTOSCALERS = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers"
PAYMENTS_QUOTAS = "/api/v1/namespaces/payments/resourcequotas"


def conditions(value: Object) -> dict[str, tuple[str, str]]:
    """Return the status and the reason of each condition of an object."""
    return {each["type"]: (each["status"], each["reason"]) for each in value["status"]["conditions"]}


class ControllersTestCase(SimulatorTestCase):
    """The population's own Deployments. This has no tests of its own."""

    def settle(self) -> None:
        """Let time pass until nothing is left to do, which comes within a minute."""
        self.wire.clock.pump([0.5] * 120)
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def counts(self, namespace: str, name: str) -> tuple[int, int, int]:
        """Return how many replicas of a Deployment are wanted, exist, and are ready."""
        value = self.wire.deployment(namespace, name)
        return value["spec"]["replicas"], value["status"].get("replicas", 0), value["status"].get("readyReplicas", 0)

    def pods(self, namespace: str, name: str) -> list[Object]:
        """Return the pods of a Deployment."""
        label = f"labelSelector=app.kubernetes.io/name={name}"
        items: list[Object] = self.wire.get(f"/api/v1/namespaces/{namespace}/pods?{label}").json()["items"]
        return items


class AutoscalerTests(ControllersTestCase):
    """shop/storefront, which has 6 replicas and an autoscaler from 3 to 10."""

    def autoscaler(self) -> Object:
        """Return it."""
        return self.cluster.get(AUTOSCALERS, "shop", "storefront").decoded()

    def test_at_rest(self) -> None:
        """From the start it is active, and has nothing to do."""
        self.assertEqual(
            conditions(self.autoscaler()),
            {
                "AbleToScale": ("True", "ReadyForNewScale"),
                "ScalingActive": ("True", "ValidMetricFound"),
                "ScalingLimited": ("False", "DesiredWithinRange"),
            },
        )

    def test_clamps(self) -> None:
        """What is outside its bounds is put back after some seconds, by the controller manager; the rest stays."""
        for asked, kept in ((1, 3), (20, 10), (5, 5)):
            self.wire.scale("shop", "storefront", asked)
            self.wire.clock.advance(SYNC_SECONDS - 0.1)
            self.assertEqual(self.counts("shop", "storefront")[0], asked)
            self.settle()
            self.assertEqual(self.counts("shop", "storefront"), (kept, kept, kept))
            entry = self.wire.deployment("shop", "storefront")["metadata"]["managedFields"][-1]
            manager = "kube-controller-manager" if asked != kept else "unknown"
            self.assertEqual((entry["manager"], entry["subresource"]), (manager, "scale"))

    def test_off_at_zero(self) -> None:
        """A count of 0 switches it off, until somebody sets 1 or more."""
        self.wire.scale("shop", "storefront", 0)
        self.settle()
        self.assertEqual(self.counts("shop", "storefront"), (0, 0, 0))
        self.assertEqual(conditions(self.autoscaler())["ScalingActive"], ("False", "ScalingDisabled"))
        self.wire.scale("shop", "storefront", 1)
        self.settle()
        self.assertEqual(self.counts("shop", "storefront"), (3, 3, 3))
        self.assertEqual(conditions(self.autoscaler())["ScalingActive"][0], "True")

    def test_other_bounds(self) -> None:
        """Bounds that are changed hold from then on, and those of one that is gone no more."""
        patched = self.wire.patch(f"{SHOP_AUTOSCALERS}/storefront", {"spec": {"minReplicas": 8}})
        self.assertEqual(patched.status, 200)
        self.settle()
        self.assertEqual(self.counts("shop", "storefront")[0], 8)
        self.assertEqual(self.wire.request("DELETE", f"{SHOP_AUTOSCALERS}/storefront").status, 200)
        self.wire.scale("shop", "storefront", 1)
        self.settle()
        self.assertEqual(self.counts("shop", "storefront")[0], 1)

    def test_made_later(self) -> None:
        """One that is made later holds the count of its Deployment, which may come later still."""
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "late"}
        made = {"metadata": {"name": "late"}, "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 4}}
        self.assertEqual(self.wire.request("POST", SHOP_AUTOSCALERS, made).status, 201)
        self.settle()
        self.wire.create("shop", "late", 1)
        self.settle()
        self.assertEqual(self.counts("shop", "late"), (2, 2, 2))

    def test_stopped(self) -> None:
        """A cluster that is stopped leaves no timer of it behind."""
        self.wire.scale("shop", "storefront", 1)
        self.cluster.stop()
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])


class QuotaTests(ControllersTestCase):
    """payments, where 12 pods may exist, and 9 do."""

    def failure(self) -> str:
        """Return why payments/gateway gets no more pods, or nothing."""
        found = self.wire.deployment("payments", "gateway")["status"]["conditions"]
        return next((str(each["message"]) for each in found if each["type"] == "ReplicaFailure"), "")

    def used(self) -> str:
        """Return how many pods the quota has counted."""
        return str(self.cluster.get(QUOTAS, "payments", "payments").decoded()["status"]["used"]["pods"])

    def test_exceeded(self) -> None:
        """A Deployment gets what is left, and says in Kubernetes' own words why it gets no more."""
        self.assertEqual(self.used(), "9")
        self.wire.scale("payments", "gateway", 9)
        self.settle()
        self.assertEqual((self.counts("payments", "gateway"), self.used()), ((9, 7, 7), "12"))
        self.assertRegex(
            self.failure(),
            r'^pods "gateway-[0-9a-f]+-[0-9a-f]+" is forbidden: '
            r"exceeded quota: payments, requested: pods=1, used: pods=12, limited: pods=12$",
        )
        found = conditions(self.wire.deployment("payments", "gateway"))
        self.assertEqual((found["ReplicaFailure"], found["Progressing"][0]), (("True", "FailedCreate"), "True"))

    def test_raised(self) -> None:
        """With a larger quota it goes on by itself, and says nothing any more."""
        self.wire.scale("payments", "gateway", 9)
        self.settle()
        raised = self.wire.patch(f"{PAYMENTS_QUOTAS}/payments", {"spec": {"hard": {"pods": "20"}}})
        self.assertEqual(raised.status, 200)
        self.settle()
        self.assertEqual((self.counts("payments", "gateway"), self.failure(), self.used()), ((9, 9, 9), "", "14"))

    def test_made_room(self) -> None:
        """It goes on, too, when another Deployment of the namespace takes fewer."""
        self.wire.scale("payments", "gateway", 8)
        self.settle()
        self.assertTrue(self.failure())
        self.wire.scale("payments", "ledger", 1)
        self.settle()
        self.assertEqual((self.counts("payments", "gateway"), self.failure()), ((8, 8, 8), ""))

    def test_lowered(self) -> None:
        """What exists is left alone by a smaller quota."""
        lowered = self.wire.patch(f"{PAYMENTS_QUOTAS}/payments", {"spec": {"hard": {"pods": "2"}}})
        self.assertEqual(lowered.status, 200)
        self.settle()
        self.assertEqual(self.counts("payments", "gateway"), (4, 4, 4))


class BudgetTests(ControllersTestCase):
    """payments/ledger, of whose 3 pods 2 have to be available."""

    def test_allowed(self) -> None:
        """With 2 replicas none may be drained; the list is there for whoever plans that."""
        listed = self.wire.get("/apis/policy/v1/namespaces/payments/poddisruptionbudgets").json()
        self.assertEqual([item["status"]["disruptionsAllowed"] for item in listed["items"]], [1])
        self.wire.scale("payments", "ledger", 2)
        self.settle()
        status = self.cluster.get(BUDGETS, "payments", "ledger").decoded()["status"]
        self.assertEqual((status["expectedPods"], status["desiredHealthy"], status["disruptionsAllowed"]), (2, 2, 0))


class PodTests(ControllersTestCase):
    """What pods say of themselves."""

    def test_running(self) -> None:
        """There is one for each replica, owned by a ReplicaSet, and it can be read by its name."""
        found = self.pods("shop", "cart")
        self.assertEqual([pod["status"]["phase"] for pod in found], ["Running"] * 3)
        name = found[0]["metadata"]["name"]
        self.assertTrue(name.startswith(f"{found[0]['metadata']['ownerReferences'][0]['name']}-"))
        self.assertEqual(self.wire.get(f"/api/v1/namespaces/shop/pods/{name}").json()["kind"], "Pod")
        self.assertEqual(len(self.wire.objects(PODS)), sum(each["spec"]["replicas"] for each in self.wire.objects()))
        self.assert_status(self.wire.get("/api/v1/pods?watch=1"), 405, "MethodNotAllowed")

    def test_image(self) -> None:
        """A Deployment whose image is gone keeps the pods that run, and the others say what they wait for."""
        self.wire.scale("monitoring", "grafana", 3)
        self.settle()
        self.assertEqual(self.counts("monitoring", "grafana"), (3, 3, 1))
        _, *waiting = (pod["status"] for pod in self.pods("monitoring", "grafana"))
        self.assertEqual(len(self.names("/api/v1/namespaces/monitoring/pods?fieldSelector=status.phase=Pending")), 2)
        states = [status["containerStatuses"][0]["state"]["waiting"]["reason"] for status in waiting]
        self.assertEqual(states, ["ImagePullBackOff"] * 2)
        self.assertEqual(conditions(self.wire.deployment("monitoring", "grafana"))["Progressing"][0], "True")

    def test_unschedulable(self) -> None:
        """A pool holds two pods; the next ones say that there is no node for them."""
        self.wire.scale("default", "status-page", 3)
        self.settle()
        self.assertEqual(self.counts("default", "status-page"), (3, 3, 2))
        *_, last = self.pods("default", "status-page")
        condition = last["status"]["conditions"][0]
        self.assertEqual((condition["type"], condition["reason"]), ("PodScheduled", "Unschedulable"))


class OwnershipTests(ControllersTestCase):
    """Who owns the count, by managedFields."""

    def owner(self, name: str) -> tuple[str, str, str] | None:
        """Return manager, operation and subresource of the entry that has the count of a Deployment in shop."""
        for entry in self.wire.deployment("shop", name)["metadata"]["managedFields"]:
            if "f:replicas" in entry["fieldsV1"].get("f:spec", {}):
                return entry["manager"], entry["operation"], entry.get("subresource", "")
        return None

    def test_in_the_beginning(self) -> None:
        """GitOps applies one Deployment, `kubectl apply` another one, and the last applied configuration tells."""
        self.assertEqual(self.owner("catalog"), ("argocd-controller", "Apply", ""))
        self.assertEqual(self.owner("checkout"), ("kubectl-client-side-apply", "Update", ""))
        annotations = self.wire.deployment("shop", "checkout")["metadata"]["annotations"]
        self.assertIn('"replicas":3', annotations["kubectl.kubernetes.io/last-applied-configuration"])

    def test_after_scaling(self) -> None:
        """A write through the Scale takes the count, and one of 0 leaves it without an owner, also later on."""
        scale = "/apis/apps/v1/namespaces/shop/deployments/catalog/scale"
        self.wire.patch(f"{scale}?fieldManager=sre-server", {"spec": {"replicas": 6}})
        self.assertEqual(self.owner("catalog"), ("sre-server", "Update", "scale"))
        written = self.wire.deployment("shop", "catalog")["metadata"]["managedFields"]
        self.assertEqual([entry["manager"] for entry in written if "time" not in entry], ["sre-server"])
        self.assertIn("argocd-controller", [entry["manager"] for entry in written if entry["operation"] == "Apply"])
        self.wire.patch(f"{scale}?fieldManager=sre-server", {"spec": {"replicas": 0}})
        self.assertIsNone(self.owner("catalog"))
        form = {"Content-Type": "application/merge-patch+json", "User-Agent": "kubectl/v1.36.3 (linux/amd64)"}
        self.wire.request("PATCH", scale, {"spec": {"replicas": 2}}, headers=form)
        self.assertIsNone(self.owner("catalog"))
        scale = scale.replace("catalog", "checkout")
        self.wire.request("PATCH", scale, {"spec": {"replicas": 2}}, headers=form)
        self.assertEqual(self.owner("checkout"), ("kubectl", "Update", "scale"))
