"""One blocking list+watch cycle of one source: the thread side of the cache, without Twisted.

The rules are those of client-go's reflector, made stricter where a Python client on HTTP/1.1 cannot ping: a watch that
brings nothing for 90 s, one bookmark and a half, is followed by a list, since the API server keeps a watch silent that
goes on from a version of the future, as it is after a restore, and a proxy may keep for itself what it should pass on.
A list is emitted whole or not at all. Whatever else ends a cycle, the next one goes on from the last resourceVersion,
unless the cluster said that this one is of no more use.

A list is read in pages, or streamed: as the initial events of a watch, up to the bookmark that ends them (KEP-3157).
A list that the cluster refuses to stream, or does not end in time, is read in pages at once; one whose stream failed
otherwise, in the next cycle.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import Final

from twisted.logger import Logger

from sre_server.cluster.gathering import Gathered
from sre_server.cluster.heads import HEAD_BYTES
from sre_server.cluster.kinds import collection_path, selection
from sre_server.cluster.lines import Line, complete_lines
from sre_server.cluster.paging import Pages
from sre_server.cluster.permissions import Told, check_permitted, permission, untold
from sre_server.cluster.transport import Reply, Transport
from sre_server.cluster.unpacking import decode_line
from sre_server.errors import (
    BadAnswer,
    ClusterBroke,
    ClusterError,
    ClusterRefused,
    ClusterTimedOut,
    ClusterUnreachable,
    Expired,
    Silent,
    TooShort,
)
from sre_server.news import Change, Changed, Event, Occasion, Source
from sre_server.texts import at_least_as_new

LINE_BYTES: Final = 16 * 2**20
READ_TIMEOUT: Final = 90.0
ANSWER_TIMEOUT: Final = 10.0
WATCH_SECONDS: Final = (150, 450)
STREAM_SECONDS: Final = 60.0
STREAM_SILENCE_SECONDS: Final = 30.0
SHORT_WATCH_SECONDS: Final = 10.0
RELIST_SECONDS: Final = (600, 900)
ASK_AGAIN_SECONDS: Final = 600.0
# Where streamed lists are switched off, or unknown, asking for one is invalid.
_NEVER_STREAMED: Final = frozenset({400, 422})
# Refusals that are not about the resourceVersion: watching from the same one again spares the cluster a list.
_SAME_VERSION: Final = frozenset({401, 403, 429, 503})

Emit = Callable[[Event], object]


class _NotStreamedError(Exception):
    """The cluster did not stream a list to its end; the text says why. `lasting` tells that it never will."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class Reflector:
    """Follows one source, a cycle at a time; all but `interrupt` belongs to one thread."""

    log = Logger()

    def __init__(
        self,
        source: Source,
        connection: Transport,
        now: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
        *,
        streams: Callable[[Transport], bool | None] = lambda _: False,
        told: Told = untold,
    ) -> None:
        """Follow `source`, by the clock of those who read the times in events.

        `streams` finds out, before the first list, whether to ask for streamed ones, or says None: not yet. `told` is
        told what came of each request.
        """
        self.source = source
        self._connection = connection
        self._now = now
        self._chance = chance or random.SystemRandom()
        self._streams = streams
        self._told = told
        self._pages = Pages(source, connection, now, told=told)
        self._version: str | None = None
        self._list_for: Occasion | None = Occasion.FIRST
        self._news_at = self._relist_at = 0.0
        self._streamed: bool | None = None
        self._ask_streams_at = now()
        self._pages_due = False
        self._known = Gathered()
        self._superseded: Gathered | None = None

    def interrupt(self) -> None:
        """End a running cycle soon, and every later one at once; may be called from any thread."""
        self._connection.interrupt()

    def cycle(self, emit: Emit) -> None:
        """List if need be, then watch until the watch ends; calls `emit` from this thread with each batch of events.

        Returns when a watch ended in good order, and raises Expired or Silent when only a list is of use: the next
        cycle may begin at once. Raises another ClusterError when something was wrong: the caller waits before it.
        """
        if self._list_for is not None:
            if self._may_stream(self._list_for) and self._try_watch(emit, streamed=True):
                return
            self._pages_due = False
            self._list(emit, self._list_for)
        elif self._now() >= self._relist_at:
            self._relist(emit)
        self._try_watch(emit)

    def _may_stream(self, occasion: Occasion) -> bool:
        """Tell whether to stream the next list: not where the last watch was silent, as a stream is one, too."""
        if self._pages_due or occasion is Occasion.SILENCE:
            return False
        if self._streamed is None and self._now() >= self._ask_streams_at:
            self._streamed = self._streams(self._connection)
            self._ask_streams_at = self._now() + ASK_AGAIN_SECONDS
        return self._streamed is True

    def _try_watch(self, emit: Emit, *, streamed: bool = False) -> bool:
        """Watch until the watch ends; return False if it was to stream a list, which must now be read in pages."""
        try:
            self._watch(emit, streamed=streamed)
        except _NotStreamedError as reason:
            self._streamed = not reason.lasting
            self.log.info("{source}: no streamed list, pages are read: {reason}", source=self.source, reason=reason)
            return False
        except ClusterError as error:
            if self._list_for is not None:
                # The list was not streamed to its end: after the backoff, pages may get through.
                self._pages_due = not isinstance(error, ClusterUnreachable | Expired) and not _says_later(error)
            else:
                self._list_for = self._occasion_after(error)
            raise
        return True

    def _occasion_after(self, error: ClusterError) -> Occasion | None:
        """Tell whether a list must follow upon what ended a watch, and why."""
        if isinstance(error, Expired):
            return Occasion.EXPIRED
        if isinstance(error, ClusterUnreachable) or _says_later(error):
            return None
        if isinstance(error, ClusterRefused | BadAnswer):
            return Occasion.FAULT
        return Occasion.SILENCE if isinstance(error, Silent) or self._patience() <= 0 else None

    def _patience(self) -> float:
        """Seconds for which a watch may go on to bring nothing, those counted in which others brought nothing."""
        return self._news_at + READ_TIMEOUT - self._now()

    def _relist(self, emit: Emit) -> None:
        """List although the watch is healthy: an event that the API server lost would otherwise be missed for ever."""
        try:
            self._list(emit, Occasion.CHECK)
        except ClusterUnreachable:
            raise
        except ClusterError as error:
            self._schedule_relist()
            self.log.warn(
                "{source}: the periodic list failed, the watch goes on: {error}", source=self.source, error=error
            )

    def _list(self, emit: Emit, occasion: Occasion) -> None:
        started_at = self._now()
        pages = self._pages.read()
        gathered = Gathered(item for page in pages for item in page.objects)
        self._emit_list(gathered, pages[0].resource_version, started_at, occasion, emit)

    def _emit_list(self, gathered: Gathered, version: str, started_at: float, occasion: Occasion, emit: Emit) -> None:
        """Emit a whole list, and continue from its resourceVersion."""
        if self._version is not None and not at_least_as_new(version, self._version):
            self.log.warn(
                "{source}: the cluster's resourceVersion went back from {before} to {version}: was it restored?",
                source=self.source,
                before=self._version,
                version=version,
            )
        gathered.reuse(self._known)
        self._known, self._superseded = gathered, self._known
        self._version, self._list_for = version, None
        self._news_at = self._now()
        self._schedule_relist()
        emit(gathered.as_listed(self.source, version, started_at, occasion))
        self.log.info(
            "{source}: listed {count} ({occasion.value})",
            source=self.source,
            count=len(gathered),
            version=version,
            occasion=occasion,
        )

    def _schedule_relist(self) -> None:
        self._relist_at = self._now() + self._chance.uniform(*RELIST_SECONDS)

    def _watch(self, emit: Emit, *, streamed: bool) -> None:
        query: dict[str, str | int] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": self._chance.randint(*WATCH_SECONDS),
            **selection(self.source),
        }
        if streamed:
            # No resourceVersion: what is streamed is at least as new as this request, like a first list.
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            query["resourceVersion"] = self._version or ""
        started_at = self._now()
        with self._ask(query, streamed=streamed) as reply:
            if streamed and reply.status in _NEVER_STREAMED:
                raise _NotStreamedError(f"the cluster answered {reply.status}", lasting=True)
            check_permitted(reply, permission("watch", self.source), self._told)
            batches = complete_lines(self._chunks(reply, started_at), LINE_BYTES, HEAD_BYTES)
            if streamed:
                self._emit_changes(self._emit_initial_events(batches, started_at, emit), emit)
            for lines in batches:
                self._emit_changes(lines, emit)
        if self._now() - started_at < SHORT_WATCH_SECONDS:
            raise TooShort("The cluster ended the watch at once.")

    def _ask(self, query: dict[str, str | int], *, streamed: bool) -> Reply:
        """Ask for a watch; where not even headers come, that is a silence like any other."""
        patience = STREAM_SILENCE_SECONDS if streamed else max(ANSWER_TIMEOUT, self._patience())
        try:
            return self._connection.request("GET", collection_path(self.source), query, read_timeout=patience)
        except ClusterTimedOut as error:
            raise error if streamed else _silent() from error

    def _chunks(self, reply: Reply, started_at: float) -> Iterator[bytes]:
        """Yield a watch as it arrives; raises Silent, or _NotStreamedError, when it brings nothing for too long.

        That is as little as no whole event: what comes drop by drop is silence, too.
        """
        chunks = reply.chunks()
        while True:
            streaming = self._list_for is not None
            if streaming and self._now() - started_at > STREAM_SECONDS:
                raise _NotStreamedError(f"it did not end within {STREAM_SECONDS:.0f} s")
            patience = self._patience()
            if not streaming and patience <= 0:
                raise _silent()
            if not streaming:
                reply.wait_at_most(patience)
            try:
                chunk = next(chunks, None)
            except ClusterTimedOut as error:
                raise error if streaming else _silent() from error
            if chunk is None:
                return
            yield chunk

    def _emit_initial_events(self, batches: Iterator[list[Line]], started_at: float, emit: Emit) -> list[Line]:
        """Emit the initial events of a stream as one list; return the lines that arrived with the bookmark after it."""
        occasion = self._list_for or Occasion.FIRST
        gathered = Gathered()
        for lines in batches:
            for number, line in enumerate(lines, 1):
                event = decode_line(self.source.resource, line)
                if event.change is not None:
                    gathered.apply(event.change)
                elif event.initial_events_end:
                    self._emit_list(gathered, event.resource_version, started_at, occasion, emit)
                    return lines[number:]
        raise ClusterBroke("The cluster ended a streamed list before it was whole.")

    def _emit_changes(self, lines: list[Line], emit: Emit) -> None:
        """Emit the changes in these lines as one event, those before a bad line included."""
        heard_at = self._now()
        changes: list[Change] = []
        try:
            for line in lines:
                event = decode_line(self.source.resource, line)
                self._news_at = heard_at
                self._version = event.resource_version or self._version
                if event.change is not None:
                    changes.append(event.change)
                    self._known.apply(event.change)
        except Exception:
            if changes:
                emit(Changed(self.source, heard_at, changes))
            raise
        if lines:
            # A bookmark tells that all is known that had happened by its resourceVersion, here or elsewhere.
            last = changes[-1].object.resource_version if changes else None
            version = self._version if self._version not in (None, last) else ""
            emit(Changed(self.source, heard_at, changes, version or ""))
        if self._superseded is not None:
            # By now the cache has dropped the former list, so that its objects are freed here, in this thread.
            self._superseded.release()
            self._superseded = None


def _silent() -> Silent:
    return Silent(f"The watch brought nothing for {READ_TIMEOUT:.0f} s, not even a bookmark.")


def _says_later(error: ClusterError) -> bool:
    return isinstance(error, ClusterRefused) and error.status in _SAME_VERSION
