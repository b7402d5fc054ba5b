"""What is done about one temporary count: it is claimed, set back and forgotten, or its write is looked into."""

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, Protocol
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sre_server.day.temporary import Known, Note, Temporaries
from sre_server.errors import Conflict, NotFound, SreServerError, Unavailable
from sre_server.model import Deployment, Expected, State, Swapped, Written

FRESH_SECONDS: Final = 10.0
"""So long after it was asked for, a claim is acted upon: well before anybody else may take it over."""
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


May = Callable[[], Awaitable[object]]
"""Raises a SreServerError if whoever asked for an end may no longer have it, now that the count is to be set."""


class Overtaken(Conflict):
    """Somebody else has changed the note, or is about to."""

    def __init__(self) -> None:
        super().__init__("The temporary count is being changed by somebody else at this moment; try again.")


class Endings:
    """Ends temporary counts in the name of one process; `wall` is the time of day, `clock` any other time."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        temporaries: Temporaries,
        swap: Swap,
        scale: Scale,
        look: Look,
        wall: Callable[[], datetime],
    ) -> None:
        self._clock = clock
        self._temporaries = temporaries
        self._swap = swap
        self._scale = scale
        self._look = look
        self._wall = wall
        self._me = uuid4().hex[:12]
        self._claims = 0
        self._ended: dict[str, str] = {}
        """Texts of notes whose end is told already, and which are only to be removed."""

    def is_ours(self, note: Note) -> bool:
        """Tell whether it was this process that claimed a note."""
        return note.claim.partition("/")[0] == self._me

    def has_ended(self, uid: str, known: Known) -> bool:
        """Tell whether all that is left to do about a note is to remove it."""
        return self._ended.get(uid) == known.text

    def forget(self, present: Collection[str]) -> None:
        """Forget the ends of all notes but these."""
        self._ended = {uid: text for uid, text in self._ended.items() if uid in present}

    async def bring_back(
        self, uid: str, known: Known, begin: Begin, client: str = CLIENT, may: May | None = None
    ) -> Ended:
        """Claim a note, set the count back, and remove the note; raises Overtaken if somebody else changed it first.

        If `may` raises, the claim is given up.
        """
        self._claims += 1
        # What is claimed is due, whoever goes on with it.
        until = min(known.note.until, self._wall())
        late = self._wall() - until
        claimed = replace(known.note, claim=f"{self._me}/{self._claims}", until=until)
        asked_at, text = self._clock.seconds(), claimed.text()
        await self._change(uid, known.text, text, client)
        if may is not None:
            try:
                await may()
            except SreServerError:
                await self._give_up(uid, text, known.text, client)
                raise
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

    async def _give_up(self, uid: str, claimed: str, before: str, client: str) -> None:
        try:
            await self._change(uid, claimed, before, client)
        except SreServerError as error:
            self.log.warn("a temporary count is not to end yet, and may: {error}", error=error)

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

    async def remove(self, uid: str, known: Known) -> None:
        """Remove the note of a count that has ended."""
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
