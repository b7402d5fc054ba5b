"""The loops that keep the cache fed: each on its own, and patient after failures."""

import random
from collections.abc import Callable
from itertools import pairwise

from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.feed import backoff
from sre_server.errors import (
    ClusterBroke,
    ClusterRefused,
    ClusterUnreachable,
    Expired,
    Silent,
    StoreIncomplete,
    StoreUnreachable,
)
from sre_server.news import Changed, Event, Resource, Source
from tests.feeding import SOURCE, Constant, FakeCycle, FeedTestCase, Outcome, run


class BackoffTests(SynchronousTestCase):
    """The curve is client-go's: 0.8 s, doubled each time, up to twice as much by chance, never more than 30 s."""

    def test_shortest(self) -> None:
        """Without luck in the jitter the waits are the bare curve."""
        waits = [round(backoff(failures, Constant(0.0)), 9) for failures in range(1, 9)]
        self.assertEqual(waits, [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])

    def test_longest(self) -> None:
        """With all the jitter the waits are twice the curve."""
        waits = [round(backoff(failures, Constant(1.0)), 9) for failures in range(1, 8)]
        self.assertEqual(waits, [1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])

    def test_jitter(self) -> None:
        """Chance spreads the waits of those that failed together over the whole range."""
        chance = random.Random(7)  # noqa: S311
        waits = [backoff(1, chance) for _ in range(200)]
        self.assertTrue(all(0.8 <= wait < 1.6 for wait in waits))
        self.assertLess(min(waits), 0.85)
        self.assertGreater(max(waits), 1.55)

    def test_after_very_many_failures(self) -> None:
        """A cluster that is away for a year is still asked every 30 s."""
        self.assertEqual(backoff(1_000_000, Constant(0.5)), 30.0)


class LoopTests(FeedTestCase):
    """What follows upon a cycle."""

    def test_events_are_applied_in_the_reactor(self) -> None:
        """What a cycle emits is applied when the reactor gets to it, never in the thread, and in order."""
        cycle = FakeCycle()
        one, two = Changed(SOURCE, 0), Changed(Source(Resource.NAMESPACES), 0)

        def emit_two(emit: Callable[[Event], object]) -> None:
            emit(one)
            emit(two)

        cycle.outcome = emit_two
        self.start(cycle)
        self.pool.run_one()
        self.assertEqual(self.applied, [])
        self.reactor.advance(0)
        self.assertEqual(self.applied, [one, two])

    def test_next_cycle_follows_at_once(self) -> None:
        """A cycle that ended in good order is followed by the next one without a wait."""
        cycle = FakeCycle()
        cycle.outcome = lambda emit: None
        self.start(cycle)
        for _ in range(3):
            self.run_one()
        self.assertEqual(cycle.count, 3)
        self.assertEqual(len(self.pool.pending), 1)

    def test_who_is_awaited(self) -> None:
        """A source may be heard any moment until it is, or is refused, or is not there, or the others are heard."""
        names = ("heard", "forbidden", "absent", "busy", "broken")
        cycles = [FakeCycle(Source(Resource.DEPLOYMENTS, name)) for name in names]
        heard, forbidden, absent, busy, broken = cycles
        forbidden.outcome = ClusterRefused("forbidden", 403)
        absent.outcome = ClusterRefused("no such resource", 404)
        busy.outcome = ClusterRefused("later", 429)
        broken.outcome = ClusterBroke("what is this?")
        feed = self.start(*cycles)
        self.assertEqual(set(feed.awaited), {each.source for each in cycles})
        self.run_for(100)
        self.assertEqual(set(feed.awaited), {heard.source, busy.source, broken.source})
        heard_at: list[float] = []

        def hear(emit: Callable[[Event], object]) -> None:
            heard_at.append(self.reactor.seconds())
            emit(Changed(heard.source, 0))
            raise ClusterBroke("reset")

        heard.outcome = hear
        while not heard_at:
            self.run_for(1)
        self.run_for(heard_at[0] + 29.9 - self.reactor.seconds())
        self.assertEqual(set(feed.awaited), {busy.source, broken.source})
        self.run_for(0.2)
        self.assertEqual(list(feed.awaited), [])

    def test_loops_are_independent(self) -> None:
        """A source that fails, or hangs, does not keep another one from being read."""
        failing, good, hung = FakeCycle(), FakeCycle(), FakeCycle()
        good.outcome = lambda emit: emit(Changed(SOURCE, 0))
        self.start(hung, failing, good)
        stuck = self.pool.pending.popleft()
        for _ in range(4):
            self.run_one()
        self.assertEqual((failing.count, good.count, hung.count), (1, 3, 0))
        self.assertEqual(len(self.applied), 3)
        stuck()

    def test_troubles(self) -> None:
        """Why the last cycle failed is known until the source is heard from; what was unexpected is left to the log.

        Why each ended is told in a word, for metrics.
        """
        cycle = FakeCycle()
        cycle.outcome = ClusterUnreachable("The plugin failed.")
        feed = self.start(cycle)
        self.assertEqual(feed.troubles, [])
        self.run_one()
        self.assertEqual(feed.troubles, ["deployments: The plugin failed."])
        cycle.outcome = ValueError("secret")
        self.reactor.advance(30)
        self.run_one()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(feed.troubles, ["deployments: a cycle failed unexpectedly, see the log."])

        def heard(emit: Callable[[Event], object]) -> None:
            emit(Changed(SOURCE, 0))
            raise Silent("nothing more")

        cycle.outcome = heard
        self.reactor.advance(30)
        self.run_one()
        self.assertEqual(feed.troubles, [])
        cycle.outcome = lambda emit: None
        self.run_one()
        self.assertEqual(self.ended, ["ClusterUnreachable", "ValueError", "Silent", "ended"])

    def test_troubles_of_who_tells_of_others(self) -> None:
        """Events of other sources, as of a follower, or none, as of a publisher, tell that all is well; all at once."""
        cycle = FakeCycle(Source(Resource.NAMESPACES, "as if it were a Redis"))
        for told in ([Changed(SOURCE, 0), Changed(Source(Resource.NAMESPACES), 0)], []):
            feed = self.start(cycle)
            cycle.outcome = ClusterUnreachable("refused")
            self.run_one()
            self.assertEqual(len(feed.troubles), 1)
            cycle.outcome = lambda emit, told=told: emit(*told)
            self.reactor.advance(0.8)
            self.pool.run_one()
            self.assertIn(cycle.source, feed.awaited)
            self.applied.clear()
            self.reactor.advance(0)
            self.assertEqual((self.applied, feed.troubles, list(feed.awaited)), (told, [], []))
            self.pool.pending.clear()

    def test_the_first_of_several_troubles(self) -> None:
        """They are told in the order of what is followed, what is needed most first, whichever failed first."""
        needed, beside = FakeCycle(), FakeCycle(Source(Resource.SCALINGS))
        feed = self.start(needed, beside)
        self.pool.pending.rotate()
        for count in (1, 2):
            self.run_one()
            self.assertEqual(len(feed.troubles), count)
        self.assertEqual([trouble.partition(":")[0] for trouble in feed.troubles], ["deployments", "events"])

    def test_what_is_forbidden_is_no_trouble(self) -> None:
        """It is a missing permission, which others tell of; and it takes the place of what was wrong before."""
        cycle = FakeCycle()
        feed = self.start(cycle)
        for outcome, troubles in ((ClusterUnreachable("refused"), 1), (ClusterRefused("no", 403), 0)):
            cycle.outcome = outcome
            self.reactor.advance(30)
            self.run_one()
            self.assertEqual(len(feed.troubles), troubles)

    def test_waits_grow(self) -> None:
        """Each failure in a row makes the wait longer, up to 30 s."""
        cycle = FakeCycle()
        cycle.outcome = ClusterBroke("reset")
        self.start(cycle)
        self.assertEqual(self.starts_within(120, cycle), [0.0, 0.8, 2.4, 5.6, 12.0, 24.8, 50.4, 80.4, 110.4])

    def test_waits_for_a_connection(self) -> None:
        """A cluster or a Redis that is not there, or a Redis that lost all, is tried every 5 s, for its return."""
        for error in (ClusterUnreachable("refused"), StoreUnreachable("refused"), StoreIncomplete("lost")):
            self.setUp()
            cycle = FakeCycle()
            cycle.outcome = error
            self.start(cycle)
            self.assertEqual(self.starts_within(21, cycle), [0.0, 0.8, 2.4, 5.6, 10.6, 15.6, 20.6])

    def test_few_requests_in_the_first_minute(self) -> None:
        """A cluster that fails at once is asked at most ten times in the first minute, whatever chance does.

        Where it refuses connections, it is at most sixteen times.
        """
        for error, most in ((ClusterBroke("reset"), 10), (ClusterUnreachable("refused"), 16)):
            for luck in (Constant(0.0), Constant(1.0), random.Random(3)):  # noqa: S311
                self.setUp()
                cycle = FakeCycle()
                cycle.outcome = error
                self.start(cycle, chance=luck)
                self.assertLessEqual(len(self.starts_within(60, cycle)), most)

    def test_list_follows_at_once(self) -> None:
        """Where only a list is of use there is nothing to wait for, and failures before that do not count any more."""
        for error in (Expired("too old"), Silent("nothing")):
            self.setUp()
            broken: Outcome = ClusterBroke("reset")
            outcomes = iter([broken, broken, broken, error, broken, broken])
            cycle = FakeCycle()
            cycle.outcome = lambda emit, left=outcomes: run(next(left), emit)
            self.start(cycle)
            with capturedLogs() as events:
                self.assertEqual(self.starts_within(7, cycle), [0.0, 0.8, 2.4, 5.6, 5.6, 6.4])
            self.assertIn(f"{cycle.source}: {error}. A list follows.", [formatEvent(event) for event in events])

    def test_lists_do_not_follow_over_and_over(self) -> None:
        """A cluster that calls too old what it has just told is failing: one list at once, and then the waits grow."""
        cycle = FakeCycle()
        cycle.outcome = Expired("too old")
        self.start(cycle)
        self.assertEqual(self.starts_within(13, cycle), [0.0, 0.0, 0.8, 2.4, 5.6, 12.0])

    def test_what_is_forbidden_is_not_told_over_and_over(self) -> None:
        """A 403 stays what it is until somebody changes a role: `Permissions` tells of it, and not each try."""
        cycle = FakeCycle()
        cycle.outcome = ClusterRefused("no list for you", 403)
        with capturedLogs() as logged:
            self.start(cycle)
            self.run_for(600)
        self.assertGreater(cycle.count, 10)
        self.assertEqual([event["log_level"] for event in logged if event["log_level"] > LogLevel.info], [])

    def test_good_cycle_resets_the_wait(self) -> None:
        """After a cycle in good order the next failure waits as if it were the first."""
        cycle = FakeCycle()
        self.start(cycle)
        self.starts_within(30, cycle)
        cycle.outcome = lambda emit: setattr(cycle, "outcome", ClusterUnreachable("refused"))
        starts = self.starts_within(60, cycle)
        self.assertEqual([round(start - starts[0], 1) for start in starts[:4]], [0.0, 0.0, 0.8, 2.4])

    def test_long_cycle_resets_the_wait(self) -> None:
        """A cycle that was well for 30 s counts as healthy, even if it then broke; one of 29 s does not."""
        for seconds, wait in ((31, 0.8), (29, 30.0)):
            with self.subTest(seconds):
                self.setUp()
                cycle = FakeCycle()
                cycle.outcome = ClusterBroke("reset")
                self.start(cycle)
                self.starts_within(50, cycle)
                self.reactor.advance(0.5)
                self.assertEqual(len(self.pool.pending), 1)
                self.reactor.advance(seconds)
                self.run_one()
                (waiting,) = self.reactor.getDelayedCalls()
                self.assertAlmostEqual(waiting.getTime() - self.reactor.seconds(), wait)

    def test_retry_after_is_honoured(self) -> None:
        """A cluster that says how long to wait is not asked before, and one that says less is not asked sooner."""
        cycle = FakeCycle()
        cycle.outcome = ClusterRefused("busy", 429, retry_after=45)
        self.start(cycle)
        self.assertEqual(self.starts_within(100, cycle), [0.0, 45.0, 90.0])
        cycle.outcome = ClusterRefused("busy", 429, retry_after=1)
        starts = self.starts_within(100, cycle)
        self.assertTrue(all(later - earlier > 5 for earlier, later in pairwise(starts)), starts)

    def test_unexpected_error_does_not_end_the_loop(self) -> None:
        """An error of our own is logged with its traceback, and the loop goes on after a wait like any other."""
        cycle = FakeCycle()
        cycle.outcome = ValueError("a bug")
        feed = self.start(cycle)
        self.assertEqual(self.starts_within(5, cycle), [0.0, 0.8, 2.4])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 3)
        self.assertTrue(feed.alive)

    def test_error_of_the_domain_is_no_traceback(self) -> None:
        """A cluster that is away is told in one line."""
        cycle = FakeCycle()
        self.start(cycle)
        self.run_one()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_dead_loop_is_told(self) -> None:
        """A loop that ends although nobody told it to makes the feed say so, for livez; it is logged."""

        class Broken(random.Random):
            def random(self) -> float:
                raise ZeroDivisionError

        feed = self.start(FakeCycle(), chance=Broken())
        self.assertTrue(feed.alive)
        self.run_one()
        self.assertFalse(feed.alive)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
