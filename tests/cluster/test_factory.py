"""What the factory of the room makes, without a cluster, a thread or a timer."""

import threading
from collections.abc import Sequence

from twisted.application.service import Service
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.access import Credentials
from sre_server.cluster.credentials import Unauthenticated
from sre_server.cluster.factory import Cluster, make_cluster
from sre_server.cluster.feed import Feed
from sre_server.cluster.permissions import Permissions
from sre_server.cluster.polling import NamespacePoller
from sre_server.cluster.workers import DaemonThreadPool, Workers
from sre_server.errors import Unavailable
from sre_server.model import Author, Expected
from sre_server.news import Event, sources_of
from tests.fakes import FakeReactor, deployment


class FactoryTests(SynchronousTestCase):
    """`make_cluster`, with a reactor that does nothing."""

    def setUp(self) -> None:
        """Have a reactor."""
        self.reactor = FakeReactor()
        self.applied: list[Event] = []

    def make(self, namespaces: Sequence[str] = (), *, probe: bool = False) -> Cluster:
        """Make it, for a cluster at a URL that nobody asks for."""

        def credentials() -> Credentials:
            return Unauthenticated(lambda: self.fail("the cluster was asked for"))

        return make_cluster(
            self.reactor,
            credentials,
            sources_of(namespaces),
            self.applied.append,
            observe=print,
            cycle_ended=self.fail,
            permissions=Permissions(),
            probe=probe,
        )

    def test_making_does_nothing_yet(self) -> None:
        """No thread runs, no timer, and no request is made."""
        threads = set(threading.enumerate())
        for namespaces in ((), ("shop", "staff")):
            cluster = self.make(namespaces, probe=True)
            self.assertTrue(cluster.feed.alive)
            self.assertEqual([service.running for service in cluster.services], [0] * 8)
        self.assertEqual(set(threading.enumerate()), threads)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_nothing_is_asked_before_the_start(self) -> None:
        """What is asked of it then is refused, and worth repeating."""
        cluster = self.make()
        self.failureResultOf(cluster.scaling.scale("alice", "shop", "web", 3, Expected("u")), Unavailable)
        for for_write in (False, True):
            self.failureResultOf(cluster.reviews.review({"user": "alice"}, for_write=for_write), Unavailable)
        cluster.events.record(deployment(), 3, Author("alice", before=3))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_is_watched(self) -> None:
        """With namespaces there is one watch for each, and each is looked up on its own."""
        for namespaces, expected in (
            ((), ["namespaces", "deployments"]),
            (
                ("shop", "staff"),
                ["namespaces in shop", "deployments in shop", "namespaces in staff", "deployments in staff"],
            ),
        ):
            cycles = self.make(namespaces).feed._cycles
            self.assertEqual([str(cycle.source) for cycle in cycles], expected)
            self.assertEqual(isinstance(cycles[0], NamespacePoller), bool(namespaces))

    def test_threads_are_daemons_of_our_own(self) -> None:
        """Blocking calls run in pools that neither starve the reactor's nor outlive the process."""
        pools = [_workers_of(service)._pool for service in self.make(("a", "b")).services]
        self.assertEqual({type(pool) for pool in pools}, {DaemonThreadPool})
        self.assertEqual([pool.max for pool in pools], [4, 8, 8, 2, 8, 16, 1])


def _workers_of(service: Service) -> Workers:
    workers = service._workers if isinstance(service, Feed) else service
    assert isinstance(workers, Workers)
    return workers
