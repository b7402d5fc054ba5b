"""`--authorization=kubernetes`: the cluster's own RBAC decides, by SubjectAccessReview.

A read is asked for widely first: for all namespaces, then for its namespace, then by its name. A wider yes covers
what is narrower, as it does in RBAC, whose rules only grant. Answers are good for 10 s, as with the generic apiserver
(apiserver pkg/server/options/authorization.go), and equal questions that are under way at the same time are asked once.
Neither decides a write: that is always asked by its name, and afresh.

While the cluster cannot be asked, its last word stands for reads, for as long as the cache's contents may be told;
writes fail with Unavailable, and so does what has no last word: nothing is allowed that the cluster has not allowed.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from operator import itemgetter
from typing import Final, Protocol, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.python.failure import Failure

from sre_server.errors import Crowded, NotPermitted, Unavailable
from sre_server.security.authorization import EVERYTHING, WHOLE, Decision, Extent, Verb, View
from sre_server.security.identity import Identity
from sre_server.security.limits import MAX_CLIENTS
from sre_server.security.verdicts import Verdict, Verdicts

REMEMBER_SECONDS: Final = 10.0
DENIED_SECONDS: Final = 300.0
"""So old a no may be that keeps a namespace out of a list of all; see `KubernetesAuthorizer._doubtful`."""
REVISIT_SECONDS: Final = 240.0
"""In so much time lists that are asked for all along come back to each no, some at a time, before it is too old."""
AGAIN_SECONDS: Final = 2.0
"""So often it is tried whether the cluster can be asked again, for each client."""
ASKED_AT_ONCE: Final = 16
"""How many reviews one list may have under way, so that it does not crowd out everybody else's."""
SYSTEM: Final = "system:"
Client = tuple[str, tuple[str, ...]]
_T = TypeVar("_T")


class Question(Struct, frozen=True):
    """One SubjectAccessReview; None for a namespace means all of them, None for a name any."""

    user: str
    groups: tuple[str, ...]
    verb: Verb
    namespace: str | None
    name: str | None

    @property
    def client(self) -> Client:
        """Whom it is about."""
        return self.user, self.groups

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


class _Namespaces(Struct, frozen=True):
    """A view of whole namespaces."""

    allowed: frozenset[str]

    def extent(self, namespace: str) -> Extent | None:
        """See `View.extent`."""
        return WHOLE if namespace in self.allowed else None


class KubernetesAuthorizer:
    """Asks the cluster through `review`; `now` is a monotonic clock in seconds, and so is `max_staleness`.

    Clients with names that begin with `system:`, which are the cluster's own, may nothing, unless they are to be passed
    on.
    """

    def __init__(
        self,
        review: Review,
        now: Callable[[], float],
        max_staleness: float = 120.0,
        *,
        pass_system_names: bool = False,
    ) -> None:
        self._review = review
        self._now = now
        self._max_staleness = max_staleness
        self._pass_system_names = pass_system_names
        self._verdicts = Verdicts()
        self._waiting: dict[Question, list[Deferred[bool]]] = {}
        self._ask_again_at: dict[Client, float] = {}

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision | Deferred[Decision]:
        """See `Authorizer.decide`."""
        if verb is Verb.READ:
            return self.preview(identity, verb, namespace, name)
        if refusal := self._refusal(identity):
            return refusal
        question = Question(identity.name, identity.groups, verb, namespace, name)
        return self._review(question, for_write=True).addCallback(_decision, question)

    def preview(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision | Deferred[Decision]:
        """See `Authorizer.preview`."""
        if refusal := self._refusal(identity):
            return refusal
        narrow = Question(identity.name, identity.groups, verb, namespace, name)
        return self._decided([*_reads(identity, None, namespace), narrow] if verb is Verb.READ else [narrow])

    def decide_on_everything(self, identity: Identity) -> Decision | Deferred[Decision]:
        """See `Authorizer.decide_on_everything`."""
        if refusal := self._refusal(identity):
            return refusal
        return self._decided(_reads(identity, None))

    def view(self, identity: Identity, namespaces: Collection[str]) -> View | Deferred[View]:
        """See `Authorizer.view`.

        RBAC is asked for whole namespaces: a Deployment that a client may read by its name alone is in no list.
        """
        if refusal := self._refusal(identity):
            raise NotPermitted(refusal.rule)
        return Deferred.fromCoroutine(self._view(identity, namespaces))

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """See `Authorizer.known_to_read`."""
        wide = ((None, None), (namespace, None), (namespace, name))
        return any(self._fresh(Question(identity.name, identity.groups, Verb.READ, *where)) for where in wide)

    def known_view(self, identity: Identity, namespace: str | None) -> View | None:
        """See `Authorizer.known_view`."""
        everything, *narrower = _reads(identity, None, *([namespace] if namespace is not None else []))
        if self._fresh(everything):
            return EVERYTHING
        return _Namespaces(frozenset({namespace or ""})) if any(map(self._fresh, narrower)) else None

    def _refusal(self, identity: Identity) -> Decision | None:
        """Refuse a certificate that claims to be a part of the cluster, as any CA can let it claim."""
        names = () if self._pass_system_names else (identity.name, *identity.groups)
        name = next((name for name in names if name.startswith(SYSTEM)), None)
        if name is None:
            return None
        return Decision(allowed=False, rule=f"'{name}' is a name of the cluster's own, see --system-names")

    async def _view(self, identity: Identity, namespaces: Collection[str]) -> View:
        everything, *each = _reads(identity, None, *namespaces)
        if len(each) == 1:
            granted = await _later(self._granted([everything, *each]))
            return EVERYTHING if granted is everything else _Namespaces(frozenset(namespaces if granted else ()))
        if await _later(self._granted([everything])):
            return EVERYTHING
        allowed = {question.namespace or "": self._last_word(question) for question in each}
        for batch in _batches(self._doubtful(each)):
            try:
                answers = await gatherResults([_later(self._ask(question)) for question in batch], consumeErrors=True)
            except FirstError as error:
                error.subFailure.raiseException()
            allowed.update(zip((question.namespace or "" for question in batch), answers, strict=True))
        return _Namespaces(frozenset(namespace for namespace, yes in allowed.items() if yes))

    def _doubtful(self, questions: Sequence[Question]) -> list[Question]:
        """Return those that a list has to ask: without an answer, or with a yes that is too old, and some of the noes.

        An old no shows nothing that it should not, so that it is enough to come back to each from time to time.
        """
        doubtful: list[Question] = []
        denied: list[tuple[float, Question]] = []
        for question in questions:
            verdict = self._verdicts.find(question.client, question)
            age = math.inf if verdict is None else self._age(verdict)
            if verdict is not None and not verdict.allowed and age < DENIED_SECONDS:
                denied.append((age, question))
            elif age >= REMEMBER_SECONDS:
                doubtful.append(question)
        denied.sort(key=itemgetter(0), reverse=True)
        some = max(ASKED_AT_ONCE, math.ceil(len(denied) * REMEMBER_SECONDS / REVISIT_SECONDS))
        some -= sum(age < REMEMBER_SECONDS for age, _ in denied)
        return [*doubtful, *(question for age, question in denied[: max(0, some)] if age >= REMEMBER_SECONDS)]

    def _decided(self, questions: Sequence[Question]) -> Decision | Deferred[Decision]:
        granted = self._granted(questions)
        if isinstance(granted, Deferred):
            return granted.addCallback(lambda found: _decision(found is not None, found or questions[-1]))
        return _decision(granted is not None, granted or questions[-1])

    def _granted(self, questions: Sequence[Question]) -> Question | Deferred[Question | None] | None:
        """Return the first of the questions to which the answer is yes; they are asked in turn, from wide to narrow."""
        for question in questions:
            if self._fresh(question):
                return question
        for number, question in enumerate(questions):
            allowed = self._ask(question)
            if isinstance(allowed, Deferred):
                return Deferred.fromCoroutine(self._granted_later(allowed, questions[number:]))
            if allowed:
                return question
        return None

    async def _granted_later(self, answer: Deferred[bool], questions: Sequence[Question]) -> Question | None:
        asked, *narrower = questions
        try:
            allowed = await answer
        except Crowded:
            raise
        except Unavailable:
            granted = next(filter(self._last_word, narrower), None)
            if granted is None:
                raise
            return granted
        if allowed:
            return asked
        return await _later(self._granted(narrower))

    def _ask(self, question: Question) -> bool | Deferred[bool]:
        """Return what is known, or a Deferred of one's own that fires when the cluster has answered.

        While it cannot be asked, its last word stands, and it is asked now and then whether it can.
        """
        fresh = self._fresh(question)
        if fresh is not None:
            return fresh
        last, again_at = self._last_word(question), self._ask_again_at.get(question.client)
        if last is not None and again_at is not None:
            if self._now() >= again_at:
                self._ask_again_at[question.client] = self._now() + AGAIN_SECONDS
                self._put(question)
            return last
        waiter: Deferred[bool] = Deferred()
        self._put(question, waiter)
        return waiter

    def _put(self, question: Question, *waiters: Deferred[bool]) -> None:
        """Put a question to the cluster, unless it is being asked."""
        waiting = self._waiting.get(question)
        if waiting is not None:
            waiting.extend(waiters)
            return
        self._waiting[question] = list(waiters)
        self._review(question, for_write=False).addBoth(self._answered, question, self._now())

    def _answered(self, answer: bool | Failure, question: Question, asked_at: float) -> None:
        if not isinstance(answer, Failure):
            self._verdicts.keep(question.client, question, Verdict(answer, asked_at))
            self._ask_again_at.pop(question.client, None)
        elif not answer.check(Crowded):
            last = self._last_word(question)
            if len(self._ask_again_at) >= MAX_CLIENTS:
                self._ask_again_at.clear()
            self._ask_again_at[question.client] = self._now() + AGAIN_SECONDS
            answer = answer if last is None else last
        for waiter in self._waiting.pop(question):
            if not waiter.called:
                waiter.callback(answer)

    def _fresh(self, question: Question) -> bool | None:
        verdict = self._verdicts.find(question.client, question)
        return verdict.allowed if verdict is not None and self._age(verdict) < REMEMBER_SECONDS else None

    def _last_word(self, question: Question) -> bool | None:
        """Return the last answer, unless it is too old to stand for one that cannot be had."""
        verdict = self._verdicts.find(question.client, question)
        if verdict is None:
            return None
        bound = self._max_staleness if verdict.allowed else max(self._max_staleness, DENIED_SECONDS)
        return verdict.allowed if self._age(verdict) < max(bound, REMEMBER_SECONDS) else None

    def _age(self, verdict: Verdict) -> float:
        return self._now() - verdict.asked_at


def _reads(identity: Identity, *namespaces: str | None) -> list[Question]:
    """Return what to ask of whole namespaces; None is all of them."""
    return [Question(identity.name, identity.groups, Verb.READ, namespace, None) for namespace in namespaces]


def _later(value: _T | Deferred[_T]) -> Deferred[_T]:
    return value if isinstance(value, Deferred) else succeed(value)


def _batches(questions: Sequence[Question]) -> Iterator[Sequence[Question]]:
    return (questions[start : start + ASKED_AT_ONCE] for start in range(0, len(questions), ASKED_AT_ONCE))


def _decision(allowed: bool, question: Question) -> Decision:  # a Deferred's result
    return Decision(allowed, f"the cluster's RBAC: {question} is {'allowed' if allowed else 'not allowed'}")
