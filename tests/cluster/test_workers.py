"""Blocking work in threads: how much of it at a time, for whom, and what becomes of it when nobody waits any more."""

import gc
import threading

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.transport import Transport
from sre_server.cluster.workers import Bounds, ConnectedWorkers, DaemonThreadPool, Workers
from sre_server.errors import ClusterBroke, Unavailable
from tests.fakes import FakeReactor, FakeTransport, InlinePool

BOUNDS = Bounds(running=4, running_per_client=2, queued=6, queued_per_client=3)


class WorkersTestCase(SynchronousTestCase):
    """Workers whose threads run when the test says so."""

    def setUp(self) -> None:
        """Start them."""
        self.reactor, self.pool = FakeReactor(), InlinePool(inline=False)
        self.workers = Workers(self.reactor, "jobs", BOUNDS, self.pool)
        self.workers.startService()
        self.ran: list[str] = []

    def job(self, client: str = "alice") -> Deferred[str]:
        """Ask for a job, which notes whose it was."""

        def work() -> str:
            self.ran.append(client)
            return client

        return self.workers.run(work, client)

    def run_one(self) -> None:
        """Let the oldest job that has a thread run, and the reactor hear of it."""
        self.pool.run_one()
        self.reactor.advance(0)

    def run_all(self) -> list[str]:
        """Let everything run; return whose jobs ran, in order."""
        self.ran.clear()
        while self.pool.pending:
            self.run_one()
        return self.ran

    def refused(self, client: str = "alice") -> str:
        """Ask for one job too many; return what is said."""
        return str(self.failureResultOf(self.job(client), Unavailable).value)


class ResultTests(WorkersTestCase):
    """What comes of a job."""

    def test_a_result(self) -> None:
        """It reaches the reactor's thread, not before that gets to it."""
        job = self.job()
        self.pool.run_one()
        self.assertNoResult(job)
        self.reactor.advance(0)
        self.assertEqual(self.successResultOf(job), "alice")

    def test_an_error(self) -> None:
        """What the work raises is what its Deferred fails with; its place is free again, and nothing is logged."""

        def work() -> None:
            raise ClusterBroke("broken")

        for _ in range(20):
            job = self.workers.run(work, "alice")
            self.run_one()
            self.failureResultOf(job, ClusterBroke)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_nothing_runs_unless_started(self) -> None:
        """Before the start, and after the stop, a job is refused."""
        self.workers.stopService()
        self.assertIn("shutting down", self.refused())
        self.workers = Workers(self.reactor, "jobs", BOUNDS, self.pool)
        self.refused()
        self.assertEqual(len(self.pool.pending), 0)


class BoundsTests(WorkersTestCase):
    """How much is taken on, in all and for one client."""

    def test_one_client(self) -> None:
        """It has its share of the threads and of the queue; what is more is refused at once, in words to it."""
        jobs = [self.job() for _ in range(5)]
        self.assertEqual(len(self.pool.pending), 2)
        self.assertEqual(self.refused(), "Too many of your jobs are waiting for the cluster.")
        self.assertNoResult(self.job("bob"))
        self.run_all()
        for job in jobs:
            self.successResultOf(job)

    def test_all_of_them(self) -> None:
        """Past what there is for all, even a client that has nothing under way is refused; each end makes room."""
        for client in ("a", "b", "c", "d"):
            for _ in range(2 if client in "ab" else 3):
                self.job(client)
        self.assertEqual(len(self.pool.pending), 4)
        self.assertEqual(self.refused("e"), "Too many jobs are waiting for the cluster.")
        self.run_one()
        self.assertNoResult(self.job("e"))
        self.refused("e")

    def test_without_a_queue(self) -> None:
        """Where nothing is queued, what finds no thread free is refused."""
        self.workers = Workers(self.reactor, "jobs", Bounds(running=3, running_per_client=2), self.pool)
        self.workers.startService()
        self.job()
        self.job()
        self.assertIn("of your jobs", self.refused())
        self.assertNoResult(self.job("bob"))
        self.assertNotIn("your", self.refused("carol"))
        self.assertEqual(len(self.pool.pending), 3)

    def test_clients_take_turns(self) -> None:
        """A client that asked for much does not make one wait that asked for little."""
        self.workers = Workers(self.reactor, "jobs", Bounds(1, 1, 9, 9), self.pool)
        self.workers.startService()
        for client in "aaaabbc":
            self.job(client)
        self.assertEqual("".join(self.run_all()), "aabcaba")

    def test_threads_that_one_client_may_not_have(self) -> None:
        """A free thread is for others while one client's jobs hang in all that it may have."""
        for _ in range(5):
            self.job("slow")
        self.assertEqual(len(self.pool.pending), 2)
        quick = self.job("quick")
        self.pool.pending.rotate(1)
        self.run_one()
        self.assertEqual(self.successResultOf(quick), "quick")
        self.assertEqual(len(self.pool.pending), 2)


class AbandonedTests(WorkersTestCase):
    """Jobs that nobody waits for any more."""

    def leave(self, job: Deferred[str]) -> None:
        """Stop waiting for a job."""
        job.cancel()
        self.failureResultOf(job, CancelledError)

    def test_a_job_counts_until_its_thread_is_done(self) -> None:
        """Whoever leaves frees no thread that is still in use."""
        for _ in range(2):
            self.leave(self.job())
        jobs = [self.job() for _ in range(3)]
        self.refused()
        self.assertEqual(len(self.pool.pending), 2)
        self.run_one()
        self.assertNoResult(self.job())
        self.run_all()
        for job in jobs:
            self.successResultOf(job)

    def test_a_queued_job_is_dropped(self) -> None:
        """What has yet to begin never does, and its place in the queue is free at once."""
        for _ in range(2):
            self.job()
        for _ in range(50):
            self.leave(self.job())
        waiting = [self.job() for _ in range(3)]
        self.leave(waiting.pop(1))
        self.assertEqual(self.run_all(), ["alice"] * 4)
        for job in waiting:
            self.successResultOf(job)

    def test_nothing_is_logged(self) -> None:
        """Leaving is no error, whatever comes of the job: neither a result nor a failure that can be explained."""

        def fail() -> str:
            raise ClusterBroke("broken")

        with capturedLogs() as events:
            self.leave(self.job())
            self.leave(self.workers.run(fail, "alice"))
            self.leave(self.job())
            self.run_all()
            gc.collect()
        self.assertEqual([event for event in events if event["log_level"] >= LogLevel.warn], [])

    def test_a_bug(self) -> None:
        """A failure that nobody can explain is logged even if nobody waits for it."""

        def work() -> str:
            raise ZeroDivisionError

        self.leave(self.workers.run(work, "alice"))
        self.run_all()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class StopTests(WorkersTestCase):
    """Stopping, which never waits for a thread."""

    def test_when_idle(self) -> None:
        """Idle threads are let go."""
        self.job()
        self.run_all()
        self.workers.stopService()
        self.assertTrue(self.pool.stopped)

    def test_what_is_queued(self) -> None:
        """It fails at once, and never runs."""
        running, queued = [self.job() for _ in range(2)], [self.job() for _ in range(3)]
        self.workers.stopService()
        for job in queued:
            self.failureResultOf(job, Unavailable)
        self.assertEqual(self.run_all(), ["alice"] * 2)
        for job in running:
            self.successResultOf(job)

    def test_what_runs(self) -> None:
        """A thread that is busy is not waited for; the pool is stopped when it is done, if it ever is."""
        job = self.job()
        self.workers.stopService()
        self.assertFalse(self.pool.stopped)
        self.run_one()
        self.successResultOf(job)
        self.assertTrue(self.pool.stopped)

    def test_what_runs_although_nobody_waits(self) -> None:
        """A job whose client has left is as busy as any other."""
        job = self.job()
        job.cancel()
        self.failureResultOf(job, CancelledError)
        self.workers.stopService()
        self.assertFalse(self.pool.stopped)
        self.run_one()
        self.assertTrue(self.pool.stopped)

    def patient(self, *, jobs: int) -> tuple[Deferred[None], list[Deferred[str]]]:
        """Stop workers that wait for their jobs; return their end, and the jobs."""
        self.workers = Workers(self.reactor, "jobs", BOUNDS, self.pool, stop_seconds=1.5)
        self.workers.startService()
        asked = [self.job() for _ in range(jobs)]
        return self.workers.stopService(), asked

    def test_waiting_for_what_is_queued(self) -> None:
        """Workers that are to do so run what they have taken to its end, take no more, and then let go."""
        for jobs in (0, 1, 4):
            stopped, asked = self.patient(jobs=jobs)
            self.assertIn("shutting down", self.refused())
            for _ in range(jobs):
                self.assertNoResult(stopped)
                self.run_one()
            self.successResultOf(stopped)
            self.assertEqual([self.successResultOf(job) for job in asked], ["alice"] * jobs)
            self.assertTrue(self.pool.stopped)

    def test_waiting_in_vain(self) -> None:
        """After their time, what is queued fails, and what runs is left to end by itself."""
        stopped, (running, other, queued) = self.patient(jobs=3)
        self.reactor.advance(1.5)
        self.successResultOf(stopped)
        self.failureResultOf(queued, Unavailable)
        self.assertFalse(self.pool.stopped)
        self.run_all()
        self.assertEqual([self.successResultOf(job) for job in (running, other)], ["alice"] * 2)

    def test_a_thread_that_hangs(self) -> None:
        """With real threads, too, stopping returns while one of them hangs, and drops what is queued behind it."""
        release, running = threading.Event(), threading.Event()
        pool = DaemonThreadPool(1, "test")
        self.addCleanup(pool.stop)
        self.addCleanup(release.set)
        workers = Workers(self.reactor, "jobs", Bounds(1, 1, 5, 5), pool)
        workers.startService()

        def hang() -> None:
            running.set()
            release.wait(10)

        jobs = [workers.run(hang, "alice"), workers.run(lambda: self.ran.append("queued"), "alice")]
        self.assertTrue(running.wait(10))
        for job in jobs:
            job.addErrback(lambda _: None).cancel()
        last = workers.run(lambda: self.ran.append("queued"), "alice")
        watchdog = threading.Timer(30, release.set)
        watchdog.daemon = True
        watchdog.start()
        workers.stopService()
        hung = not release.is_set()
        watchdog.cancel()
        self.assertTrue(hung, "stopping waited for the thread")
        self.failureResultOf(last, Unavailable)
        self.assertEqual(self.ran, [])


class ConnectedTests(SynchronousTestCase):
    """Jobs that talk to the cluster."""

    def setUp(self) -> None:
        """Have workers, and count the connections that they make."""
        self.reactor, self.pool = FakeReactor(), InlinePool(inline=False)
        self.made: list[Transport] = []
        self.workers = ConnectedWorkers(self.reactor, "jobs", BOUNDS, self.connect, self.pool)
        self.workers.startService()
        self.used: list[Transport] = []

    def connect(self) -> Transport:
        """Make one more connection."""
        self.made.append(FakeTransport())
        return self.made[-1]

    def run_one(self) -> None:
        """Let the oldest job run."""
        self.pool.run_one()
        self.reactor.advance(0)

    def test_jobs_one_after_the_other_share_a_connection(self) -> None:
        """It is made in the thread that needs it first, and used again, after a failure as well."""

        def fail(transport: Transport) -> None:
            self.used.append(transport)
            raise ClusterBroke("broken")

        for work in (self.used.append, fail, self.used.append):
            job = self.workers.call(work, "alice")
            job.addErrback(lambda failure: failure.trap(ClusterBroke))
            self.assertEqual(len(self.made), min(len(self.used), 1))
            self.run_one()
            self.assertIn(self.successResultOf(job), (None, ClusterBroke))
        self.assertEqual(self.used, self.made * 3)

    def test_jobs_at_the_same_time_each_have_their_own(self) -> None:
        """A connection is one thread's at a time."""

        def outer(transport: Transport) -> None:
            self.used.append(transport)
            self.pool.run_one()

        jobs = [self.workers.call(outer, "alice"), self.workers.call(self.used.append, "bob")]
        self.run_one()
        for job in jobs:
            self.successResultOf(job)
        self.assertEqual(self.used, self.made)
        self.assertEqual(len(self.made), 2)
