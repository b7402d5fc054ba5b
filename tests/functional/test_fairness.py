"""Two clients, one of whom floods: the other one's requests all succeed, about as fast as if it were alone."""

import tempfile
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.asking import Asked, Asking
from tests.functional.daemon import Daemon
from tests.functional.load import Records, pause, report

pytestmark = pytest.mark.xdist_group("load")

REPLICAS = "/deployments/shop/cart/replicas"
EVERY = "/namespaces/ANY/deployments/ANY/replica_count"


class FairnessTests(SynchronousTestCase):
    """Alice floods, and Bob asks gently."""

    def _gentle(self, seconds: float) -> Asked:
        asking = Asking(self.daemon, REPLICAS, self.bob, every=0.02)
        pause(seconds)
        asked = asking.stop()
        self.assertEqual((list(asked.statuses), asked.failures), (["200"], []))
        return asked

    def _flood(self, name: str, path: str, connections: int, *options: str) -> Asked:
        """Compare Bob alone with Bob beside the flood; return what came of the flood."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.daemon = Daemon(Path(folder.name), "--cluster=simulated", *options)
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        self.bob = self.daemon.authority.issue("bob")
        idle = self._gentle(2)
        flood = Asking(self.daemon, path, self.daemon.client, connections)
        self.daemon.wait_for(lambda: "alice GET" in self.daemon.said(), "flooded")
        pause(0.5)
        busy = self._gentle(3)
        flooded = flood.stop()
        ratios = ", ".join(f"p{n} x{busy.percentile(n) / idle.percentile(n):.1f}" for n in (50, 99))
        report(f"{name}: alone {idle}; beside the flood {busy}: {ratios}; the flood {flooded}")
        return flooded

    def test_records_of_a_byte(self) -> None:
        """Requests of 16 kB in TLS records of one byte each cost others little more than the same in one record."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.daemon = Daemon(Path(folder.name), "--cluster=simulated")
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        self.bob = self.daemon.authority.issue("bob")
        request = b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Filler: %s\r\n\r\n" % (b"x" * 15_000)
        connections = [Records(self.daemon) for _ in range(12)]
        figures: dict[int, Asked] = {}
        for size in (16_384, 1):
            asking = Asking(self.daemon, REPLICAS, self.bob, every=0.005)
            for turn in range(20):
                answer = connections[turn % 12].ask(request, size)
                self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer)
                pause(0.05)
            figures[size] = asking.stop()
            self.assertEqual((list(figures[size].statuses), figures[size].failures), (["200"], []))
        for connection in connections:
            connection.close()
        plain, small = figures[16_384], figures[1]
        ratios = ", ".join(f"p{n} x{small.percentile(n) / plain.percentile(n):.1f}" for n in (50, 99))
        report(f"16 kB in one record {plain}; in records of a byte {small}: {ratios}")

    def test_more_than_the_rate(self) -> None:
        """A flood of small reads far above the rate is mostly refused, and fails nobody else."""
        flooded = self._flood("100 connections, 100 reads a second allowed", REPLICAS, 100, "--read-rate=100:100")
        self.assertIn("429", flooded.statuses)

    def test_large_lists(self) -> None:
        """A flood of large lists within the rate fails nobody else."""
        self._flood("20 connections, lists of 5,000", EVERY, 20, "--simulated-deployments=5000")

    def test_defaults(self) -> None:
        """A flood at the default limits fails nobody else."""
        self._flood("100 connections, default limits", REPLICAS, 100)
