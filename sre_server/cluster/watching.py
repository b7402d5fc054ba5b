"""One blocking list+watch cycle of one source: the thread side of the cache, without Twisted.

The rules are those of client-go's reflector (tools/cache/reflector.go), made stricter where a Python client on HTTP/1.1
cannot ping: a read timeout of 90 s is one missed bookmark and a half. A list is emitted whole or not at all. Whatever
ends a cycle, the next one goes on from the last resourceVersion, unless the cluster said that it is of no more use.

A list is read in pages, or streamed: as the initial events of a watch, up to the bookmark that ends them (KEP-3157).
A list that the cluster refuses to stream, or does not end in time, is read in pages at once; one whose stream failed
otherwise, in the next cycle.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from twisted.logger import Logger

from sre_server.cluster.decoding import Page, decode_line, decode_page
from sre_server.cluster.gathering import Gathered
from sre_server.cluster.lines import complete_lines
from sre_server.cluster.transport import PAGE_SECONDS, Transport, check
from sre_server.errors import (
    BadAnswer,
    ClusterBroke,
    ClusterError,
    ClusterRefused,
    ClusterTimedOut,
    ClusterUnreachable,
    Expired,
    TooShort,
)
from sre_server.model import (
    Change,
    Changed,
    Event,
    Resource,
    Source,
    at_least_as_new,
)

PAGE_OBJECTS: Final = 500
PAGE_BYTES: Final = 256 * 2**20
LINE_BYTES: Final = 4 * 2**20
READ_TIMEOUT: Final = 90.0
WATCH_SECONDS: Final = (150, 450)
STREAM_SECONDS: Final = 60.0
STREAM_SILENCE_SECONDS: Final = 30.0
SHORT_WATCH_SECONDS: Final = 10.0
RELIST_SECONDS: Final = (600, 900)
# Where streamed lists are switched off, or unknown, asking for one is invalid.
_NEVER_STREAMED: Final = frozenset({400, 422})
# Refusals that are not about the resourceVersion: watching from the same one again spares the cluster a list.
_SAME_VERSION: Final = frozenset({401, 403, 429, 503})
_COLLECTION: Final = {
    Resource.NAMESPACES: ("/api/v1", "namespaces"),
    Resource.DEPLOYMENTS: ("/apis/apps/v1", "deployments"),
}

Emit = Callable[[Event], object]


def collection_path(source: Source) -> str:
    """The URL path of the collection that a source lists and watches."""
    group, plural = _COLLECTION[source.resource]
    return f"{group}/namespaces/{source.namespace}/{plural}" if source.namespace else f"{group}/{plural}"


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
        streams: Callable[[Transport], bool] = lambda _: False,
    ) -> None:
        """Follow `source`; `streams` finds out, before the first list, whether the cluster streams lists."""
        self.source = source
        self._connection = connection
        self._now = now
        self._chance = chance or random.SystemRandom()
        self._version: str | None = None
        self._must_list = True
        self._relist_at = 0.0
        self._streams = streams
        self._streamed: bool | None = None
        self._pages_due = False
        self._known = Gathered()
        self._superseded: Gathered | None = None

    def interrupt(self) -> None:
        """End a running cycle soon, and every later one at once; may be called from any thread."""
        self._connection.interrupt()

    def cycle(self, emit: Emit) -> None:
        """List if need be, then watch until the watch ends; calls `emit` from this thread with each batch of events.

        Raises ClusterError when something was wrong: the caller waits before the next cycle. Returns when a watch
        ended in good order: the next cycle may begin at once.
        """
        if self._must_list:
            if self._streamed is None:
                self._streamed = self._streams(self._connection)
            if self._streamed and not self._pages_due and self._try_watch(emit, streamed=True):
                return
            self._pages_due = False
            self._list(emit)
        elif self._now() >= self._relist_at:
            self._relist(emit)
        self._try_watch(emit)

    def _try_watch(self, emit: Emit, *, streamed: bool = False) -> bool:
        """Watch until the watch ends; return False if it was to stream a list, which must now be read in pages."""
        try:
            self._watch(emit, streamed=streamed)
        except _NotStreamedError as reason:
            self._streamed = not reason.lasting
            self.log.info("{source}: no streamed list, pages are read: {reason}", source=self.source, reason=reason)
            return False
        except ClusterError as error:
            unknown = isinstance(error, ClusterRefused) and error.status not in _SAME_VERSION
            if self._must_list:
                # The list was not streamed to its end: after the backoff, pages may get through.
                self._pages_due = unknown or isinstance(error, ClusterBroke | ClusterTimedOut | BadAnswer)
            else:
                self._must_list = unknown or isinstance(error, Expired | BadAnswer)
            raise
        return True

    def _relist(self, emit: Emit) -> None:
        """List although the watch is healthy: an event that the API server lost would otherwise be missed for ever."""
        try:
            self._list(emit)
        except ClusterUnreachable:
            raise
        except ClusterError as error:
            self._schedule_relist()
            self.log.warn(
                "{source}: the periodic list failed, the watch goes on: {error}", source=self.source, error=error
            )

    def _list(self, emit: Emit) -> None:
        started_at = self._now()
        pages = self._pages()
        gathered = Gathered(item for page in pages for item in page.objects)
        self._emit_list(gathered, pages[0].resource_version, started_at, emit)

    def _emit_list(self, gathered: Gathered, version: str, started_at: float, emit: Emit) -> None:
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
        self._version, self._must_list = version, False
        self._schedule_relist()
        emit(gathered.as_listed(self.source, version, started_at))
        self.log.info("{source}: listed {count}", source=self.source, count=len(gathered), version=version)

    def _schedule_relist(self) -> None:
        self._relist_at = self._now() + self._chance.uniform(*RELIST_SECONDS)

    def _pages(self) -> list[Page]:
        """Read every page of one snapshot; if that expires meanwhile, read a new one in a single page."""
        pages = [self._page({"limit": PAGE_OBJECTS})]
        try:
            while token := pages[-1].next_token:
                pages.append(self._page({"limit": PAGE_OBJECTS, "continue": token}))
        except Expired:
            return [self._page({})]
        return pages

    def _page(self, query: Mapping[str, str | int]) -> Page:
        headers = {"Accept-Encoding": "gzip"}
        path = collection_path(self.source)
        with self._connection.request("GET", path, query, headers=headers, read_timeout=PAGE_SECONDS) as reply:
            check(reply)
            return decode_page(self.source.resource, reply.read(PAGE_BYTES, PAGE_SECONDS))

    def _watch(self, emit: Emit, *, streamed: bool) -> None:
        query: dict[str, str | int] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": self._chance.randint(*WATCH_SECONDS),
        }
        if streamed:
            # No resourceVersion: what is streamed is at least as new as this request, like a first list.
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            query["resourceVersion"] = self._version or ""
        started_at = self._now()
        patience = STREAM_SILENCE_SECONDS if streamed else READ_TIMEOUT
        with self._connection.request("GET", collection_path(self.source), query, read_timeout=patience) as reply:
            if streamed and reply.status in _NEVER_STREAMED:
                raise _NotStreamedError(f"the cluster answered {reply.status}", lasting=True)
            check(reply)
            batches = complete_lines(reply.chunks(), LINE_BYTES)
            if streamed:
                left = self._emit_initial_events(batches, started_at, emit)
                reply.wait_at_most(READ_TIMEOUT)
                self._emit_changes(left, emit)
            else:
                emit(Changed(self.source, self._now()))
            try:
                for lines in batches:
                    self._emit_changes(lines, emit)
            except ClusterTimedOut:
                self.log.debug("{source}: silent for {seconds} s", source=self.source, seconds=READ_TIMEOUT)
        if self._now() - started_at < SHORT_WATCH_SECONDS:
            raise TooShort("The cluster ended the watch at once.")

    def _emit_initial_events(self, batches: Iterator[list[bytes]], started_at: float, emit: Emit) -> list[bytes]:
        """Emit the initial events of a stream as one list; return the lines that arrived with the bookmark after it."""
        gathered = Gathered()
        for lines in batches:
            if self._now() - started_at > STREAM_SECONDS:
                raise _NotStreamedError(f"it did not end within {STREAM_SECONDS:.0f} s")
            for number, line in enumerate(lines, 1):
                event = decode_line(self.source.resource, line)
                if event.change is not None:
                    gathered.apply(event.change)
                elif event.initial_events_end:
                    self._emit_list(gathered, event.resource_version, started_at, emit)
                    return lines[number:]
        raise ClusterBroke("The cluster ended a streamed list before it was whole.")

    def _emit_changes(self, lines: list[bytes], emit: Emit) -> None:
        """Emit the changes in these lines as one event, those before a bad line included."""
        changes: list[Change] = []
        try:
            for line in lines:
                event = decode_line(self.source.resource, line)
                self._version = event.resource_version
                if event.change is not None:
                    changes.append(event.change)
                    self._known.apply(event.change)
        except Exception:
            if changes:
                emit(Changed(self.source, self._now(), changes))
            raise
        emit(Changed(self.source, self._now(), changes))
        if self._superseded is not None:
            # By now the cache has dropped the former list, so that its objects are freed here, in this thread.
            self._superseded.release()
            self._superseded = None
