"""The Lease of the watchers, against a cluster that keeps one object."""

from typing import Any

import msgspec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.lease import LeaseHolder
from sre_server.cluster.whose import cluster_uid
from sre_server.errors import ClusterRefused, ClusterUnreachable
from tests.fakes import FakeReply, FakeTransport


class LeaseServer(FakeTransport):
    """A cluster with one Lease, or none yet."""

    def __init__(self) -> None:
        super().__init__()
        self.lease: dict[str, Any] | None = None
        self.version = 1
        self.away = False

    def request(
        self, method: str, path: str, query: Any, *, read_timeout: float, headers: Any = None, body: Any = None
    ) -> Any:
        """Answer as the API server does."""
        if self.away:
            raise ClusterUnreachable("away")
        if method == "GET":
            return FakeReply(200, [msgspec.json.encode(self.lease)]) if self.lease else FakeReply(404, [b"{}"])
        written = msgspec.json.decode(body)
        if method == "PUT" and written["metadata"]["resourceVersion"] != str(self.version):
            return FakeReply(409, [b"{}"])
        self.version += 1
        self.lease = {**written, "metadata": {**written["metadata"], "resourceVersion": str(self.version)}}
        return FakeReply(201 if method == "POST" else 200, [msgspec.json.encode(self.lease)])


class LeaseTests(SynchronousTestCase):
    """Two processes that want it."""

    def setUp(self) -> None:
        """Have both, and a clock."""
        self.clock = Clock()
        self.server = LeaseServer()
        self.one, self.two = (LeaseHolder("sre", "watch", self.server, self.clock.seconds) for _ in range(2))

    def spend(self, seconds: int, *holders: LeaseHolder) -> None:
        """Let these try as often as they do."""
        for _ in range(0, seconds, 2):
            for holder in holders:
                holder.attempt()
            self.clock.advance(2)

    def test_one_leads(self) -> None:
        """Whoever makes it has it, for as long as it is renewed; the other one waits."""
        self.spend(60, self.one, self.two)
        self.assertTrue(self.one.fresh())
        self.assertFalse(self.two.holds())
        assert self.server.lease is not None
        self.assertEqual(self.server.lease["spec"]["leaseTransitions"], 0)

    def test_taking_over(self) -> None:
        """One that is not renewed ends for its holder before anybody else takes it, 15 s after its last renewal."""
        self.spend(10, self.one, self.two)
        waited = 0
        while not self.two.holds():
            self.spend(2, self.two)
            waited += 2
            self.assertFalse(self.two.holds() and self.one.holds())
        self.assertLessEqual(waited, 20)
        self.spend(2, self.one)
        self.assertFalse(self.one.holds())

    def test_the_cluster_is_away(self) -> None:
        """Who cannot renew it does not hold it for longer than 10 s, nor begins anything after 5."""
        self.spend(2, self.one)
        self.server.away = True
        self.assertRaises(ClusterUnreachable, self.one.attempt)
        self.clock.advance(4)
        self.assertTrue(self.one.holds())
        self.assertFalse(self.one.fresh())
        self.clock.advance(4)
        self.assertFalse(self.one.holds())

    def test_letting_go(self) -> None:
        """Who is told to end lets it go, and the next one has it at once."""
        self.spend(2, self.one, self.two)
        self.one.interrupt()
        self.one.cycle(lambda _: None)
        self.assertFalse(self.one.holds())
        self.two.attempt()
        self.assertTrue(self.two.holds())

    def test_nothing_to_let_go(self) -> None:
        """Who does not hold it leaves it alone."""
        self.spend(2, self.one, self.two)
        self.two.interrupt()
        self.two.cycle(lambda _: None)
        self.spend(2, self.one)
        self.assertTrue(self.one.holds())

    def test_it_is_refused(self) -> None:
        """A cluster that forbids it says so."""
        transport = FakeTransport([FakeReply(403, [b"{}"])])
        self.assertRaises(ClusterRefused, LeaseHolder("sre", "watch", transport, self.clock.seconds).attempt)


class WhoseTests(SynchronousTestCase):
    """Which cluster it is."""

    def test_uid(self) -> None:
        """It is the UID of kube-system."""
        body = b'{"metadata": {"name": "kube-system", "uid": "u-1", "resourceVersion": "4"}}'
        transport = FakeTransport([FakeReply(200, [body])])
        self.assertEqual(cluster_uid(transport), "u-1")
        self.assertEqual(transport.requests, [("GET", "/api/v1/namespaces/kube-system", {})])
