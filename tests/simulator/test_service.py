"""The simulator as a service, with a reactor in memory."""

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator.__main__ import kubeconfig
from sre_server.simulator.service import SimulatorService
from sre_server.simulator.store import SimulatedCluster


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
        """A started service listens on the loopback interface and says where, in a kubeconfig, too."""
        self.service.startService()
        ((port, _, _, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (8001, "127.0.0.1"))
        self.assertTrue(self.service.url.startswith("http://127.0.0.1:"))
        config = kubeconfig(self.service.url)
        self.assertEqual(config["clusters"][0]["cluster"], {"server": self.service.url})
        self.assertEqual(config["current-context"], config["contexts"][0]["name"])

    def test_bind_failure(self) -> None:
        """A port that cannot be had is an error of the start, not a log line."""

        def refuse(port: int, *args: object, **kwargs: object) -> None:
            raise CannotListenError("127.0.0.1", port, OSError("in use"))

        self.patch(self.reactor, "listenTCP", refuse)
        self.assertRaises(CannotListenError, self.service.startService)

    def test_stop(self) -> None:
        """A stopped service leaves no timer of the cluster behind."""
        self.service.startService()
        self.cluster.scale("shop", "cart", lambda _: {"spec": {"replicas": 9}})
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertFalse(self.service.running)

    def test_unplug(self) -> None:
        """A service that was unplugged for a while listens again on its port; stopping forgets about that."""
        self.service.startService()
        number = int(self.service.url.rpartition(":")[2])
        self.service.unplug(3)
        self.reactor.advance(3)
        self.assertEqual([entry[0] for entry in self.reactor.tcpServers], [8001, number])
        self.service.unplug(3)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
