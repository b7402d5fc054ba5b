"""docs/iam.md on what the server can do without: each right refused by the cluster, while everything else goes on."""

import re
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon
from tests.functional.simulated import Simulator
from tests.guides import DOCS

CART: Final = "/deployments/shop/cart"
STOREFRONT: Final = "/deployments/shop/storefront"
GRAFANA: Final = "/deployments/monitoring/grafana"
_ROW: Final = re.compile(r"^\| (?P<verbs>(?:`\w+`(?:, )?)+) of `(?P<resource>\w+)`", re.MULTILINE)


def rights() -> set[tuple[str, str]]:
    """Return the first verb and the resource of each row of the table."""
    section = (DOCS / "iam.md").read_text(encoding="utf-8").partition("## What it can do without\n")[2]
    rows = _ROW.finditer(section.partition("\n## ")[0])
    return {(row["verbs"].split("`")[1], row["resource"]) for row in rows}


class OptionalRightsTests(SynchronousTestCase):
    """A daemon in front of a cluster that refuses one right from the beginning."""

    walked: Final = {
        ("create", "events"),
        ("get", "configmaps"),
        ("list", "events"),
        ("list", "horizontalpodautoscalers"),
        ("list", "poddisruptionbudgets"),
        ("list", "pods"),
        ("list", "resourcequotas"),
    }

    def test_all_are_walked(self) -> None:
        """The table has the rights that are tried here, and no other ones."""
        self.assertEqual(rights(), self.walked)

    def start(self, resource: str, *verbs: str) -> None:
        """Start a daemon without a right, and see that what needs no optional one is as ever."""
        folder = temporary_folder(self)
        self.simulator = Simulator(folder)
        self.addCleanup(self.simulator.close)
        refusal = {"kind": "status", "code": 403, "message": "not for you", "resource": resource}
        self.simulator.faults(*([{**refusal, "verb": verb} for verb in verbs] or [refusal]))
        options = ("--cluster=kubeconfig", f"--kubeconfig={self.simulator.kubeconfig}")
        self.daemon = Daemon(folder, *options, "--temporary-store=default/temporary-counts")
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        for path in ("/deployments", "/namespaces", f"{CART}/replicas", CART):
            self.assertEqual(self.daemon.get(path).status, 200, path)
        written = self.daemon.put(f"{CART}/replicas", {"replicas": 4}, Prefer="wait=20")
        self.assertEqual((written.status, written.json["outcome"]), (200, "available"))

    def assert_told(self, what: str) -> None:
        """The server is ready all the same, and readyz?verbose names the right."""

        def told() -> bool:
            answer = self.daemon.ops("/readyz?verbose")
            return answer.status == 200 and any(what in warning for warning in answer.json["warnings"])

        self.daemon.wait_for(told, f"missing {what}")

    def test_autoscalers(self) -> None:
        """Without them the picture says that they are not known, and what one would undo is not refused."""
        self.start("horizontalpodautoscalers")
        picture: dict[str, Any] = self.daemon.get(STOREFRONT).json
        self.assertEqual((picture["autoscaler"], picture["not_known"]), (None, ["autoscaler"]))
        self.assertEqual(self.daemon.put(f"{STOREFRONT}/replicas", {"replicas": 2}).status, 200)
        self.assert_told("horizontalpodautoscalers")

    def test_pods(self) -> None:
        """Without them it is not known why they do not run; what the Deployment itself tells is told."""
        self.start("pods")
        waited = self.daemon.put(f"{GRAFANA}/replicas", {"replicas": 2}, Prefer="wait=8").json
        self.assertEqual(waited["outcome"], "waiting")
        self.assertIn("1 are available", waited["cause"])
        self.assertIn("not known", waited["cause"])
        refused = self.daemon.put("/deployments/payments/gateway/replicas", {"replicas": 9}, Prefer="wait=20").json
        self.assertEqual(refused["outcome"], "quota")
        self.assert_told("list pods")

    def plan(self, name: str, replicas: int) -> tuple[str, set[str]]:
        """Plan a count of a Deployment in payments; return the verdict, and what is found."""
        path, form = f"/deployments/payments/{name}/plan", {"Content-Type": "application/json"}
        answer = self.daemon.request("POST", path, b'{"replicas": %d}' % replicas, form)
        self.assertEqual(answer.status, 200)
        return answer.json["verdict"], {f"{each['about']}: {each['message']}" for each in answer.json["findings"]}

    def test_quotas(self) -> None:
        """Without them a plan says that they are not known, and finds the rest."""
        self.start("resourcequotas")
        verdict, found = self.plan("gateway", 9)
        self.assertEqual(verdict, "may not hold")
        self.assertEqual(found, {"not known: Whether a ResourceQuota allows so many pods is not known."})
        self.assertTrue(any("PodDisruptionBudget ledger" in each for each in self.plan("ledger", 2)[1]))
        self.assert_told("list resourcequotas")

    def test_disruption_budgets(self) -> None:
        """Without them a plan says that they are not known, and finds the rest."""
        self.start("poddisruptionbudgets")
        unknown = "not known: Whether a PodDisruptionBudget holds up drains of nodes then is not known."
        self.assertEqual(self.plan("ledger", 2), ("will hold", {unknown}))
        self.assertTrue(any(each.startswith("quota: ") for each in self.plan("gateway", 9)[1]))
        self.assert_told("list poddisruptionbudgets")

    def test_temporary_counts(self) -> None:
        """Without their ConfigMap these calls alone are 503, and say why."""
        self.start("configmaps")
        for answer in (
            self.daemon.get("/temporary"),
            self.daemon.get(f"{CART}/temporary"),
            self.daemon.put(f"{CART}/temporary", {"replicas": 5, "for": "1h"}),
        ):
            self.assertEqual(answer.status, 503, answer)
            self.assertIn("--temporary-store has not been heard of", answer.json["message"])
        picture = self.daemon.get(CART).json
        self.assertEqual((picture["replicas"], picture["not_known"]), (4, ["temporary"]))
        self.assert_told("configmaps")

    def test_events(self) -> None:
        """Without them writes leave no Event."""
        self.start("events", "create")
        self.assert_told("create events")

    def test_authors(self) -> None:
        """Without reading them it is known of this server's own writes alone who made them."""
        self.start("events", "list", "watch")
        self.simulator.scale("shop", "cart", 0)
        changes = f"{CART}/changes"
        self.daemon.wait_for(lambda: len(self.daemon.get(changes).json["changes"]) == 2, "telling of both changes")
        self.assertEqual([each["by"] for each in self.daemon.get(changes).json["changes"]], ["alice", None])
        self.assert_told("events")
