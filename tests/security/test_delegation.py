"""`--authorization=kubernetes`: the cluster is asked as little as is safe, and nothing is allowed without its yes."""

from datetime import UTC, datetime

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import Unavailable
from sre_server.security.authorization import EVERY, Decision, Verb
from sre_server.security.delegation import (
    REMEMBER_SECONDS,
    REMEMBERED,
    KubernetesAuthorizer,
    Question,
    review_spec,
)
from sre_server.security.identity import Identity

READ, SCALE = Verb.READ, Verb.SCALE
ALICE = Identity("alice", ("dev", "sre"), "ab" * 32, datetime(2100, 1, 1, tzinfo=UTC))
BOB = Identity("bob", (), "cd" * 32, datetime(2100, 1, 1, tzinfo=UTC))


class DelegationTests(SynchronousTestCase):
    """A cluster that answers when the test says so."""

    def setUp(self) -> None:
        """Ask it."""
        self.now = 100.0
        self.asked: list[tuple[Question, Deferred[bool]]] = []
        self.for_writes: list[Question] = []
        self.authorizer = KubernetesAuthorizer(self.review, lambda: self.now)

    def review(self, question: Question, *, for_write: bool) -> Deferred[bool]:
        """Note the question."""
        if for_write:
            self.for_writes.append(question)
        answer: Deferred[bool] = Deferred()
        self.asked.append((question, answer))
        return answer

    def decide(self, verb: Verb = READ, where: str = "shop/web", who: Identity = ALICE) -> Deferred[Decision]:
        """Ask, with an answer that may have come already."""
        decided = self.authorizer.decide(who, verb, *where.split("/"))
        return decided if isinstance(decided, Deferred) else succeed(decided)

    def preview(self, verb: Verb = SCALE) -> Deferred[Decision]:
        """Ask what would be decided, for information, with an answer that may have come already."""
        decided = self.authorizer.preview(ALICE, verb, "shop", "web")
        return decided if isinstance(decided, Deferred) else succeed(decided)

    def answer(self, allowed: bool | Exception) -> Question:
        """Answer the oldest question; return it."""
        question, answer = self.asked.pop(0)
        if isinstance(allowed, bool):
            answer.callback(allowed)
        else:
            answer.errback(allowed)
        return question

    def allowed(self, decided: Deferred[Decision]) -> bool:
        """The yes or no that has come."""
        return self.successResultOf(decided).allowed


class SpecTests(SynchronousTestCase):
    """The question, as Kubernetes reads it."""

    def test_a_read(self) -> None:
        """`get` of the Deployment itself, by the user and the groups of the certificate."""
        spec = review_spec(Question("alice", ("dev", "sre"), READ, "shop", "web"))
        attributes = {"group": "apps", "resource": "deployments", "verb": "get", "subresource": ""}
        attributes |= {"namespace": "shop", "name": "web"}
        groups = ["dev", "sre", "system:authenticated"]
        self.assertEqual(spec, {"user": "alice", "groups": groups, "resourceAttributes": attributes})

    def test_a_write(self) -> None:
        """`patch` of its `scale`, which is what the server will do."""
        attributes = review_spec(Question("alice", (), SCALE, "shop", "web"))["resourceAttributes"]
        expected = {"group": "apps", "resource": "deployments", "verb": "patch", "subresource": "scale"}
        self.assertEqual(attributes, {**expected, "namespace": "shop", "name": "web"})

    def test_everything(self) -> None:
        """No name, and no namespace, is how Kubernetes says all of them."""
        attributes = review_spec(Question("alice", (), READ, None, None))["resourceAttributes"]
        assert isinstance(attributes, dict)
        self.assertEqual((attributes["namespace"], attributes["name"]), ("", ""))


class DecisionTests(DelegationTests):
    """Questions about one Deployment."""

    def test_yes_and_no(self) -> None:
        """The cluster's word is the decision, and the rule says what was asked."""
        for allowed in (True, False):
            for verb, what in ((READ, "get deployments in shop"), (SCALE, "patch deployments/scale in shop")):
                self.now += 100
                decided = self.decide(verb)
                self.assertNoResult(decided)
                self.assertEqual(self.answer(allowed), Question("alice", ("dev", "sre"), verb, "shop", "web"))
                decision = self.successResultOf(decided)
                self.assertEqual(decision.allowed, allowed)
                self.assertIn(what, decision.rule)
                self.assertIn("is allowed" if allowed else "is not allowed", decision.rule)

    def test_everything_at_once(self) -> None:
        """A question about everything names neither namespace nor name."""
        decided = self.decide(READ, f"{EVERY}/{EVERY}")
        self.assertEqual(self.answer(True), Question("alice", ("dev", "sre"), READ, None, None))
        self.assertIn("all namespaces", self.successResultOf(decided).rule)

    def test_answers_to_reads_are_remembered_for_ten_seconds(self) -> None:
        """Yes and no alike, from the moment of the question, and not a second longer."""
        self.assertEqual(REMEMBER_SECONDS, 10)
        for allowed in (True, False):
            self.now = asked_at = self.now + 100
            decided = self.decide()
            self.now += 4
            self.answer(allowed)
            self.assertEqual(self.allowed(decided), allowed)
            self.now = asked_at + 9.9
            self.assertEqual(self.allowed(self.decide()), allowed)
            self.assertEqual(self.asked, [])
            self.now = asked_at + 10
            again = self.decide()
            self.answer(not allowed)
            self.assertEqual(self.allowed(again), not allowed)

    def test_what_is_remembered_is_known_at_once(self) -> None:
        """It comes as a plain value: no Deferred, no turn of the reactor."""
        self.decide()
        self.answer(True)
        self.assertIsInstance(self.authorizer.decide(ALICE, READ, "shop", "web"), Decision)

    def test_another_question_has_an_answer_of_its_own(self) -> None:
        """Another client, other groups, another name: nothing of one answer is used for another."""
        self.decide()
        self.answer(True)
        others = [("shop/api", ALICE), ("pay/web", ALICE), ("shop/web", BOB), (f"{EVERY}/{EVERY}", ALICE)]
        others.append(("shop/web", Identity("alice", ("dev",), "ab" * 32, ALICE.not_after)))
        for where, who in others:
            self.assertNoResult(self.decide(READ, where, who))
        self.assertEqual(len(self.asked), len(others))

    def test_errors_are_never_remembered(self) -> None:
        """A cluster that cannot say is asked again by the next request, and its word counts then."""
        failed = self.decide()
        self.answer(Unavailable("The cluster cannot say.", 2))
        self.failureResultOf(failed, Unavailable)
        decided = self.decide()
        self.answer(True)
        self.assertTrue(self.allowed(decided))

    def test_no_old_yes_stands_in_for_an_error(self) -> None:
        """Past the ten seconds an error is an error, whatever the cluster said before."""
        self.decide()
        self.answer(True)
        self.now += REMEMBER_SECONDS
        failed = self.decide()
        self.answer(Unavailable("The cluster cannot say.", 2))
        self.failureResultOf(failed, Unavailable)

    def test_writes_are_always_asked_afresh(self) -> None:
        """Neither an answer to an earlier write, nor one that is under way, is used for another write."""
        first, second = self.decide(SCALE), self.decide(SCALE)
        self.assertEqual(len(self.asked), 2)
        self.answer(True)
        self.answer(False)
        self.assertEqual((self.allowed(first), self.allowed(second)), (True, False))
        self.assertNoResult(self.decide(SCALE))

    def test_equal_questions_are_asked_once(self) -> None:
        """While one is under way its equals wait for the same answer, each with a Deferred of its own."""
        waiting = [self.decide() for _ in range(5)]
        other = self.decide(READ, "shop/api")
        self.assertEqual(len(self.asked), 2)
        self.answer(True)
        self.assertEqual([self.allowed(each) for each in waiting], [True] * 5)
        self.assertNoResult(other)

    def test_one_who_leaves_does_not_disturb_the_others(self) -> None:
        """A waiter that is cancelled, the first included, leaves the answer to the others, and to the memory."""
        waiting = [self.decide() for _ in range(3)]
        for gone in (0, 2):
            waiting[gone].cancel()
            self.failureResultOf(waiting[gone])
        self.answer(True)
        self.assertTrue(self.allowed(waiting[1]))
        self.assertTrue(self.allowed(self.decide()))

    def test_everybody_leaves(self) -> None:
        """An answer that nobody waits for any more is remembered all the same, and an error disturbs nobody."""
        self.decide().addErrback(lambda _: None).cancel()
        self.answer(True)
        self.assertTrue(self.allowed(self.decide()))
        self.now += 100
        self.decide().addErrback(lambda _: None).cancel()
        self.answer(Unavailable("The cluster cannot say.", 2))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_one_error_is_everybodys(self) -> None:
        """All who wait hear of it."""
        waiting = [self.decide() for _ in range(3)]
        self.answer(Unavailable("The cluster cannot say.", 2))
        for each in waiting:
            self.failureResultOf(each, Unavailable)

    def test_memory_is_bounded(self) -> None:
        """However many questions there are, so many answers are kept, the newest of them."""
        self.authorizer = KubernetesAuthorizer(lambda _, *, for_write: succeed(True), lambda: self.now)
        for number in range(REMEMBERED + 100):
            self.authorizer.decide(ALICE, READ, "shop", f"web-{number}")
        self.assertEqual(len(self.authorizer._remembered), REMEMBERED)
        self.assertEqual(self.authorizer._waiting, {})
        self.assertIsInstance(self.authorizer.decide(ALICE, READ, "shop", f"web-{REMEMBERED}"), Decision)
        self.assertNotIsInstance(self.authorizer.decide(ALICE, READ, "shop", "web-0"), Decision)


class PreviewTests(DelegationTests):
    """What a client may do, asked by itself: nothing is done on the answer."""

    def test_equal_questions_are_asked_once(self) -> None:
        """Those about writes as well, each with a Deferred of its own; one that is cancelled disturbs no other."""
        waiting = [self.preview() for _ in range(5)]
        waiting[0].cancel()
        self.failureResultOf(waiting.pop(0), CancelledError)
        self.assertEqual(self.answer(True), Question("alice", ("dev", "sre"), SCALE, "shop", "web"))
        self.assertEqual([self.allowed(each) for each in waiting], [True] * 4)
        self.assertEqual(self.asked, [])

    def test_answers_are_remembered(self) -> None:
        """For ten seconds, about writes as well; answers about reads are those that reads get."""
        for allowed in (True, False):
            self.preview()
            self.answer(allowed)
            self.now += REMEMBER_SECONDS - 0.1
            self.assertEqual(self.allowed(self.preview()), allowed)
            self.now += 0.1
        self.decide(READ)
        self.answer(True)
        self.assertTrue(self.allowed(self.preview(READ)))
        self.assertEqual(self.asked, [])

    def test_they_never_decide_a_write(self) -> None:
        """A write asks afresh, whatever is remembered, and does not wait for a question that is under way."""
        self.preview()
        write = self.decide(SCALE)
        self.assertEqual(len(self.asked), 2)
        self.answer(True)
        self.assertNoResult(write)
        self.answer(False)
        self.assertFalse(self.allowed(write))
        self.assertTrue(self.allowed(self.preview()))
        again = self.decide(SCALE)
        self.answer(False)
        self.assertFalse(self.allowed(again))

    def test_only_a_write_asks_as_one(self) -> None:
        """Neither a read nor a question for information takes a place that is kept for writes."""
        self.preview()
        self.preview(READ)
        self.decide(READ, "shop/api")
        self.assertEqual(self.for_writes, [])
        self.decide(SCALE)
        self.assertEqual(self.for_writes, [Question("alice", ("dev", "sre"), SCALE, "shop", "web")])

    def test_errors_are_never_remembered(self) -> None:
        """The next question is asked again."""
        failed = self.preview()
        self.answer(Unavailable("The cluster cannot say.", 2))
        self.failureResultOf(failed, Unavailable)
        self.assertNoResult(self.preview())
        self.assertEqual(len(self.asked), 1)
