"""Temporary counts are set: first the note, then the count, then the note says that the count was set.

So whatever ends the process in between leaves nothing that is not set back, and sets nothing back that never was set.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec.structs import replace
from twisted.logger import Logger

from sre_server.day.ending import Overtaken, Swap
from sre_server.day.temporary import Note, Temporaries
from sre_server.errors import ClusterBroke, ClusterTimedOut, Conflict, SreServerError
from sre_server.model import Written

_log: Final = Logger(namespace="sre_server.day")


class Setting:
    """Sets counts for a time."""

    def __init__(self, temporaries: Temporaries, swap: Swap) -> None:
        self._temporaries = temporaries
        self._swap = swap

    async def set(
        self, uid: str, note: Note, before: str | None, write: Callable[[], Awaitable[Written]], client: str
    ) -> Note:
        """Note a temporary count in the place of the text `before`, then `write` it; return the note as it then is.

        Raises Overtaken if that text is not there, Conflict if the note has gone since, and whatever `write` raises. If
        that leaves the outcome unknown the note stays, for `Endings.settle`; if nothing was changed, the text `before`
        is put back.
        """
        if not await self._change(uid, before, note.text(), client):
            raise Overtaken
        try:
            written = await write()
        except (ClusterTimedOut, ClusterBroke):
            raise
        except SreServerError:
            await self._taken_back(uid, note, before, client)
            raise
        done = replace(note, before=None, count=written.deployment.replicas)
        try:
            confirmed = await self._change(uid, note.text(), done.text(), client)
        except SreServerError as error:
            _log.info("a temporary count was set, and is not confirmed yet: {error}", error=error)
            return done
        if not confirmed and self._temporaries.text(uid) is None:
            raise Conflict(
                "The count was set, and somebody has set another one since, or removed the note of this one: "
                "it will not be set back by itself."
            )
        return done

    async def forget(self, uid: str, client: str) -> bool:
        """Forget a temporary count, as somebody has set another one; tell whether there is none any more."""
        for _ in range(2):
            text = self._temporaries.text(uid)
            if text is None or await self._change(uid, text, None, client):
                return True
        return False

    async def _taken_back(self, uid: str, note: Note, before: str | None, client: str) -> None:
        try:
            await self._change(uid, note.text(), before, client)
        except SreServerError as error:
            _log.info("a temporary count was not set, and is still noted: {error}", error=error)

    async def _change(self, uid: str, before: str | None, after: str | None, client: str) -> bool:
        done, notes = await self._swap(client, uid, before, after, empty=self._temporaries.empty)
        self._temporaries.learn(notes)
        return done
