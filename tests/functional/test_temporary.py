"""Temporary counts on the simulated cluster: two servers, of which one is killed at the worst moment."""

import signal

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon
from tests.functional.simulated import Simulator

STORE = "default/temporary-counts"
URL = "/deployments/shop/cart/temporary"


class TemporaryTests(SynchronousTestCase):
    """A simulated cluster of its own process, so that it outlives the servers."""

    def setUp(self) -> None:
        """Start it."""
        self.simulator = Simulator(temporary_folder(self))
        self.addCleanup(self.simulator.close)

    def serve(self) -> Daemon:
        """Start a server."""
        options = ("--cluster=kubeconfig", f"--kubeconfig={self.simulator.kubeconfig}", f"--temporary-store={STORE}")
        daemon = Daemon(temporary_folder(self), *options)
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        return daemon

    def replicas(self) -> int:
        """The count that the cluster has."""
        count: int = self.simulator.call("GET", "/apis/apps/v1/namespaces/shop/deployments/cart")["spec"]["replicas"]
        return count

    def noted(self) -> dict[str, str]:
        """What is noted."""
        found = self.simulator.call("GET", "/api/v1/namespaces/default/configmaps/temporary-counts")
        data: dict[str, str] = found.get("data") or {}
        return data

    def test_there_and_back(self) -> None:
        """A count for two seconds: seen by both servers, set back by one, and the note is gone."""
        first, second = self.serve(), self.serve()
        answer = first.put(URL, {"replicas": 9, "for": "1h"})
        self.assertEqual((answer.status, answer.json["original"], self.replicas()), (201, 3, 9))
        second.wait_for(lambda: second.get(URL).status == 200, "aware of it")
        self.assertIn(first.put(URL, {"replicas": 9, "for": "2s"}).status, (200, 201))
        second.wait_for(lambda: not self.noted(), "done")
        self.assertEqual(self.replicas(), 3)
        second.wait_for(lambda: second.get(URL).status == 404, "aware of the end")
        self.assertEqual(second.get("/temporary").json, {"temporary": []})

    def test_killed_before_the_return(self) -> None:
        """A server that is killed once it has claimed: another one takes over after 30 s, and sets the count back."""
        first = self.serve()
        # While its writes hang, a claim is as far as it gets.
        self.simulator.faults({"kind": "hang", "verb": "patch", "resource": "scale", "skip": 1})
        self.assertEqual(first.put(URL, {"replicas": 9, "for": "1s"}).status, 201)
        first.wait_for(lambda: '"claim"' in "".join(self.noted().values()), "claiming")
        first.send_signal(signal.SIGKILL)
        first.wait()
        self.simulator.faults()
        self.assertEqual(self.replicas(), 9)
        second = self.serve()
        second.wait_for(lambda: not self.noted(), "done", 60)
        self.assertEqual(self.replicas(), 3)
