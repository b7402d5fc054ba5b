"""Temporary counts as clients set and end them; `noted` has what they see of them."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sre_server.api.asked import Permitted
from sre_server.api.bodies import warning
from sre_server.api.conditional import Conditions
from sre_server.api.counts import temporary_in_body
from sre_server.api.ends import REVERT, Ends
from sre_server.api.judging import Judge, Wanted
from sre_server.api.noted import no_temporary
from sre_server.api.writing import Writer, conclude, shielded
from sre_server.cache import ClusterCache
from sre_server.day.ending import Account, End, Overtaken
from sre_server.day.returning import Returning
from sre_server.day.setting import Setting
from sre_server.day.temporary import AUTHOR_LENGTH, REASON_LENGTH, Known, Note, Temporaries, is_key, shown_time
from sre_server.errors import (
    Conflict,
    GuardrailRefused,
    NotFound,
    SreServerError,
    TooManyRequests,
    Unavailable,
)
from sre_server.model import Deployment, State, Written
from sre_server.security.guardrails import CONFIRMATIONS

MOST: Final = 1000
MOST_OF_A_CLIENT: Final = 100
MOST_BYTES: Final = 700_000
"""A ConfigMap has at most 1 MiB, and claims need room, too."""
RETRY_SECONDS: Final = 60


class _AsSeen(Conditions, frozen=True):
    """That the Deployment is still the one, and has the count, on which all was decided."""

    uid: str = ""
    replicas: int = 0

    @property
    def need_count(self) -> bool:
        """See `Conditions.need_count`."""
        return True

    def check(self, replicas: int | None, uid: str) -> None:
        """Raise Conflict unless it is."""
        if (replicas, uid) != (self.replicas, self.uid):
            raise Conflict(f"The count has just been changed, to {replicas}; nothing was changed by this.")


class Set(Struct, frozen=True):
    """A temporary count that was set: `created`, or one that there was before and is extended."""

    note: Note
    created: bool


class TemporaryCounts:
    """Sets and ends them; `setting` and `returning` are None where there is no place to note them."""

    def __init__(
        self,
        cache: ClusterCache,
        temporaries: Temporaries,
        judge: Judge,
        ends: Ends,
        setting: Setting | None,
        returning: Returning | None,
        wall: Callable[[], datetime],
    ) -> None:
        self._cache = cache
        self._temporaries = temporaries
        self._judge = judge
        self._ends = ends
        self._setting = setting
        self._returning = returning
        self._wall = wall

    def _parts(self) -> tuple[Setting, Returning]:
        """Return what sets and what ends them; raises Unavailable, saying what to do, if there is nothing."""
        self._temporaries.check()
        if self._setting is None or self._returning is None:
            raise Unavailable("This process keeps no temporary counts.", RETRY_SECONDS)
        return self._setting, self._returning

    async def set(self, permitted: Permitted, writer: Writer) -> Set:
        """Set a count for a time, or extend the time; `writer` writes it.

        Raises what `Writer.scale` does, and TooManyRequests if there are too many already.
        """
        setting, _ = self._parts()
        replicas, span = temporary_in_body(permitted.request)
        wanted = writer.wanted(permitted, replicas)
        record = permitted.record(new_replicas=replicas, requested_replicas=replicas)
        begun: list[Written] = []
        is_asked = False

        async def write() -> Written:
            nonlocal is_asked
            is_asked = True
            begun.append(await writer.write(permitted, bound, state, record))
            return begun[0]

        try:
            state = await self._state(wanted)
            record = replace(record, uid=state.uid, old_replicas=state.replicas)
            self._judge.judge(wanted, state)
            known = self._temporaries.of(state.uid)
            extended = known is not None and self._is_ours(state, known)
            original = known.note.original if known is not None and extended else state.replicas or 0
            self._judge_way_back(replace(wanted, replicas=original, conditions=Conditions()), state, replicas)
            self._check_room(wanted.client, state.uid)
            note = Note(
                namespace=wanted.namespace,
                name=wanted.name,
                original=original,
                count=replicas,
                until=self._wall() + span,
                author=wanted.client[:AUTHOR_LENGTH],
                reason=(record.reason or "")[:REASON_LENGTH] or None,
                request_id=permitted.request.request_id,
                before=state.replicas,
            )
            bound = replace(wanted, conditions=_AsSeen(uid=state.uid, replicas=state.replicas or 0))
            before = self._temporaries.text(state.uid)
            done = await shielded(setting.set(state.uid, note, before, write, wanted.client))
        except SreServerError as error:
            if not is_asked:
                writer.refused(record, error)
            raise
        conclude(permitted.request, begun[0])
        return Set(done, created=not extended)

    async def _state(self, wanted: Wanted) -> State:
        """Return what there is to judge on, with its count."""
        state = await self._judge.state(wanted, count=True)
        if not is_key(state.uid):
            raise Unavailable("The UID of this Deployment cannot be noted.", RETRY_SECONDS)
        return state

    def _is_ours(self, state: State, known: Known) -> bool:
        """Tell whether the count is still the temporary one, to be extended; raises Overtaken while it is changing."""
        if self._returning is not None and self._returning.is_being_changed(state.uid, known):
            raise Overtaken
        return state.replicas in (known.note.count, known.note.before)

    def _judge_way_back(self, back: Wanted, state: State, replicas: int) -> None:
        try:
            self._judge.judge(back, State(state.uid, replicas, state.guards))
        except GuardrailRefused as error:
            raise GuardrailRefused(error.rule, f"It could not come back. {error}") from None

    def _check_room(self, client: str, uid: str) -> None:
        """Raise TooManyRequests if there are too many, beside the one that this replaces."""
        others = [known.note for key, known in self._temporaries if key != uid]
        if sum(note.author == client[:AUTHOR_LENGTH] for note in others) >= MOST_OF_A_CLIENT:
            raise TooManyRequests(f"You have {MOST_OF_A_CLIENT} temporary counts, and may have no more.", RETRY_SECONDS)
        if self._temporaries.count >= MOST + (self._temporaries.of(uid) is not None):
            raise TooManyRequests(f"There are {MOST} temporary counts, and may be no more.", RETRY_SECONDS)
        if self._temporaries.size > MOST_BYTES:
            raise TooManyRequests("The ConfigMap of temporary counts is full.", RETRY_SECONDS)

    async def end(self, permitted: Permitted, writer: Writer) -> int:
        """End a temporary count now; return the count that there then is.

        Raises NotTemporary if there is none, and Conflict if the count is no longer the temporary one.
        """
        _, returning = self._parts()
        wanted = replace(writer.wanted(permitted, 0), confirmed=CONFIRMATIONS)
        namespace, name = wanted.namespace, wanted.name
        state = await self._judge.state(wanted)
        known = self._temporaries.of(state.uid)
        if known is None:
            raise no_temporary(namespace, name)
        tell, may = self._ends.asked_for(permitted), partial(writer.permit_again, permitted, has_line=True)
        is_told = False

        def begin(uid: str, note: Note, late: timedelta) -> Account:
            nonlocal is_told
            account, is_told = tell(uid, note, late), True
            return account

        try:
            wanted.conditions.check(state.replicas, state.uid)
            await may()
            ended = await shielded(returning.end(state.uid, known, begin, wanted.client, may))
        except SreServerError as error:
            if not is_told:
                writer.refused(replace(permitted.record(), action=REVERT), error)
            raise
        if ended.end in (End.DELETED, End.RECREATED):
            raise NotFound(f"The Deployment '{name}' does not exist in the namespace '{namespace}' any more.")
        if ended.end is End.SUPERSEDED:
            who = self._ends.setter(known.note, ended.replicas)
            raise Conflict(
                f"The count is no longer the temporary one: it is {ended.replicas}, set by {who}. Nothing was changed, "
                "and the temporary count is forgotten."
            )
        return known.note.original if ended.replicas is None else ended.replicas

    async def overruled(self, deployment: Deployment, client: str) -> Sequence[str]:
        """Forget the temporary count of a Deployment, as a client has set one for good; see `Overrule`."""
        known = self._temporaries.of(deployment.uid)
        if known is None or self._setting is None:
            return []
        try:
            if await self._setting.forget(deployment.uid, client):
                return []
        except SreServerError:
            pass
        text = f"the temporary count is still noted: {known.note.original} may come back {shown_time(known.note.until)}"
        return [warning(text).decode()]
