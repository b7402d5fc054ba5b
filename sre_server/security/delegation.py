"""`--authorization=kubernetes`: the cluster's own RBAC decides, by SubjectAccessReview.

Answers are remembered for at most 10 s, as the generic apiserver does (apiserver pkg/server/options/authorization.go);
errors never are. Equal questions that are under way at the same time are asked once. Neither decides a write: that is
always asked afresh. While the cluster cannot say, reads and writes alike fail with Unavailable: nothing is allowed on
an error.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.python.failure import Failure

from sre_server.security.authorization import EVERY, Decision, Named, Tree, Verb
from sre_server.security.identity import Identity

REMEMBER_SECONDS: Final = 10.0
REMEMBERED: Final = 8192
ASKED_AT_ONCE: Final = 16
"""How many reviews one list may have under way, so that it does not crowd out everybody else's."""


class Question(Struct, frozen=True):
    """One SubjectAccessReview; None for a namespace means all of them, None for a name any."""

    user: str
    groups: tuple[str, ...]
    verb: Verb
    namespace: str | None
    name: str | None

    def __str__(self) -> str:
        """Say what is asked, as a rule of RBAC would."""
        what = "get deployments" if self.verb is Verb.READ else "patch deployments/scale"
        return f"{what} in {self.namespace or 'all namespaces'}"


def review_spec(question: Question) -> dict[str, object]:
    """Return the question as the spec of a SubjectAccessReview (authorization.k8s.io/v1).

    Whoever is known is in the group `system:authenticated`, as everywhere in Kubernetes.
    """
    attributes = {
        "group": "apps",
        "resource": "deployments",
        "verb": "get" if question.verb is Verb.READ else "patch",
        "subresource": "" if question.verb is Verb.READ else "scale",
        "namespace": question.namespace or "",
        "name": question.name or "",
    }
    return {
        "user": question.user,
        "groups": [*question.groups, "system:authenticated"],
        "resourceAttributes": attributes,
    }


class Review(Protocol):
    """Asks the cluster; fires with its yes or no, or fails with Unavailable."""

    def __call__(self, question: Question, *, for_write: bool) -> Deferred[bool]:
        """Ask a question, of which `for_write` tells whether a write waits for its answer."""


class _Remembered(Struct, frozen=True):
    allowed: bool
    until: float


class KubernetesAuthorizer:
    """Asks the cluster through `review`; `now` is a monotonic clock in seconds."""

    def __init__(self, review: Review, now: Callable[[], float]) -> None:
        self._review = review
        self._now = now
        self._remembered: OrderedDict[Question, _Remembered] = OrderedDict()
        self._waiting: dict[Question, list[Deferred[bool]]] = {}

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision | Deferred[Decision]:
        """See `Authorizer.decide`."""
        if verb is Verb.READ:
            return self.preview(identity, verb, namespace, name)
        question = _question(identity, verb, namespace, name)
        return self._review(question, for_write=True).addCallback(_decision, question)

    def preview(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision | Deferred[Decision]:
        """See `Authorizer.preview`."""
        question = _question(identity, verb, namespace, name)
        allowed = self._ask(question)
        if isinstance(allowed, Deferred):
            return allowed.addCallback(_decision, question)
        return _decision(allowed, question)

    def readable(self, identity: Identity, tree: Tree[Named]) -> Tree[Named] | Deferred[Tree[Named]]:
        """See `Authorizer.readable`.

        RBAC is asked for whole namespaces: a Deployment that a client may read by its name alone is in no list.
        """
        return Deferred.fromCoroutine(self._readable(identity, tree))

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """See `Authorizer.known_to_read`."""
        return self._remembers(Question(identity.name, identity.groups, Verb.READ, namespace, name)) is True

    def known_to_read_all(self, identity: Identity, namespace: str | None) -> bool:
        """See `Authorizer.known_to_read_all`."""
        return self._remembers(Question(identity.name, identity.groups, Verb.READ, namespace, None)) is True

    async def _readable(self, identity: Identity, tree: Tree[Named]) -> Tree[Named]:
        def question(namespace: str | None) -> Question:
            return Question(identity.name, identity.groups, Verb.READ, namespace, None)

        if len(tree) != 1 and await self._answer(question(None)):
            return tree
        readable: dict[str, Mapping[str, Named]] = {}
        for namespaces in _batches(list(tree)):
            answers = gatherResults([self._answer(question(name)) for name in namespaces], consumeErrors=True)
            try:
                allowed = await answers
            except FirstError as error:
                error.subFailure.raiseException()
            readable |= {name: tree[name] for name, yes in zip(namespaces, allowed, strict=True) if yes}
        return readable

    def _answer(self, question: Question) -> Deferred[bool]:
        allowed = self._ask(question)
        return allowed if isinstance(allowed, Deferred) else succeed(allowed)

    def _ask(self, question: Question) -> bool | Deferred[bool]:
        """Return what is remembered, or a Deferred of one's own that fires when the cluster has answered."""
        remembered = self._remembers(question)
        if remembered is not None:
            return remembered
        waiter: Deferred[bool] = Deferred()
        waiters = self._waiting.setdefault(question, [])
        waiters.append(waiter)
        if len(waiters) == 1:
            asked_at = self._now()
            self._review(question, for_write=False).addBoth(self._answered, question, asked_at)
        return waiter

    def _remembers(self, question: Question) -> bool | None:
        remembered = self._remembered.get(question)
        return remembered.allowed if remembered is not None and remembered.until > self._now() else None

    def _answered(self, answer: bool | Failure, question: Question, asked_at: float) -> None:
        if not isinstance(answer, Failure):
            self._remembered[question] = _Remembered(answer, asked_at + REMEMBER_SECONDS)
            self._remembered.move_to_end(question)
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        for waiter in self._waiting.pop(question):
            if not waiter.called:
                waiter.callback(answer)


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + ASKED_AT_ONCE] for start in range(0, len(names), ASKED_AT_ONCE))


def _question(identity: Identity, verb: Verb, namespace: str, name: str) -> Question:
    where, which = (None if part == EVERY else part for part in (namespace, name))
    return Question(identity.name, identity.groups, verb, where, which)


def _decision(allowed: bool, question: Question) -> Decision:  # a Deferred's result
    return Decision(allowed, f"the cluster's RBAC: {question} is {'allowed' if allowed else 'not allowed'}")
