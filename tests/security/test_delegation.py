"""`--authorization=kubernetes`: the cluster is asked as little as is safe, and nothing is allowed without its yes."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import Crowded, NotPermitted, Unavailable
from sre_server.security.asking import AGAIN_SECONDS, REMEMBER_SECONDS
from sre_server.security.authorization import Decision
from sre_server.security.delegation import KubernetesAuthorizer
from sre_server.security.identity import Identity
from sre_server.security.questions import Question, review_spec
from tests.security.delegating import ALICE, BOB, CANNOT_SAY, MAX_STALENESS, READ, SCALE, DelegationTests


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
        everywhere = "get deployments in all namespaces is allowed"
        for verb, answers, rule in (
            (READ, (True,), everywhere),
            (READ, (False, True), "get deployments in shop is allowed"),
            (READ, (False, False, True), "get deployments in shop is allowed"),
            (READ, (False, False, False), "get deployments in shop is not allowed"),
            (SCALE, (True,), "patch deployments/scale in shop is allowed"),
            (SCALE, (False,), "patch deployments/scale in shop is not allowed"),
        ):
            self.now += 100
            decided = self.decide(verb)
            for answer in answers:
                self.assertNoResult(decided)
                self.assertEqual(len(self.asked), 1)
                self.answer(answer)
            decision = self.successResultOf(decided)
            self.assertEqual((decision.allowed, decision.rule), (answers[-1], f"the cluster's RBAC: {rule}"))

    def test_from_wide_to_narrow(self) -> None:
        """A read asks for all namespaces, then for its own, then by its name; a write by its name alone."""
        self.decide()
        self.assertEqual(self.answers(False, False, False), [(None, None), ("shop", None), ("shop", "web")])
        self.decide(SCALE)
        self.assertEqual(self.answers(True), [("shop", "web")])

    def test_a_wide_yes_covers_what_is_narrower(self) -> None:
        """Who may read everything is asked about once, however much is read; who may read a namespace, once for it."""
        for answers in ((True,), (False, True)):
            self.now += 100
            self.decide()
            self.answers(*answers)
            for number in range(10_000):
                self.assertTrue(self.allowed(self.decide(READ, f"shop/web-{number}")))
            self.assertEqual(self.asked, [])
        self.decide(READ, "pay/web")
        self.assertEqual(self.answers(True), [("pay", None)])

    def test_everything_at_once(self) -> None:
        """A question about everything names neither namespace nor name."""
        decided = self.authorizer.decide_on_everything(ALICE)
        assert isinstance(decided, Deferred)
        self.assertEqual(self.answer(True), Question("alice", ("dev", "sre"), READ, None, None))
        self.assertIn("all namespaces", self.successResultOf(decided).rule)

    def test_a_namespace_called_like_a_wildcard(self) -> None:
        """No name stands for all of them: a star is asked about as it is."""
        self.decide(READ, "*/*")
        self.assertEqual(self.answers(False, False, False), [(None, None), ("*", None), ("*", "*")])

    def test_answers_to_reads_are_remembered_for_ten_seconds(self) -> None:
        """Yes and no alike, from the moment of the question, and not a second longer."""
        self.assertEqual(REMEMBER_SECONDS, 10)
        for allowed in (True, False):
            self.now = asked_at = self.now + 100
            decided = self.decide()
            self.now += 4
            self.answers(*[allowed] * (1 if allowed else 3))
            self.assertEqual(self.allowed(decided), allowed)
            self.now = asked_at + 9.9
            self.assertEqual(self.allowed(self.decide()), allowed)
            self.assertEqual(self.asked, [])
            self.now = asked_at + 10
            again = self.decide()
            self.answers(*[not allowed] * (3 if allowed else 1))
            self.assertEqual(self.allowed(again), not allowed)

    def test_what_is_remembered_is_known_at_once(self) -> None:
        """It comes as a plain value: no Deferred, no turn of the reactor."""
        self.decide()
        self.answer(True)
        self.assertIsInstance(self.authorizer.decide(ALICE, READ, "shop", "web"), Decision)

    def test_another_client_has_answers_of_its_own(self) -> None:
        """Another name, or other groups: nothing of one's answers is used for another."""
        self.decide()
        self.answer(True)
        for who in (BOB, Identity("alice", ("dev",), "ab" * 32, ALICE.not_after)):
            self.assertNoResult(self.decide(READ, "shop/web", who))
        self.assertEqual(len(self.asked), 2)

    def test_another_namespace_has_an_answer_of_its_own(self) -> None:
        """Nothing that was said of one is used for another, nor what was said of a name for another one."""
        self.decide()
        self.answers(False, False, True)
        self.decide(READ, "shop/api")
        self.assertEqual(self.answers(False), [("shop", "api")])
        self.decide(READ, "pay/web")
        self.assertEqual(self.answers(False, False), [("pay", None), ("pay", "web")])

    def test_errors_are_never_remembered(self) -> None:
        """A cluster that cannot say is asked again by the next request, and its word counts then."""
        failed = self.decide()
        self.answer(CANNOT_SAY)
        self.failureResultOf(failed, Unavailable)
        decided = self.decide()
        self.answer(True)
        self.assertTrue(self.allowed(decided))

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
        other = self.decide(READ, "pay/api")
        self.assertEqual(len(self.asked), 1)
        self.answers(False, True)
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
        self.answer(CANNOT_SAY)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_one_error_is_everybodys(self) -> None:
        """All who wait hear of it."""
        waiting = [self.decide() for _ in range(3)]
        self.answer(CANNOT_SAY)
        for each in waiting:
            self.failureResultOf(each, Unavailable)


class UnreachableTests(DelegationTests):
    """A cluster that cannot be asked."""

    def known(self, *answers: bool) -> None:
        """Let the cluster say something of a read, then be silent."""
        self.decide()
        self.answers(*answers)
        self.now += REMEMBER_SECONDS

    def test_its_last_yes_stands(self) -> None:
        """For reads, until it is older than what the cache tells, whether it was about everything or a name."""
        for answers in ((True,), (False, True), (False, False, True)):
            self.now += 1000
            asked_at = self.now
            self.known(*answers)
            decided = self.decide()
            self.answer(CANNOT_SAY)
            self.assertTrue(self.allowed(decided))
            self.now = asked_at + MAX_STALENESS - 0.1
            self.assertTrue(self.allowed(self.decide()))
            self.answer(CANNOT_SAY)
            self.now = asked_at + MAX_STALENESS
            failed = self.decide()
            while self.asked:
                self.answer(CANNOT_SAY)
            self.failureResultOf(failed, Unavailable)

    def test_nobody_waits_for_it(self) -> None:
        """Once it could not be asked, reads are answered at once, and it is tried now and then whether it can be."""
        self.known(True)
        self.decide()
        self.answer(CANNOT_SAY)
        for _ in range(100):
            self.assertTrue(self.allowed(self.decide()))
        self.assertEqual(self.asked, [])
        self.now += AGAIN_SECONDS
        for _ in range(100):
            self.assertTrue(self.allowed(self.decide()))
        self.assertEqual(len(self.asked), 1)
        self.answer(False)
        decided = self.decide()
        self.assertEqual(self.answers(False, False), [("shop", None), ("shop", "web")])
        self.assertFalse(self.allowed(decided))

    def test_its_last_no_stands_too(self) -> None:
        """What was refused is refused."""
        self.known(False, False, False)
        decided = self.decide()
        self.answer(CANNOT_SAY)
        self.assertFalse(self.allowed(decided))

    def test_what_it_has_never_said(self) -> None:
        """Nothing is allowed without its yes: another client, or another namespace, is Unavailable."""
        self.known(False, True)
        for where, who in (("shop/web", BOB), ("pay/web", ALICE)):
            failed = self.decide(READ, where, who)
            while self.asked:
                self.answer(CANNOT_SAY)
            self.failureResultOf(failed, Unavailable)

    def test_writes_fail(self) -> None:
        """Whatever it said before."""
        self.known(True)
        self.decide(SCALE)
        self.answer(True)
        failed = self.decide(SCALE)
        self.answer(CANNOT_SAY)
        self.failureResultOf(failed, Unavailable)

    def test_a_crowd_of_ones_own(self) -> None:
        """Who has too many questions under way gains nothing by it: an old yes stands in for the cluster alone."""
        self.known(True)
        failed = self.decide()
        self.answer(Crowded("Too many questions.", 2))
        self.failureResultOf(failed, Crowded)
        self.assertNoResult(self.decide())


class SystemNamesTests(DelegationTests):
    """Names that are the cluster's own."""

    CLAIMANTS = (
        Identity("system:kube-controller-manager", (), "ab" * 32, ALICE.not_after),
        Identity("alice", ("sre", "system:masters"), "ab" * 32, ALICE.not_after),
    )

    def test_they_are_refused(self) -> None:
        """Whoever claims one may nothing, and the cluster is not asked; the refusal names it, and the option."""
        for who in self.CLAIMANTS:
            decisions = [
                self.authorizer.decide(who, READ, "shop", "web"),
                self.authorizer.decide(who, SCALE, "shop", "web"),
                self.authorizer.preview(who, SCALE, "shop", "web"),
                self.authorizer.decide_on_everything(who),
            ]
            for decision in decisions:
                assert isinstance(decision, Decision)
                self.assertFalse(decision.allowed)
                self.assertRegex(decision.rule, r"^'system:.*--system-names$")
            self.assertRaises(NotPermitted, self.authorizer.view, who, ["shop"])
            self.assertFalse(self.authorizer.known_to_read(who, "shop", "web"))
            self.assertIsNone(self.authorizer.known_view(who, ["shop"]))
        self.assertEqual(self.asked, [])

    def test_they_are_passed_on(self) -> None:
        """Where the operator says so."""
        self.authorizer = KubernetesAuthorizer(self.review, lambda: self.now, pass_system_names=True)
        for who in self.CLAIMANTS:
            decided = self.decide(SCALE, "shop/web", who)
            self.assertEqual(self.answer(True), Question(who.name, who.groups, SCALE, "shop", "web"))
            self.assertTrue(self.allowed(decided))

    def test_other_names(self) -> None:
        """That they contain it is nothing."""
        who = Identity("ecosystem:alice", ("systems", "a:system:b", "System:x"), "ab" * 32, ALICE.not_after)
        self.assertNoResult(self.decide(SCALE, "shop/web", who))


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
        self.decide()
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
        self.answer(CANNOT_SAY)
        self.failureResultOf(failed, Unavailable)
        self.assertNoResult(self.preview())
        self.assertEqual(len(self.asked), 1)
