"""`--authorization=kubernetes`: the cluster's own RBAC decides, by SubjectAccessReview.

A read is asked for widely first: for all namespaces, then for its namespace, then by its name. A wider yes covers
what is narrower, as it does in RBAC, whose rules only grant. What is remembered decides reads (`asking.py`), and what
lists show is worked out once for as long (`known_views.py`). Neither decides a write: that is always asked by its name,
and afresh.

While the cluster cannot be asked, its last word stands for reads, for as long as the cache's contents may be told;
writes fail with Unavailable, and so does what has no last word: nothing is allowed that the cluster has not allowed.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from twisted.internet.defer import Deferred, FirstError, gatherResults

from sre_server.errors import NotPermitted
from sre_server.security.asking import ASKED_AT_ONCE, Asking, later
from sre_server.security.authorization import EVERYTHING, Decision, Verb, View
from sre_server.security.identity import Identity
from sre_server.security.known_views import KnownViews, WholeNamespaces
from sre_server.security.questions import Question, Review, about

SYSTEM: Final = "system:"


class _Look(Struct, frozen=True):
    """What was found that a client sees, from when on that was asked for, and until when all of it is good."""

    view: View
    began: float
    until: float


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
        self._pass_system_names = pass_system_names
        self._views = KnownViews()
        self._asking = Asking(review, now, max_staleness, self._changed)

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
        return self._decided([*about(identity, None, namespace), narrow] if verb is Verb.READ else [narrow])

    def decide_on_everything(self, identity: Identity) -> Decision | Deferred[Decision]:
        """See `Authorizer.decide_on_everything`."""
        if refusal := self._refusal(identity):
            return refusal
        return self._decided(about(identity, None))

    def view(self, identity: Identity, namespaces: Collection[str]) -> View | Deferred[View]:
        """See `Authorizer.view`.

        RBAC is asked for whole namespaces: a Deployment that a client may read by its name alone is in no list.
        """
        if refusal := self._refusal(identity):
            raise NotPermitted(refusal.rule)
        return self.known_view(identity, namespaces) or Deferred.fromCoroutine(self._view(identity, namespaces))

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """See `Authorizer.known_to_read`."""
        wide = ((None, None), (namespace, None), (namespace, name))
        return any(self._asking.fresh(Question(identity.name, identity.groups, Verb.READ, *where)) for where in wide)

    def known_view(self, identity: Identity, namespaces: Collection[str]) -> View | None:
        """See `Authorizer.known_view`."""
        everything, *one = about(identity, None, *(namespaces if len(namespaces) == 1 else ()))
        if self._asking.fresh(everything):
            return EVERYTHING
        if one:
            return WholeNamespaces(frozenset(namespaces)) if self._asking.fresh(*one) else None
        return self._views.find(everything.client, namespaces, self._now())

    def _refusal(self, identity: Identity) -> Decision | None:
        """Refuse a certificate that claims to be a part of the cluster, as any CA can let it claim."""
        names = () if self._pass_system_names else (identity.name, *identity.groups)
        name = next((name for name in names if name.startswith(SYSTEM)), None)
        if name is None:
            return None
        return Decision(allowed=False, rule=f"'{name}' is a name of the cluster's own, see --system-names")

    async def _view(self, identity: Identity, namespaces: Collection[str]) -> View:
        """Look what a client sees, once for all of its requests that wait for it.

        One that came later than that began is told nothing that was too old when it came: it may have to look again.
        """
        arrived, what = self._now(), (identity.name, identity.groups, frozenset(namespaces))
        while True:
            looked: Deferred[_Look] = Deferred()
            self._asking.share(what, lambda: Deferred.fromCoroutine(self._look(identity, namespaces)), looked)
            look = await looked
            if arrived <= look.began or arrived < look.until:
                return look.view

    async def _look(self, identity: Identity, namespaces: Collection[str]) -> _Look:
        began = self._now()
        everything, *each = about(identity, None, *namespaces)
        first = [everything, *each] if len(each) == 1 else [everything]
        granted = await later(self._asking.granted(first))
        if granted or len(each) == 1:
            until = self._asking.good_until([granted] if granted else first)
            whole = WholeNamespaces(frozenset(namespaces if granted else ()))
            return _Look(EVERYTHING if granted is everything else whole, began, until)
        answers: dict[Question, bool] = {}
        for batch in _batches(self._asking.doubtful(each)):
            try:
                found = await gatherResults(
                    [later(self._asking.ask(question)) for question in batch], consumeErrors=True
                )
            except FirstError as error:
                error.subFailure.raiseException()
            answers.update(zip(batch, found, strict=True))
        allowed = [question for question in each if self._newest(question, answers)]
        until = self._asking.good_until([everything, *allowed])
        view = WholeNamespaces(frozenset(question.namespace or "" for question in allowed))
        return _Look(self._views.keep(everything.client, namespaces, view, self._now(), until), began, until)

    def _newest(self, question: Question, answers: Mapping[Question, bool]) -> bool | None:
        """Return the last word on a question; where that was forgotten already, what was answered just now."""
        last = self._asking.last_word(question)
        return answers.get(question) if last is None else last

    def _changed(self, question: Question) -> None:
        """Forget what a client sees where that may be something else now."""
        if question.verb is Verb.READ and question.name is None:
            self._views.drop(question.client)

    def _decided(self, questions: Sequence[Question]) -> Decision | Deferred[Decision]:
        granted = self._asking.granted(questions)
        if isinstance(granted, Deferred):
            return granted.addCallback(lambda found: _decision(found is not None, found or questions[-1]))
        return _decision(granted is not None, granted or questions[-1])


def _batches(questions: Sequence[Question]) -> Iterator[Sequence[Question]]:
    return (questions[start : start + ASKED_AT_ONCE] for start in range(0, len(questions), ASKED_AT_ONCE))


def _decision(allowed: bool, question: Question) -> Decision:  # a Deferred's result
    return Decision(allowed, f"the cluster's RBAC: {question} is {'allowed' if allowed else 'not allowed'}")
