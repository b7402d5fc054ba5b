"""Changes of counts as two servers of one cluster tell them, in their log too; and the loop that puts counts back."""

import json
import signal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon
from tests.functional.restoring import restore
from tests.functional.simulated import Simulator

CART = "/deployments/shop/cart"
MEANT = "?confirm=mass&confirm=autoscaler"


class ChangesTests(SynchronousTestCase):
    """Two servers of one simulated cluster."""

    def setUp(self) -> None:
        """Start all three."""
        folder = temporary_folder(self)
        self.simulator = Simulator(folder)
        self.addCleanup(self.simulator.close)
        first, second = folder / "first", folder / "second"
        for each in (first, second):
            each.mkdir()
        options = [f"--kubeconfig={self.simulator.kubeconfig}", "--cluster=kubeconfig"]
        self.ours = Daemon(first, *options, "--log-format=json")
        self.addCleanup(self.ours.close)
        self.other = Daemon(second, *options, authority=self.ours.authority)
        self.addCleanup(self.other.close)
        for daemon in (self.ours, self.other):
            daemon.wait_until_ready()

    def changes(self, daemon: Daemon, path: str = f"{CART}/changes") -> list[dict[str, Any]]:
        """What a server tells."""
        answer = daemon.get(path)
        self.assertEqual(answer.status, 200)
        told: list[dict[str, Any]] = answer.json["changes"]
        return told

    def test_the_author_on_another_server(self) -> None:
        """The one that wrote knows at once who it was, the other one by the Event; one line in the log tells it."""
        self.other.wait_for_line("events: listed")
        headers = {"X-Reason": "a sale", "X-Request-Id": "r-1"}
        self.assertEqual(self.ours.put(f"{CART}/replicas", {"replicas": 0}, **headers).status, 200)
        (written,) = self.changes(self.ours)
        self.assertEqual((written["by"], written["reason"]), ("alice", "a sale"))
        self.other.wait_for(lambda: any(each["by"] for each in self.changes(self.other)), "knowing the author")
        (heard,) = self.changes(self.other)
        self.assertEqual({**heard, "at": ""}, {**written, "at": ""})
        self.simulator.scale("shop", "cart", 4)
        self.ours.wait_for(lambda: len(self.changes(self.ours)) == 2, "telling of the second")
        self.assertIsNone(self.changes(self.ours)[1]["by"])
        self.ours.send_signal(signal.SIGTERM)
        self.ours.wait()
        lines = [json.loads(line) for line in self.ours.output().splitlines() if line.startswith("{")]
        logged = [line for line in lines if line.get("event") == "count changed"]
        told = [(line["after"], line["by"], line["because"]) for line in logged]
        self.assertEqual(told, [(0, "alice", "a sale"), (4, None, None)])
        self.assertEqual((logged[0]["namespace"], logged[0]["deployment"], logged[0]["gap"]), ("shop", "cart", False))

    def test_an_outage(self) -> None:
        """What happened while the cluster was out of reach is told as a gap."""
        self.simulator.scale("shop", "cart", 9)
        self.ours.wait_for(lambda: len(self.changes(self.ours)) == 1, "telling of the first")
        expired = {"kind": "error-event", "code": 410, "verb": "watch", "resource": "deployments"}
        self.simulator.faults(expired, {"kind": "status", "code": 503, "verb": "list", "resource": "deployments"})
        self.simulator.scale("shop", "cart", 2)
        self.simulator.faults()
        self.ours.wait_for(lambda: len(self.changes(self.ours)) == 2, "telling of what a list found")
        self.assertEqual([(each["after"], each["gap"]) for each in self.changes(self.ours)], [(9, False), (2, True)])

    def test_the_loop(self) -> None:
        """It restores each to the first count since the time, whatever the steps; and again, it finds nothing to do."""
        began = {path: self.ours.get(path).json["replicas"] for path in self._paths()}
        since = self.ours.get("/changes").json["complete_since"]
        for count in (1, 0):
            for path in began:
                self.assertEqual(self.ours.put(path + MEANT, {"replicas": count}).status, 200)
        for namespace, name in (("shop", "cart"), ("shop", "catalog")):
            self.simulator.scale(namespace, name, 7)
        self.ours.wait_for(lambda: list(self._counts().values()).count(7) == 2, "telling of all")
        printed = restore(self.ours, since)
        self.assertEqual(printed.count("Successfully updated"), len(printed.splitlines()), printed)
        self.assertEqual(self._counts(), began)
        self.assertEqual(restore(self.ours, since), "")

    def _paths(self) -> list[str]:
        listed = self.ours.get("/deployments").json
        return [
            f"/deployments/{each['namespace']}/{name}/replicas"
            for each in listed
            for name in each["deployments"]
            if each["namespace"] != "kube-system"
        ]

    def _counts(self) -> dict[str, int]:
        return {path: self.ours.get(path).json["replicas"] for path in self._paths()}
