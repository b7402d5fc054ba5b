"""SubjectAccessReviews on their way to the cluster: what is sent, and what counts as a yes."""

import contextlib
import gc
import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.permissions import CREATE_REVIEWS, PAUSE_SECONDS, Permissions
from sre_server.cluster.reviews import READ_BOUNDS, READ_TIMEOUT, WRITE_BOUNDS, Reviews, review
from sre_server.cluster.workers import ConnectedWorkers
from sre_server.errors import BadAnswer, ClusterBroke, ClusterError, ClusterRefused, ClusterTimedOut, Unavailable
from tests.fakes import FakeReactor, FakeReply, FakeTransport, InlinePool
from tests.wire import refusal

SPEC = {"user": "alice", "groups": ["sre"], "resourceAttributes": {"verb": "get", "resource": "deployments"}}


def verdict(*, status: int = 201, **said: Any) -> FakeReply:
    """Draw the cluster's answer."""
    drawn = {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": SPEC, "status": said}
    return FakeReply(status, [json.dumps(drawn).encode()])


class ReviewTests(SynchronousTestCase):
    """One question."""

    def ask(self, answer: FakeReply | ClusterError) -> bool:
        """Ask a cluster that answers this."""
        self.transport = FakeTransport([answer])
        return review(self.transport, SPEC)

    def test_what_is_sent(self) -> None:
        """One POST of the spec as it is, with a bound on the wait."""
        self.ask(verdict(allowed=True))
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        self.assertEqual(self.transport.requests, [("POST", path, {})])
        self.assertEqual(self.transport.headers, [{"Content-Type": "application/json"}])
        self.assertEqual(self.transport.read_timeouts, [READ_TIMEOUT])
        body = json.loads(self.transport.bodies[0] or b"")
        head = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
        self.assertEqual(body, {**head, "spec": SPEC})

    def test_yes_and_no(self) -> None:
        """`allowed` is the answer; what the cluster says besides changes nothing."""
        self.assertIs(self.ask(verdict(allowed=True)), True)
        self.assertIs(self.ask(verdict(allowed=True, reason="RBAC: allowed by ...", evaluationError="one role")), True)
        self.assertIs(self.ask(verdict(allowed=False)), False)
        self.assertIs(self.ask(verdict(allowed=False, denied=True, reason="no")), False)

    def test_a_cluster_that_could_not_decide(self) -> None:
        """A no for want of knowing is no answer."""
        error = self.assertRaises(BadAnswer, self.ask, verdict(allowed=False, evaluationError="role not found"))
        self.assertIn("role not found", str(error))

    def test_what_is_no_verdict(self) -> None:
        """Whatever does not plainly say yes never counts as one."""
        for body in (
            b"",
            b"{}",
            b"null",
            b"[]",
            b"x",
            b'{"status":{}}',
            b'{"status":{"allowed":"true"}}',
            b'{"status":1}',
        ):
            try:
                allowed = self.ask(FakeReply(201, [body]))
            except BadAnswer:
                continue
            self.assertIs(allowed, False, body)

    def test_another_status(self) -> None:
        """A yes counts with 201 alone; refusals say why."""
        for status in (200, 202, 204, 302, 403, 404, 429, 500, 503):
            self.assertRaises(ClusterRefused, self.ask, verdict(status=status, allowed=True))
        error = self.assertRaises(ClusterRefused, self.ask, refusal(403, "Forbidden", "may not create reviews"))
        self.assertIn("may not create reviews", str(error))

    def test_the_reply_is_closed(self) -> None:
        """In every case, as the connection is used again."""
        for reply in (verdict(allowed=True), refusal(500), FakeReply(201, [b"{"]), FakeReply(201, [ClusterBroke("x")])):
            with contextlib.suppress(ClusterError):
                self.ask(reply)
            self.assertTrue(reply.closed)


class ServiceTests(SynchronousTestCase):
    """Questions from the reactor."""

    def setUp(self) -> None:
        """Have threads that work when the test says so: those for reads, and those for writes."""
        self.reactor, self.transport = FakeReactor(), FakeTransport()
        self.pool, self.write_pool = InlinePool(inline=False), InlinePool(inline=False)
        for_reads = ConnectedWorkers(self.reactor, "checks", READ_BOUNDS, lambda: self.transport, self.pool)
        for_writes = ConnectedWorkers(self.reactor, "checks", WRITE_BOUNDS, lambda: self.transport, self.write_pool)
        for workers in (for_reads, for_writes):
            workers.startService()
        self.permissions = Permissions(now=self.reactor.seconds)
        self.reviews = Reviews(for_reads, for_writes, self.permissions.told, self.permissions.pauses)

    def run_one(self, answer: FakeReply | ClusterError, pool: InlinePool | None = None) -> None:
        """Let a thread ask, and its answer reach the reactor."""
        self.transport.script.append(answer)
        (pool or self.pool).run_one()
        self.reactor.advance(0)

    def ask(self, user: str = "alice", *, for_write: bool = False) -> Deferred[bool]:
        """Ask."""
        return self.reviews.review({**SPEC, "user": user}, for_write=for_write)

    def test_an_answer(self) -> None:
        """It comes through the reactor, the cluster's yes or no."""
        for allowed in (True, False, True):
            asked = self.ask()
            self.assertNoResult(asked)
            self.run_one(verdict(allowed=allowed))
            self.assertEqual(self.successResultOf(asked), allowed)

    def test_a_cluster_that_cannot_say(self) -> None:
        """Whatever goes wrong is Unavailable, worth repeating, and says nothing of the cause to a client."""
        errors: list[FakeReply | ClusterError] = [
            ClusterTimedOut("slow"),
            ClusterBroke("broken"),
            refusal(403),
            refusal(500),
        ]
        for answer in [*errors, verdict(allowed=False, evaluationError="unknown role"), FakeReply(201, [b"{"])]:
            asked = self.ask()
            self.run_one(answer)
            error = self.failureResultOf(asked, Unavailable).value
            self.assertIsNotNone(error.retry_after)
            self.assertNotIn("role", str(error))
            self.reactor.advance(PAUSE_SECONDS)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_the_server_may_not_do(self) -> None:
        """That it may not ask is told once, not in the log each time, until it may."""
        with capturedLogs() as events:
            for _ in range(3):
                asked = self.ask()
                self.run_one(refusal(403, "Forbidden"))
                self.failureResultOf(asked, Unavailable)
                self.failureResultOf(self.ask(), Unavailable)  # nothing is asked so soon after that
                self.failureResultOf(self.ask(for_write=True), Unavailable)
                self.reactor.advance(PAUSE_SECONDS)
        self.assertEqual(
            (len(self.transport.requests), len(self.pool.pending), len(self.write_pool.pending)), (3, 0, 0)
        )
        self.assertTrue(self.permissions.lacks(CREATE_REVIEWS))
        self.assertEqual(len([event for event in events if event["log_level"] is LogLevel.warn]), 1)
        asked = self.ask()
        self.run_one(verdict(allowed=False))
        self.assertIs(self.successResultOf(asked), False)
        self.assertFalse(self.permissions.lacks(CREATE_REVIEWS))

    def test_a_bug(self) -> None:
        """A fault that nobody thought of is no yes either, and is logged with its traceback."""
        asked = self.ask()
        self.run_one(FakeReply(201, [ZeroDivisionError("a bug")]))
        self.failureResultOf(asked, Unavailable)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_clients_that_leave(self) -> None:
        """Leaving is no error and frees no thread: what one client asks for stays within its share."""
        with capturedLogs() as events:
            for _ in range(1900):
                asked = self.ask()
                asked.addErrback(lambda failure: failure.trap(CancelledError, Unavailable))
                asked.cancel()
                self.successResultOf(asked)
            self.assertEqual(len(self.pool.pending), READ_BOUNDS.running_per_client)
            while self.pool.pending:
                self.run_one(verdict(allowed=True))
            gc.collect()
        self.assertEqual([event for event in events if event["log_level"] >= LogLevel.warn], [])
        self.assertEqual(len(self.transport.requests), READ_BOUNDS.running_per_client)

    def test_too_many_wait(self) -> None:
        """Past a client's share a question is refused at once; past what there is for all, everybody's is."""
        share = READ_BOUNDS.running_per_client + READ_BOUNDS.queued_per_client
        waiting = [self.ask() for _ in range(share)]
        self.failureResultOf(self.ask(), Unavailable)
        waiting += [
            self.ask(f"client {number}") for number in range(READ_BOUNDS.queued - READ_BOUNDS.queued_per_client)
        ]
        waiting += [self.ask(f"client {number}") for number in range(READ_BOUNDS.running - 4)]
        self.failureResultOf(self.ask("another"), Unavailable)
        for each in waiting:
            self.assertNoResult(each)
        self.run_one(verdict(allowed=True))
        self.assertTrue(self.successResultOf(waiting[0]))
        self.assertNoResult(self.ask("another"))

    def test_reads_take_no_place_of_writes(self) -> None:
        """However many reads are to be decided, what a write waits for is asked at once."""
        for number in range(1000):
            self.ask(f"client {number}").addErrback(lambda failure: failure.trap(Unavailable))
        asked = self.ask(for_write=True)
        self.run_one(verdict(allowed=True), self.write_pool)
        self.assertTrue(self.successResultOf(asked))

    def test_one_client_takes_not_all_places_of_writes(self) -> None:
        """Another client's write is asked about at once, however many of one client's are not decided."""
        for _ in range(100):
            self.ask("slow", for_write=True).addErrback(lambda failure: failure.trap(Unavailable))
        self.assertEqual(len(self.write_pool.pending), WRITE_BOUNDS.running_per_client)
        asked = self.ask("quick", for_write=True)
        self.write_pool.pending.rotate(1)
        self.run_one(verdict(allowed=True), self.write_pool)
        self.assertTrue(self.successResultOf(asked))
