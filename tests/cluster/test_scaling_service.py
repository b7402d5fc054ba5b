"""The service that writes: in threads of its own, so many at a time, and the cache is told of each that succeeded."""

import gc

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.scaling import CONCURRENT_WRITES, ScalingService
from sre_server.cluster.transport import Transport
from sre_server.errors import ClusterUnreachable, Conflict, Unavailable
from sre_server.model import Deployment
from tests.fakes import FakeReactor, FakeReply, FakeTransport, InlinePool, deployment
from tests.wire import refusal, scale_body

WRITTEN = deployment(replicas=20, version="77")


def accepted() -> FakeReply:
    """Answer a write that succeeded."""
    return FakeReply(200, [scale_body(WRITTEN)])


class ScalingServiceTests(SynchronousTestCase):
    """Writes run in threads that the test starts; their answers reach the reactor when it gets to them."""

    def setUp(self) -> None:
        """Start the service."""
        self.reactor = FakeReactor()
        self.pool = InlinePool(inline=False)
        self.clusters: list[FakeTransport] = []
        self.written: list[Deployment] = []
        self.outcomes: list[Deployment | Failure] = []
        self.service = ScalingService(self.reactor, self.pool, self.connect, self.written.append)
        self.service.startService()

    def connect(self) -> Transport:
        """Make a connection to a cluster that accepts everything."""
        self.clusters.append(FakeTransport([accepted()] * 100))
        return self.clusters[-1]

    def scale(self) -> Deferred[Deployment]:
        """Ask for a write."""
        return self.service.scale("shop", "web", 20, self.outcomes.append)

    def run_one(self) -> None:
        """Run the oldest write, and let the reactor hear of it."""
        self.pool.run_one()
        self.reactor.advance(0)

    def test_success(self) -> None:
        """The cache is told of a write before its caller is, so that the next read sees it."""
        seen: list[list[Deployment]] = []

        def look(result: Deployment) -> Deployment:
            seen.append([*self.written])
            return result

        outcome = self.scale().addCallback(look)
        self.assertNoResult(outcome)
        self.run_one()
        self.assertEqual(self.successResultOf(outcome), WRITTEN)
        self.assertEqual(seen, [[WRITTEN]])

    def test_nothing_is_told_in_the_thread(self) -> None:
        """The cache is told in the reactor, never in the thread."""
        self.scale()
        self.pool.run_one()
        self.assertEqual(self.written, [])

    def test_failure(self) -> None:
        """A write that fails fails its caller, and the cache is told nothing."""
        outcome = self.scale()
        self.clusters[0].script.appendleft(refusal(409))
        self.run_one()
        self.failureResultOf(outcome, Conflict)
        self.assertEqual(self.written, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_caller_that_leaves(self) -> None:
        """A caller that leaves stops waiting at once; the write goes on, and the cache is told of it."""
        outcome = self.scale()
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        self.run_one()
        self.assertEqual(self.written, [WRITTEN])

    def test_failure_after_the_caller_left(self) -> None:
        """A write that fails after its caller left disturbs nobody."""
        outcome = self.scale()
        self.clusters[0].script.appendleft(refusal(409))
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        self.run_one()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_busy(self) -> None:
        """When every thread is taken a further write is refused at once, never queued; later ones are served again."""
        outcomes = [self.scale() for _ in range(CONCURRENT_WRITES)]
        refused = self.failureResultOf(self.scale(), Unavailable)
        self.assertEqual(refused.value.retry_after, 1)
        self.assertEqual(len(self.pool.pending), CONCURRENT_WRITES)
        self.run_one()
        outcomes.append(self.scale())
        while self.pool.pending:
            self.run_one()
        for outcome in outcomes:
            self.successResultOf(outcome)

    def test_callers_that_left_still_count(self) -> None:
        """A write whose caller left takes its thread until it ends."""
        for _ in range(CONCURRENT_WRITES):
            outcome = self.scale()
            outcome.cancel()
            self.failureResultOf(outcome, CancelledError)
        self.failureResultOf(self.scale(), Unavailable)

    def test_connections_are_reused_one_at_a_time(self) -> None:
        """Writes one after the other share a connection; writes at the same time each have their own."""
        for _ in range(3):
            self.scale()
            self.run_one()
        self.assertEqual(len(self.clusters), 1)
        self.scale()
        self.scale()
        self.assertEqual(len(self.clusters), 2)
        self.run_one()
        self.run_one()
        self.assertEqual([len(cluster.requests) for cluster in self.clusters], [4, 1])

    def test_failed_connection_is_reused(self) -> None:
        """A write that failed gives its connection back like any other."""
        outcome = self.scale()
        self.clusters[0].script.appendleft(ClusterUnreachable("refused"))
        self.run_one()
        self.failureResultOf(outcome, ClusterUnreachable)
        self.scale()
        self.assertEqual(len(self.clusters), 1)

    def test_cache_that_fails(self) -> None:
        """Even a bug in the cache does not leave the caller of a write that succeeded waiting; it is logged."""

        def fail(written: Deployment) -> None:
            raise ValueError(written)

        self.service = ScalingService(self.reactor, self.pool, self.connect, fail)
        outcome = self.scale()
        self.run_one()
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.successResultOf(outcome), WRITTEN)

    def test_stopped_when_idle(self) -> None:
        """Stopping lets idle threads go, and does not wait for a busy one."""
        self.scale()
        self.service.stopService()
        self.assertFalse(self.pool.stopped)
        self.run_one()
        self.service.stopService()
        self.assertTrue(self.pool.stopped)
