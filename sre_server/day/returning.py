"""Temporary counts come to their end: each is set back once, by whichever process claims it first.

No process leads. Each looks at the notes about once a second. Whoever finds one that is due writes its claim into it,
by a change that only one can make; then asks the cluster to set the count back if the Deployment is still the same and
has the temporary count; then removes the note. A claim that has stood for 30 s is of a process that is gone: others may
claim anew. The count is then the temporary one, and is set back; or the original one, as the last one has seen to.

A note whose count was never confirmed is looked into after 90 s: see `settle`.
"""

import random
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final, Protocol
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sre_server.day.temporary import CLAIM_SECONDS, PENDING_SECONDS, Known, Note, Temporaries
from sre_server.errors import Conflict, NotFound, SreServerError, Unavailable
from sre_server.model import Deployment, Expected, State, Swapped, Written

LOOK_SECONDS: Final = 1.0
AT_ONCE: Final = 8
FRESH_SECONDS: Final = 10.0
"""So long after it was asked for, a claim is acted upon: well before anybody else may take it over."""
LONGEST_DELAY: Final = 60.0
CLIENT: Final = "(temporary counts)"
"""The client that threads work for here: no certificate has a name with parentheses that would be its own."""


class Swap(Protocol):
    """Changes a note; see `sre_server.cluster.notes.Notebook.swap`."""

    def __call__(
        self, client: str, key: str, before: str | None, after: str | None, *, empty: bool
    ) -> Deferred[Swapped]:
        """Put one text in the place of another, if that one is there."""


class Scale(Protocol):
    """Sets a count; see `sre_server.cluster.scaling.Scaling.scale`."""

    def __call__(
        self, client: str, namespace: str, name: str, replicas: int, expected: Expected
    ) -> Deferred[Written | State]:
        """Set it if the Deployment is as expected; fires with what that is if it is not."""


class Look(Protocol):
    """Looks a Deployment up; see `sre_server.cluster.scaling.Scaling.look`."""

    def __call__(self, client: str, namespace: str, name: str, *, count: bool) -> Deferred[State]:
        """Look; fails with NotFound or Unavailable."""


class End(Enum):
    """How a temporary count ended; the values are labels of a metric, and outcomes in the audit log."""

    RETURNED = "changed"
    ALREADY = "already so"
    """The count is the original one: an earlier attempt whose answer was lost did it, or somebody else."""
    SUPERSEDED = "superseded"
    RECREATED = "recreated"
    DELETED = "deleted"


class Ended(Struct, frozen=True):
    """How one ended: the count that there is now, if that is known, and what was written, if anything was."""

    end: End
    replicas: int | None = None
    deployment: Deployment | None = None


class Account(Protocol):
    """Where it is told of one end."""

    def ended(self, ended: Ended) -> None:
        """Tell how it ended; never raises."""

    def failed(self, error: Exception) -> None:
        """Tell that this attempt came to nothing, or to nobody knows what; never raises."""


Begin = Callable[[str, Note, timedelta], Account]
"""Begins to tell of an attempt, and of how late it is; raises Unavailable if that cannot be, so that none is made."""
_Work = Callable[[str, Known], Coroutine[Deferred[Any], Any, object]]


class _Trouble(Struct, frozen=True):
    failures: int
    until: float


class Overtaken(Conflict):
    """Somebody else has changed the note, or is about to."""

    def __init__(self) -> None:
        super().__init__("The temporary count is being changed by somebody else at this moment; try again.", 409)


class Returning(Service):
    """Looks about once a second for what is due; `wall` is the time of day, `clock` any other time."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        temporaries: Temporaries,
        swap: Swap,
        scale: Scale,
        look: Look,
        begin: Begin,
        wall: Callable[[], datetime],
        chance: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._temporaries = temporaries
        self._swap = swap
        self._scale = scale
        self._look = look
        self._begin = begin
        self._wall = wall
        self._chance = chance or random.SystemRandom()
        self._me = uuid4().hex[:12]
        self._claims = 0
        self._next: IDelayedCall | None = None
        self._busy: dict[str, Deferred[Any]] = {}
        self._ended: dict[str, str] = {}
        """Texts of notes whose end is told already, and which are only to be removed."""
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
        self._ended = {uid: text for uid, text in self._ended.items() if uid in present}
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
        if self._ended.get(uid) == known.text:
            return self._remove
        note = known.note
        if note.claim:
            return self._return if self._is_ours(note) or stood >= CLAIM_SECONDS else None
        if note.before is not None:
            return self.settle if stood >= PENDING_SECONDS else None
        return self._return if self._wall() >= note.until else None

    def is_being_changed(self, uid: str, known: Known) -> bool:
        """Tell whether somebody may still be about to set this count, or to set it back."""
        stood = self._temporaries.stood(known)
        if uid in self._busy:
            return True
        if known.note.claim:
            return not self._is_ours(known.note) and stood < CLAIM_SECONDS
        return known.note.before is not None and stood < PENDING_SECONDS

    def _is_ours(self, note: Note) -> bool:
        return note.claim.partition("/")[0] == self._me

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
        await self._bring_back(uid, known, self._begin, CLIENT)

    async def end(self, uid: str, known: Known, begin: Begin, client: str) -> Ended:
        """End a temporary count now, for a client that wants it so.

        Raises Overtaken if somebody else is about to, or was faster; whatever else is raised, the count is due from now
        on, and it will be tried again.
        """
        if known.note.before is not None or self.is_being_changed(uid, known):
            raise Overtaken
        done = self._busy[uid] = Deferred()
        try:
            return await self._bring_back(uid, known, begin, client)
        finally:
            del self._busy[uid]
            done.callback(None)

    async def _bring_back(self, uid: str, known: Known, begin: Begin, client: str) -> Ended:
        """Claim a note, set the count back, and remove the note."""
        self._claims += 1
        # What is claimed is due, whoever goes on with it.
        until = min(known.note.until, self._wall())
        late = self._wall() - until
        claimed = replace(known.note, claim=f"{self._me}/{self._claims}", until=until, before=None)
        asked_at, text = self._clock.seconds(), claimed.text()
        await self._change(uid, known.text, text, client)
        if self._clock.seconds() - asked_at > FRESH_SECONDS:
            raise Unavailable("The claim took too long to be acted upon.", 1)
        account = begin(uid, claimed, late)
        try:
            ended = await self._set_back(uid, claimed, client)
        except Exception as error:
            account.failed(error)
            raise
        account.ended(ended)
        self._ended[uid] = text
        try:
            await self._change(uid, text, None, client)
        except SreServerError as error:
            self.log.info("a temporary count that has ended is still noted: {error}", error=error)
        return ended

    async def _set_back(self, uid: str, note: Note, client: str) -> Ended:
        try:
            outcome = await self._scale(client, note.namespace, note.name, note.original, Expected(uid, note.count))
        except NotFound:
            return Ended(End.DELETED)
        if isinstance(outcome, Written):
            return Ended(End.RETURNED, outcome.deployment.replicas, outcome.deployment)
        if outcome.uid != uid:
            return Ended(End.RECREATED, outcome.replicas)
        already = outcome.replicas == note.original
        return Ended(End.ALREADY if already else End.SUPERSEDED, outcome.replicas)

    async def _remove(self, uid: str, known: Known) -> None:
        await self._change(uid, known.text, None, CLIENT)

    async def settle(self, uid: str, known: Known) -> None:
        """Find out what became of a write of which nobody said that it succeeded, once it can no longer come.

        If the count is the one before, nothing was set, and nothing will be set back. In doubt the note stays: the end
        compares the count again.
        """
        note = known.note
        try:
            state = await self._look(CLIENT, note.namespace, note.name, count=True)
        except NotFound:
            state = State("", None)
        if state.uid != uid or state.replicas != note.before or note.before == note.count:
            settled: Note | None = replace(note, before=None)
        elif note.before == note.original:
            settled = None
        else:
            settled = replace(note, count=note.before, before=None)
        await self._change(uid, known.text, settled.text() if settled else None, CLIENT)

    async def _change(self, uid: str, before: str, after: str | None, client: str) -> None:
        """Change a note, or raise Overtaken."""
        done, notes = await self._swap(client, uid, before, after, empty=self._temporaries.empty)
        self._temporaries.learn(notes)
        if not done:
            raise Overtaken
