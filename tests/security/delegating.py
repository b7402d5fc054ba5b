"""What the tests of delegated authorization share: a cluster that is asked, and answers when a test says so."""

from datetime import UTC, datetime

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import Unavailable
from sre_server.security.authorization import Decision, Verb
from sre_server.security.delegation import KubernetesAuthorizer
from sre_server.security.identity import Identity
from sre_server.security.questions import Question

READ, SCALE = Verb.READ, Verb.SCALE
ALICE = Identity("alice", ("dev", "sre"), "ab" * 32, datetime(2100, 1, 1, tzinfo=UTC))
MAX_STALENESS = 120.0
CANNOT_SAY = Unavailable("The cluster cannot say.", 2)
BOB = Identity("bob", (), "cd" * 32, datetime(2100, 1, 1, tzinfo=UTC))


class DelegationTests(SynchronousTestCase):
    """A cluster that answers when the test says so."""

    def setUp(self) -> None:
        """Ask it."""
        self.now = 100.0
        self.asked: list[tuple[Question, Deferred[bool]]] = []
        self.for_writes: list[Question] = []
        self.authorizer = KubernetesAuthorizer(self.review, lambda: self.now, MAX_STALENESS)

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

    def answers(self, *allowed: bool | Exception) -> list[tuple[str | None, str | None]]:
        """Answer so many questions, each when it comes; return their namespaces and names."""
        asked = [self.answer(each) for each in allowed]
        return [(question.namespace, question.name) for question in asked]

    def allowed(self, decided: Deferred[Decision]) -> bool:
        """The yes or no that has come."""
        return self.successResultOf(decided).allowed
