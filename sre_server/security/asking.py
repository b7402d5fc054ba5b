"""Asking the cluster what clients may do, as seldom as is safe; its answers are remembered.

An answer is good for 10 s, as with the generic apiserver (apiserver pkg/server/options/authorization.go), and equal
questions that are under way at the same time are asked once.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from sre_server.errors import Crowded, Unavailable
from sre_server.security.limits import MAX_CLIENTS
from sre_server.security.questions import Client, Question, Review
from sre_server.security.verdicts import Verdict, Verdicts

REMEMBER_SECONDS: Final = 10.0
DENIED_SECONDS: Final = 300.0
"""So old a no may be that keeps a namespace out of a list of all; see `Asking.doubtful`."""
REVISIT_SECONDS: Final = 240.0
"""In so much time lists that are asked for all along come back to each no, some at a time, before it is too old."""
AGAIN_SECONDS: Final = 2.0
"""So often it is tried whether the cluster can be asked again, for each client."""
ASKED_AT_ONCE: Final = 16
"""How many reviews one list may have under way, so that it does not crowd out everybody else's."""
_T = TypeVar("_T")


class Asking:
    """Asks the cluster through `review`; `now` is a monotonic clock in seconds, and so is `max_staleness`.

    `changed` is told of each question to which there is a first answer, or another one than before.
    """

    def __init__(
        self,
        review: Review,
        now: Callable[[], float],
        max_staleness: float,
        changed: Callable[[Question], object],
    ) -> None:
        self._review = review
        self._now = now
        self._max_staleness = max_staleness
        self._changed = changed
        self._verdicts = Verdicts()
        self._waiting: dict[Hashable, list[Deferred[Any]]] = {}
        self._ask_again_at: dict[Client, float] = {}

    def fresh(self, question: Question) -> bool | None:
        """Return the answer that is remembered, if it is good."""
        verdict = self._verdicts.find(question.client, question)
        return verdict.allowed if verdict is not None and self._age(verdict) < REMEMBER_SECONDS else None

    def last_word(self, question: Question) -> bool | None:
        """Return the last answer, unless it is too old to stand for one that cannot be had."""
        verdict = self._verdicts.find(question.client, question)
        if verdict is None:
            return None
        bound = self._max_staleness if verdict.allowed else max(self._max_staleness, DENIED_SECONDS)
        return verdict.allowed if self._age(verdict) < max(bound, REMEMBER_SECONDS) else None

    def good_until(self, questions: Sequence[Question]) -> float:
        """Return when the first of the answers is too old: now or earlier, where one is not remembered."""
        verdicts = [self._verdicts.find(question.client, question) for question in questions]
        return min(-math.inf if verdict is None else verdict.asked_at + REMEMBER_SECONDS for verdict in verdicts)

    def doubtful(self, questions: Sequence[Question]) -> list[Question]:
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

    def granted(self, questions: Sequence[Question]) -> Question | Deferred[Question | None] | None:
        """Return the first of the questions to which the answer is yes; they are asked in turn, from wide to narrow."""
        for question in questions:
            if self.fresh(question):
                return question
        for number, question in enumerate(questions):
            allowed = self.ask(question)
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
            granted = next(filter(self.last_word, narrower), None)
            if granted is None:
                raise
            return granted
        if allowed:
            return asked
        return await later(self.granted(narrower))

    def ask(self, question: Question) -> bool | Deferred[bool]:
        """Return what is known, or a Deferred of one's own that fires when the cluster has answered.

        While it cannot be asked, its last word stands, and it is asked now and then whether it can.
        """
        fresh = self.fresh(question)
        if fresh is not None:
            return fresh
        last, again_at = self.last_word(question), self._ask_again_at.get(question.client)
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
        answered = partial(self._answered, question=question, asked_at=self._now())
        self.share(question, lambda: self._review(question, for_write=False).addBoth(answered), *waiters)

    def share(self, what: Hashable, begin: Callable[[], Deferred[_T]], *waiters: Deferred[_T]) -> None:
        """Have all waiters told what some work comes to; begin it, unless it is under way."""
        waiting = self._waiting.get(what)
        if waiting is not None:
            waiting.extend(waiters)
            return
        self._waiting[what] = list(waiters)
        begin().addBoth(self._settle, what)

    def _settle(self, result: object, what: Hashable) -> None:
        for waiter in self._waiting.pop(what):
            if not waiter.called:
                waiter.callback(result)

    def _answered(self, answer: bool | Failure, question: Question, asked_at: float) -> bool | Failure:
        if not isinstance(answer, Failure):
            before = self._verdicts.find(question.client, question)
            if before is None or before.allowed is not answer:
                self._changed(question)
            self._verdicts.keep(question.client, question, Verdict(answer, asked_at))
            self._ask_again_at.pop(question.client, None)
        elif not answer.check(Crowded):
            last = self.last_word(question)
            if len(self._ask_again_at) >= MAX_CLIENTS:
                self._ask_again_at.clear()
            self._ask_again_at[question.client] = self._now() + AGAIN_SECONDS
            answer = answer if last is None else last
        return answer

    def _age(self, verdict: Verdict) -> float:
        return self._now() - verdict.asked_at


def later(value: _T | Deferred[_T]) -> Deferred[_T]:
    """Return what comes later, or is here already, as what comes later."""
    return value if isinstance(value, Deferred) else succeed(value)
