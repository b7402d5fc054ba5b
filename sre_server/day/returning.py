"""Temporary counts come to their end: each is set back once, by whichever process claims it first.

No process leads. Each looks at the notes about once a second. Whoever finds one that is due writes its claim into it,
by a change that only one can make; then asks the cluster to set the count back if the Deployment is still the same and
has the temporary count; then removes the note. A claim that has stood for 30 s is of a process that is gone: others may
claim anew. The count is then the temporary one, and is set back; or the original one, as the last one has seen to.

A note whose count was never confirmed is looked into after 90 s: see `Endings.settle`.
"""

import random
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sre_server.day.ending import Begin, Ended, Endings, May, Overtaken
from sre_server.day.temporary import CLAIM_SECONDS, PENDING_SECONDS, Known, Temporaries
from sre_server.errors import SreServerError

LOOK_SECONDS: Final = 1.0
AT_ONCE: Final = 8
LONGEST_DELAY: Final = 60.0
_Work = Callable[[str, Known], Coroutine[Deferred[Any], Any, object]]


class _Trouble(Struct, frozen=True):
    failures: int
    until: float


class Returning(Service):
    """Looks about once a second for what is due; `wall` is the time of day, `clock` any other time."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        temporaries: Temporaries,
        endings: Endings,
        begin: Begin,
        wall: Callable[[], datetime],
        chance: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._temporaries = temporaries
        self._endings = endings
        self._begin = begin
        self._wall = wall
        self._chance = chance or random.SystemRandom()
        self._next: IDelayedCall | None = None
        self._busy: dict[str, Deferred[Any]] = {}
        self._troubles: dict[str, _Trouble] = {}

    def startService(self) -> None:
        """Look from now on, at moments of our own: processes that started together are not to look together."""
        super().startService()
        self._plan()

    def stopService(self) -> Deferred[object]:
        """Begin nothing more; fires when what has begun has ended."""
        super().stopService()
        if self._next is not None and self._next.active():
            self._next.cancel()
        return DeferredList(list(self._busy.values())).addCallback(lambda _: None)

    def _plan(self) -> None:
        self._next = self._clock.callLater(LOOK_SECONDS * (0.5 + self._chance.random()), self._tick)

    def _tick(self) -> None:
        try:
            self.attend()
        finally:
            self._plan()

    def overdue(self) -> float:
        """Seconds for which the count has been due that is so for the longest; 0 if none is."""
        now = self._wall()
        return max([0.0, *((now - known.note.until).total_seconds() for _, known in self._temporaries)])

    def attend(self) -> None:
        """Begin with what is due, as far as there is room, in no order: others do the same at this moment."""
        if not self.running:
            return
        present = {uid for uid, _ in self._temporaries}
        self._endings.forget(present)
        self._troubles = {uid: trouble for uid, trouble in self._troubles.items() if uid in present}
        due = [(uid, known, work) for uid, known in self._temporaries if (work := self._work(uid, known)) is not None]
        self._chance.shuffle(due)
        for uid, known, work in due:
            if len(self._busy) < AT_ONCE and uid not in self._busy:
                self._busy[uid] = Deferred.fromCoroutine(self._attempt(uid, known, work))
                self._busy[uid].addBoth(self._left, uid, more=len(due) > AT_ONCE)

    def _left(self, _: object, uid: str, *, more: bool) -> None:
        self._busy.pop(uid, None)
        if more:
            self._clock.callLater(0, self.attend)

    def _work(self, uid: str, known: Known) -> _Work | None:
        """Return what is to be done about a note now, if anything is."""
        trouble, stood = self._troubles.get(uid), self._temporaries.stood(known)
        if trouble is not None and self._clock.seconds() < trouble.until:
            return None
        if self._endings.has_ended(uid, known):
            return self._endings.remove
        note = known.note
        if note.claim:
            return self._return if self._endings.is_ours(note) or stood >= CLAIM_SECONDS else None
        if note.before is not None:
            return self._endings.settle if stood >= PENDING_SECONDS else None
        return self._return if self._wall() >= note.until else None

    def is_being_changed(self, uid: str, known: Known) -> bool:
        """Tell whether somebody may still be about to set this count, or to set it back."""
        stood = self._temporaries.stood(known)
        if uid in self._busy:
            return True
        if known.note.claim:
            return not self._endings.is_ours(known.note) and stood < CLAIM_SECONDS
        return known.note.before is not None and stood < PENDING_SECONDS

    async def _attempt(self, uid: str, known: Known, work: _Work) -> None:
        try:
            await work(uid, known)
        except Overtaken:
            self._troubles.pop(uid, None)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is tried again
            failures = self._troubles[uid].failures + 1 if uid in self._troubles else 1
            delay = min(LONGEST_DELAY, 2.0 ** min(failures, 10)) * (0.5 + self._chance.random() / 2)
            self._troubles[uid] = _Trouble(failures, self._clock.seconds() + delay)
            if isinstance(error, SreServerError):
                self.log.warn(
                    "temporary count of {note.namespace}/{note.name}: {error} Next try in {delay:.0f} s.",
                    note=known.note,
                    error=error,
                    delay=delay,
                )
            else:
                self.log.failure("a temporary count was not attended to")
        else:
            self._troubles.pop(uid, None)

    async def _return(self, uid: str, known: Known) -> None:
        await self._endings.bring_back(uid, known, self._begin)

    async def end(self, uid: str, known: Known, begin: Begin, client: str, may: May) -> Ended:
        """End a temporary count now, for a client that wants it so.

        Raises Overtaken if somebody else is about to, or was faster, and whatever `may` raises, once the count is to be
        set; whatever else is raised, the count is due from now on, and it will be tried again.
        """
        if known.note.before is not None or self.is_being_changed(uid, known):
            raise Overtaken
        done = self._busy[uid] = Deferred()
        try:
            return await self._endings.bring_back(uid, known, begin, client, may)
        finally:
            del self._busy[uid]
            done.callback(None)
