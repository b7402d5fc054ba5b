"""The feed told to stop: waits end, cycles are interrupted, and nothing waits for a thread that hangs."""

import random
import threading

from twisted.internet.defer import Deferred

from sre_server.cluster.feed import Feed
from sre_server.cluster.workers import Bounds, DaemonThreadPool, Workers
from sre_server.news import Changed
from tests.feeding import SOURCE, FakeCycle, FeedTestCase


class StoppingTests(FeedTestCase):
    """`stopService`."""

    def stop(self, feed: Feed) -> Deferred[None]:
        """Tell the feed to stop."""
        stopped = feed.stopService()
        self.assertFalse(feed.running)
        return stopped

    def test_wait_is_cancelled(self) -> None:
        """A loop that waits after a failure ends at once, and leaves no timer behind."""
        feed = self.start(FakeCycle())
        self.run_one()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.successResultOf(self.stop(feed))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(len(self.pool.pending), 0)
        self.assertTrue(self.pool.stopped)
        self.assertTrue(feed.alive)

    def test_running_cycle_is_interrupted(self) -> None:
        """A cycle in its thread is interrupted, and stopping ends when it has; its error is no news."""
        cycle = FakeCycle()
        feed = self.start(cycle)
        stopped = self.stop(feed)
        self.assertEqual(cycle.interrupted, 1)
        self.assertNoResult(stopped)
        self.assertFalse(self.pool.stopped)
        self.run_one()
        self.successResultOf(stopped)
        self.assertTrue(self.pool.stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual((cycle.count, len(self.pool.pending)), (1, 0))

    def test_good_end_of_a_cycle_is_the_last(self) -> None:
        """A cycle that ends in good order while stopping is not followed by another."""
        cycle = FakeCycle()
        cycle.outcome = lambda emit: emit(Changed(SOURCE, 0))
        feed = self.start(cycle)
        stopped = self.stop(feed)
        self.run_one()
        self.successResultOf(stopped)
        self.assertEqual(len(self.pool.pending), 0)

    def test_hung_cycle_is_given_up(self) -> None:
        """A thread that hangs is left behind after 2 s: its pool is not stopped, as that would wait for the thread."""
        feed = self.start(FakeCycle(), FakeCycle())
        stopped = self.stop(feed)
        self.run_one()
        self.reactor.advance(1.9)
        self.assertNoResult(stopped)
        self.reactor.advance(0.2)
        self.successResultOf(stopped)
        self.assertFalse(self.pool.stopped)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_hung_thread_does_not_block_the_reactor(self) -> None:
        """With a real pool, too, stopping does not wait for a thread that hangs in the network."""
        release, running = threading.Event(), threading.Event()
        pool = DaemonThreadPool(1, "test")
        self.addCleanup(pool.stop)
        self.addCleanup(release.set)
        cycle = FakeCycle()

        def hang(emit: object) -> None:
            running.set()
            release.wait(10)

        cycle.outcome = hang
        workers = Workers(self.reactor, "watches", Bounds(1, 1), pool)
        feed = Feed(self.reactor, workers, [cycle], self.applied.append, random.Random(1))  # noqa: S311
        feed.startService()
        self.assertTrue(running.wait(10))
        stopped = self.stop(feed)
        watchdog = threading.Timer(30, release.set)
        watchdog.daemon = True
        watchdog.start()
        self.reactor.advance(2.1)
        hung = not release.is_set()
        watchdog.cancel()
        self.successResultOf(stopped)
        self.assertTrue(hung, "stopping waited for the thread")

    def test_late_end_of_a_hung_cycle(self) -> None:
        """A thread that ends after it was given up disturbs nobody."""
        feed = self.start(FakeCycle())
        stopped = self.stop(feed)
        self.reactor.advance(2.1)
        self.successResultOf(stopped)
        self.run_one()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(len(self.pool.pending), 0)
