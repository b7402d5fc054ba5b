"""Quotas, disruption budgets and pod templates, as the cluster writes them."""

import json
from decimal import Decimal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.quotas import decode_budgets, decode_quotas, decode_workload, quantity
from sre_server.errors import BadAnswer
from sre_server.model import Budget, Surroundings


def workload(pod: dict[str, Any] | None = None, labels: dict[str, str] | None = None) -> bytes:
    """Draw a Deployment with this pod spec and these labels in its template."""
    template = {"metadata": {"labels": labels or {"app": "web"}}, "spec": pod or {"containers": [{"name": "c"}]}}
    status = {"replicas": 3, "readyReplicas": 2}
    return json.dumps({"metadata": {"uid": "u"}, "spec": {"template": template}, "status": status}).encode()


def container(requests: dict[str, Any] | None = None, limits: dict[str, Any] | None = None, **more: str) -> Any:
    """Draw a container."""
    return {"name": "c", "resources": {"requests": requests or {}, "limits": limits or {}}, **more}


def items(*found: dict[str, Any]) -> bytes:
    """Draw a list."""
    return json.dumps({"metadata": {"resourceVersion": "5"}, "items": list(found)}).encode()


def quota(name: str = "q", used: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """Draw a quota."""
    return {"metadata": {"name": name}, "spec": spec, "status": {"hard": {}, "used": used or {}}}


def budget(name: str = "b", **spec: Any) -> dict[str, Any]:
    """Draw a disruption budget."""
    return {"metadata": {"name": name}, "spec": spec}


class QuantityTests(SynchronousTestCase):
    """Numbers with suffixes."""

    def test_quantities(self) -> None:
        """Each form of the API is read, and what is none is an answer that makes no sense."""
        for text, number in (
            ("500m", "0.5"),
            ("1Gi", 2**30),
            ("2", 2),
            (3, 3),
            ("1e3", 1000),
            ("0", 0),
            ("1.5G", 15e8),
        ):
            self.assertEqual(quantity(text), Decimal(number))
        for text in ("", "x", "1ki", "1Q"):
            self.assertRaises(BadAnswer, quantity, text)


class TemplateTests(SynchronousTestCase):
    """What one pod takes."""

    def needs(self, **pod: Any) -> dict[str, str]:
        """What a pod of this spec takes, beside itself."""
        needs = decode_workload(workload(pod)).surroundings(None, None).needs
        return {name: str(need) for name, need in needs.items() if not name.endswith("pods")}

    def test_containers(self) -> None:
        """Containers add up; where a request is missing the limit is it, and where both are, nothing is known."""
        two = [container({"cpu": "500m"}, {"memory": "1Gi"}), container({"cpu": 1, "memory": "1Gi"}, {"cpu": 2})]
        self.assertEqual(
            self.needs(containers=two), {"cpu": "1.500", "requests.cpu": "1.500"} | _both("memory", 2 * 2**30)
        )
        self.assertEqual(self.needs(containers=[*two, container()]), {})

    def test_init_containers(self) -> None:
        """They run one after the other and before the rest, but sidecars, which stay (KEP-753)."""
        main = [container({"cpu": 2})]
        for init, cpu in (
            ([container({"cpu": 1})], 2),
            ([container({"cpu": 5}), container({"cpu": 4})], 5),
            ([container({"cpu": 1}, restartPolicy="Always")], 3),
            ([container({"cpu": 3}, restartPolicy="Always")], 5),
            ([container({"cpu": 1}, restartPolicy="Always"), container({"cpu": 3})], 4),
            ([container({"cpu": 3}), container({"cpu": 1}, restartPolicy="Always")], 3),
        ):
            self.assertEqual(self.needs(containers=main, initContainers=init), _both("cpu", cpu))
        self.assertEqual(self.needs(containers=main, initContainers=[container()]), {})

    def test_overhead(self) -> None:
        """A runtime's overhead counts; where admission adds it, and for resources of whole pods, nothing is known."""
        main = [container({"cpu": 2})]
        overhead = {"overhead": {"cpu": "1"}, "runtimeClassName": "kata"}
        self.assertEqual(self.needs(containers=main, **overhead), _both("cpu", 3))
        self.assertEqual(self.needs(containers=main, runtimeClassName="kata"), {})
        self.assertEqual(self.needs(containers=main, resources={"requests": {"cpu": 9}}), {})

    def test_a_workload(self) -> None:
        """A pod is one pod; those that there are count, whether they are ready or not."""
        found = decode_workload(workload()).surroundings(None, None)
        self.assertEqual(found, Surroundings("u", 3, {"pods": Decimal(1), "count/pods": Decimal(1)}, None, None))
        for body in (b"{", b"{}", workload().replace(b'"u"', b'"\\n"')):
            self.assertRaises(BadAnswer, decode_workload, body)


def _both(resource: str, amount: int) -> dict[str, str]:
    return {resource: str(amount), f"requests.{resource}": str(amount)}


class QuotaTests(SynchronousTestCase):
    """ResourceQuotas."""

    def test_limits(self) -> None:
        """What is allowed is the spec's, what is used the status'; quotas are sorted, and so are their limits."""
        first, second = decode_quotas(
            items(quota("z", hard={"pods": "4"}), quota("a", {"pods": "3"}, hard={"requests.cpu": "2", "pods": 5}))
        )
        self.assertEqual((first.name, second.name), ("a", "z"))
        self.assertEqual([limit.resource for limit in first.limits], ["pods", "requests.cpu"])
        pods = first.limits[0]
        self.assertEqual((pods.hard, pods.used, pods.most, pods.free), ("5", "3", 5, 2))
        self.assertEqual(decode_quotas(b'{"items":null}'), ())
        self.assertEqual(decode_quotas(items({"metadata": {"name": "x"}}))[0].limits, ())

    def test_scopes(self) -> None:
        """Those of both kinds are told."""
        selector = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
        (found,) = decode_quotas(items(quota(scopes=["NotBestEffort"], scopeSelector=selector)))
        self.assertEqual(found.scopes, ("NotBestEffort", "PriorityClass"))

    def test_what_it_stands_for(self) -> None:
        """All that it allows, and whom, is in it; what is used is not, nor the order in which it is written."""

        def stands(drawn: dict[str, Any]) -> str:
            return decode_quotas(items(drawn))[0].stands

        two = {"pods": "4", "cpu": "1"}
        self.assertEqual(stands(quota(hard=two)), stands(quota(used={"pods": "3"}, hard=dict(reversed(two.items())))))
        different: list[dict[str, Any]] = [
            {"hard": {**two, "cpu": "2"}},
            {"hard": {"pods": "4"}},
            {"hard": two, "scopes": ["Terminating"]},
        ]
        self.assertEqual(len({stands(quota(**spec)) for spec in ({"hard": two}, *different)}), 4)

    def test_nonsense(self) -> None:
        """What cannot be read is said to be so."""
        for body in (b"[]", items({}), items(quota(hard={"pods": "many"})), items(quota(scopeSelector="x")), b'"\xff"'):
            self.assertRaises(BadAnswer, decode_quotas, body)


class BudgetTests(SynchronousTestCase):
    """PodDisruptionBudgets."""

    def covering(self, selector: Any, **labels: str) -> bool:
        """Whether a budget with this selector is for pods with these labels."""
        found = decode_workload(workload(labels=labels)).surroundings(
            None, decode_budgets(items(budget(selector=selector)))
        )
        return bool(found.budgets)

    def test_selectors(self) -> None:
        """Every requirement has to be met; an empty selector is for every pod, none at all for no pod."""
        self.assertTrue(self.covering({}, app="web"))
        self.assertFalse(self.covering(None, app="web"))
        self.assertTrue(self.covering({"matchLabels": {"app": "web"}}, app="web", tier="x"))
        self.assertFalse(self.covering({"matchLabels": {"app": "web", "tier": "y"}}, app="web", tier="x"))
        for operator, values, fits in (
            ("In", ["web", "api"], True),
            ("In", ["api"], False),
            ("NotIn", ["api"], True),
            ("NotIn", ["web"], False),
            ("Exists", None, True),
            ("DoesNotExist", None, False),
        ):
            expression = {"key": "app", "operator": operator, "values": values}
            self.assertEqual(self.covering({"matchExpressions": [expression]}, app="web"), fits, operator)
            self.assertEqual(
                self.covering({"matchExpressions": [expression]}, x="y"), operator in ("NotIn", "DoesNotExist")
            )

    def test_bounds(self) -> None:
        """Counts and percentages are told as they are written."""
        drawn = [budget("a", minAvailable=3, selector={}), budget("b", maxUnavailable="0%", selector={}), budget("c")]
        found = decode_workload(workload()).surroundings((), decode_budgets(items(*drawn)))
        self.assertEqual(found.budgets, (Budget("a", "3"), Budget("b", "", "0%")))
        self.assertRaises(BadAnswer, decode_budgets, b"[]")
