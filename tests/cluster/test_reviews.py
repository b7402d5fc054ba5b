"""SubjectAccessReviews on their way to the cluster: what is sent, and what counts as a yes."""

import contextlib
import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.reviews import READ_TIMEOUT, WAITING_REVIEWS, ReviewService, review
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
        """Have threads that work when the test says so."""
        self.reactor, self.pool = FakeReactor(), InlinePool(inline=False)
        self.transports: list[FakeTransport] = []
        self.answers: list[FakeReply | ClusterError] = []
        self.service = ReviewService(self.reactor, self.pool, self.connect)
        self.service.startService()

    def connect(self) -> FakeTransport:
        """Make a connection that takes its answers from the test."""
        transport = FakeTransport()
        self.transports.append(transport)
        return transport

    def run_one(self, answer: FakeReply | ClusterError) -> None:
        """Let a thread ask, and its answer reach the reactor."""
        for transport in self.transports or [FakeTransport()]:
            transport.script.clear()
            transport.script.append(answer)
        connect, self.connected = self.service._connect, answer

        def connected() -> FakeTransport:
            transport = self.connect()
            transport.script.append(answer)
            return transport

        self.service._connect = connected
        self.pool.run_one()
        self.service._connect = connect
        self.reactor.advance(0)

    def ask(self) -> Deferred[bool]:
        """Ask."""
        return self.service.review(SPEC)

    def test_an_answer(self) -> None:
        """It comes through the reactor, and a connection serves one question after the other."""
        for allowed in (True, False, True):
            asked = self.ask()
            self.assertNoResult(asked)
            self.run_one(verdict(allowed=allowed))
            self.assertEqual(self.successResultOf(asked), allowed)
        self.assertEqual(len(self.transports), 1)

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
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_bug(self) -> None:
        """A fault that nobody thought of is no yes either, and is logged with its traceback."""
        asked = self.ask()
        self.run_one(FakeReply(201, [ZeroDivisionError("a bug")]))
        self.failureResultOf(asked, Unavailable)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_too_many_wait(self) -> None:
        """Past the bound a question is refused at once; each answer makes room for one."""
        waiting = [self.ask() for _ in range(WAITING_REVIEWS)]
        self.failureResultOf(self.ask(), Unavailable)
        self.assertEqual(len(self.pool.pending), WAITING_REVIEWS)
        self.run_one(verdict(allowed=True))
        self.assertTrue(self.successResultOf(waiting[0]))
        waiting.append(self.ask())
        self.assertNoResult(waiting[-1])
        self.failureResultOf(self.ask(), Unavailable)
        for _ in range(WAITING_REVIEWS):
            self.run_one(ClusterBroke("broken"))
        for each in waiting[1:]:
            self.failureResultOf(each, Unavailable)
        self.assertNoResult(self.ask())

    def test_it_stops(self) -> None:
        """An idle pool is stopped; one with a question that hangs is left to die with the process."""
        asked = self.ask()
        self.service.stopService()
        self.assertFalse(self.pool.stopped)
        self.run_one(verdict(allowed=True))
        self.assertTrue(self.successResultOf(asked))
        self.service.stopService()
        self.assertTrue(self.pool.stopped)
