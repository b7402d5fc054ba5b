"""The simulator as a service: its port, its control door, its kubeconfig; with a reactor in memory."""

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator import __main__ as main
from sre_server.simulator.faults import Fault
from sre_server.simulator.reviews import Rule
from sre_server.simulator.service import SimulatorService
from sre_server.simulator.store import SimulatedCluster
from sre_server.simulator.testtools import Wire


class ServiceTests(SynchronousTestCase):
    """Starting and stopping."""

    def setUp(self) -> None:
        """Make a service that has not started."""
        self.reactor = MemoryReactorClock()
        self.cluster = SimulatedCluster(self.reactor)
        self.service = SimulatorService(self.reactor, self.cluster, port=8001)

    def test_nothing_before_start(self) -> None:
        """A service that was only made listens nowhere and has no address."""
        service = SimulatorService(self.reactor, self.cluster)
        self.assertEqual(self.reactor.tcpServers, [])
        self.assertRaises(RuntimeError, lambda: service.url)

    def test_loopback_only(self) -> None:
        """A started service listens on the loopback interface and says where."""
        self.service.startService()
        ((port, _, _, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (8001, "127.0.0.1"))
        self.assertTrue(self.service.url.startswith("http://127.0.0.1:"))

    def test_bind_failure(self) -> None:
        """A port that cannot be had is an error of the start, not a log line."""

        def refuse(port: int, *args: object, **kwargs: object) -> None:
            raise CannotListenError("127.0.0.1", port, OSError("in use"))

        self.patch(self.reactor, "listenTCP", refuse)
        self.assertRaises(CannotListenError, self.service.startService)

    def test_stop(self) -> None:
        """A stopped service leaves no timer of the cluster behind."""
        self.service.startService()
        self.cluster.scale("shop", "cart", 9)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertFalse(self.service.running)

    def test_unplug_for(self) -> None:
        """A service that was unplugged for a while listens again on its port; stopping forgets about that."""
        self.service.startService()
        number = int(self.service.url.rpartition(":")[2])
        self.service.unplug_for(3)
        self.reactor.advance(3)
        self.assertEqual([entry[0] for entry in self.reactor.tcpServers], [8001, number])
        self.service.unplug_for(3)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ControlTests(SynchronousTestCase):
    """The control door, through which tests reach a simulator in another process."""

    def setUp(self) -> None:
        """Make a cluster with a door, whose API wants a token."""
        self.wire = Wire(control=True, token="sesame")

    def test_faults(self) -> None:
        """Faults are put, shown and deleted as JSON; what is put replaces what was on."""
        asked = {"faults": [{"kind": "status", "verb": "list", "times": 2, "code": 429, "retryAfter": 3}]}
        self.wire.go_wrong(Fault(kind="hang"))
        self.assertEqual(self.wire.request("PUT", "/simulator/faults", asked).json(), asked)
        self.assertEqual(self.wire.get("/simulator/faults").json(), asked)
        self.assertEqual(self.wire.get("/apis/apps/v1/deployments").status, 429)
        self.assertEqual(self.wire.request("DELETE", "/simulator/faults").json(), {"faults": []})
        self.assertEqual(self.wire.faults.active, [])

    def test_malformed(self) -> None:
        """Faults that are not known are refused, and what was on stays on."""
        self.wire.go_wrong(Fault(kind="hang"))
        for body in (b"{", b"[]", b'{"faults":[{"kind":"odd"}]}', b""):
            self.assertEqual(self.wire.request("PUT", "/simulator/faults", body).status, 400)
        self.assertEqual(len(self.wire.faults.active), 1)

    def test_reviews(self) -> None:
        """The rules of reviews are put, shown and deleted as JSON; what is not known is refused and changes nothing."""
        asked = {"rules": [{"user": "ann", "verb": "get", "allowed": False}, {"group": "sre", "name": "cart"}]}
        self.assertEqual(self.wire.get("/simulator/reviews").json(), {"rules": None})
        self.assertEqual(self.wire.request("PUT", "/simulator/reviews", asked).json(), asked)
        for body in (b"{", b"{}", b'{"rules":[{"typo":"x"}]}', b'{"rules":[{"allowed":"no"}]}'):
            self.assertEqual(self.wire.request("PUT", "/simulator/reviews", body).status, 400)
        self.assertEqual(self.wire.get("/simulator/reviews").json(), asked)
        self.assertEqual(
            self.wire.cluster.reviews.rules,
            [Rule(user="ann", verb="get", allowed=False), Rule(group="sre", name="cart")],
        )
        self.assertEqual(self.wire.request("PUT", "/simulator/reviews", {"rules": []}).json(), {"rules": []})
        self.assertEqual(self.wire.cluster.reviews.rules, [])
        self.assertEqual(self.wire.request("DELETE", "/simulator/reviews").json(), {"rules": None})
        self.wire.request("PUT", "/simulator/reviews", asked)
        self.assertEqual(self.wire.request("PUT", "/simulator/reviews", {"rules": None}).json(), {"rules": None})
        self.assertIsNone(self.wire.cluster.reviews.rules)

    def test_requests(self) -> None:
        """The journal shows the API's requests, not the door's own, and can be cleared."""
        self.wire.get("/apis/apps/v1/deployments?limit=1")
        told = self.wire.get("/simulator/requests").json()
        self.assertEqual(told["counts"], {"list deployments": 1})
        self.assertEqual([entry["uri"] for entry in told["requests"]], ["/apis/apps/v1/deployments?limit=1"])
        self.wire.request("DELETE", "/simulator/requests")
        self.assertEqual(self.wire.get("/simulator/requests").json(), {"requests": [], "counts": {}})

    def test_history(self) -> None:
        """The past can be forgotten and restored."""
        version = self.wire.cluster.version
        self.wire.cluster.scale("shop", "cart", 9)
        answer = self.wire.request("POST", "/simulator/restore", {"resourceVersion": str(version)})
        self.assertEqual(answer.json(), {"resourceVersion": str(version)})
        self.assertEqual(self.wire.cluster.deployment("shop", "cart")["spec"]["replicas"], 3)
        self.wire.cluster.scale("shop", "cart", 9)
        self.assertEqual(self.wire.request("POST", "/simulator/compact").status, 200)
        answer = self.wire.request("POST", "/simulator/restore", {"resourceVersion": str(version)})
        self.assertEqual(answer.status, 410)
        answer = self.wire.request("POST", "/simulator/restore", {"resourceVersion": "99999"})
        self.assertEqual(answer.status, 504)

    def test_unplug(self) -> None:
        """The API is taken off the network after the answer is out."""
        self.assertEqual(self.wire.request("POST", "/simulator/unplug", {"seconds": 3}).json(), {"seconds": 3.0})
        self.assertEqual(self.wire.unplugged, [])
        self.wire.clock.advance(1)
        self.assertEqual(self.wire.unplugged, [3.0])

    def test_closed_by_default(self) -> None:
        """Without being asked for, there is no door: the path is an unknown one."""
        self.assertEqual(Wire().get("/simulator/faults").json()["reason"], "NotFound")


class KubeconfigTests(SynchronousTestCase):
    """The kubeconfig that the standalone simulator writes."""

    def test_current_context(self) -> None:
        """It leads to the address, with the token where one is wanted."""
        config = main.kubeconfig("http://127.0.0.1:8001", "sesame")
        self.assertEqual(config["clusters"][0]["cluster"], {"server": "http://127.0.0.1:8001"})
        self.assertEqual(config["users"][0]["user"], {"token": "sesame"})
        self.assertEqual(config["current-context"], config["contexts"][0]["name"])
        self.assertEqual(main.kubeconfig("http://127.0.0.1:8001", None)["users"][0]["user"], {})
