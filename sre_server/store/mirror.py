"""What a watcher has heard of the cluster, and which part of that is not published yet.

News arrives in the reactor thread and is published by another one: a lock keeps the two apart. What waits is kept by
object, the newest state of each, so that a slow Redis costs no more memory than the cluster has objects.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice
from threading import Lock
from typing import Final

from msgspec import Struct

from sre_server.model import Deployment, Object
from sre_server.news import Event, Listed, Put, Source
from sre_server.store.contents import Contents, belongs
from sre_server.store.deciding import newest
from sre_server.store.handover import Handover, Known
from sre_server.store.records import Place, Row, place_of, row_of
from sre_server.texts import at_least_as_new

ROWS_AT_ONCE: Final = 5000


class Batch(Struct, frozen=True):
    """What an entry tells: rows, and how the sources are once all are taken in, those of the next one too if `more`.

    `heard` is when each was heard, as far as readers may rely on it, `vouched` where that is not known of ours, too.
    """

    rows: Sequence[Row]
    heard: Sequence[float | None]
    versions: Sequence[str]
    counts: Sequence[int]
    more: bool = False
    vouched: Sequence[float | None] = ()


class Mirror:
    """All that was heard; `published` are the contents that followers have."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._lock = Lock()
        self._sources = sources
        self._known: dict[Source, Known] = {}
        self._told: Sequence[Known] = [Known()] * len(sources)
        self._pending: list[dict[Place, Object | None]] = [{} for _ in sources]
        self.has_news = False
        """Whether there may be more to take than last time: what we are behind in is held back for long."""
        self._gaps: set[Place] = set()
        """Those of them that hide a count which was there before, and is not published either."""
        self._published = Contents(sources)
        self._handover = Handover()
        self._restores: list[float] = []
        """When it was heard that the cluster had gone back, as far as that was not published yet."""

    def is_synced(self, awaited: Collection[object]) -> bool:
        """Tell whether something was listed without which nothing can be served, and no list is `awaited`."""
        missing = [source for source in self._sources if source not in self._known]
        something = any(source.essential and source not in missing for source in self._sources)
        return something and not any(source in awaited for source in missing)

    @property
    def pending(self) -> int:
        """How many objects have changes that are not published."""
        return sum(map(len, self._pending))

    @property
    def restores(self) -> int:
        """How often the cluster went back to an earlier version, as far as that was not published yet."""
        return len(self._restores)

    def told_restores(self, count: int) -> None:
        """Learn that so many were published."""
        with self._lock:
            del self._restores[:count]

    def forget_restores(self, before: float) -> None:
        """Learn that another watcher has published all that were heard of before that time."""
        with self._lock:
            self._restores = [at for at in self._restores if at >= before]

    def knows(self, versions: Sequence[str]) -> bool:
        """Tell whether each source was heard of at these versions, or later ones."""
        with self._lock:
            ours = [known.version for known in self._all_known()]
            return all(map(at_least_as_new, ours, versions))

    def apply(self, event: Event) -> None:
        """Take in what was heard; in the reactor thread."""
        with self._lock:
            known = self._known.get(event.source)
            version = known.version if known else ""
            if isinstance(event, Listed):
                before = [version, self._handover.floor_of_list(event.source, event.started_at)]
                if not all(at_least_as_new(event.resource_version, each) for each in before):
                    self._went_back(event.source, event.heard_at)
                self._replace(event)
                version = event.resource_version
            elif known is None:
                return
            else:
                version = event.known_by or version
                for change in event.changes:
                    self._change(place_of(change.object), change.object, gone=not isinstance(change, Put))
            self._known[event.source] = Known(event.heard_at, version)

    def _replace(self, listed: Listed) -> None:
        """Turn a list into what differs from what was heard before."""
        items: Mapping[Place, Object] = {place_of(item): item for item in listed.objects()}
        for place, known in [*self._published, *self._all_pending()]:
            if known is not None and place not in items and belongs(place, listed.source):
                self._set(place, None)
        for place, item in items.items():
            self._set(place, item, gap=True)

    def _change(self, place: Place, item: Object, *, gone: bool) -> None:
        if not gone:
            self._set(place, item)
            return
        pending = self._pending_with(place)
        known = pending[place] if place in pending else self._published.get(place)
        if known is not None and known.uid == item.uid:
            self._set(place, None)

    def _set(self, place: Place, item: Object | None, *, gap: bool = False) -> None:
        """Have an object, or none, in a place: pending if followers know it otherwise."""
        pending = self._pending_with(place)
        if self._published.get(place) == item:
            pending.pop(place, None)
            self._gaps.discard(place)
            return
        hidden = pending.get(place)
        if isinstance(item, Deployment) and (gap or _counts(hidden, item)):
            self._gaps.add(place)
        pending[place] = item
        self.has_news = True

    def _pending_with(self, place: Place) -> dict[Place, Object | None]:
        number = self._published.source_of(place)
        return {} if number is None else self._pending[number]

    def _all_pending(self) -> Iterator[tuple[Place, Object | None]]:
        return chain.from_iterable(pending.items() for pending in self._pending)

    # What the publishing thread does.

    def rebase(
        self,
        loaded: Contents,
        versions: Sequence[str],
        heard_at: Sequence[float | None],
        now: float,
        *,
        is_amid: bool = False,
        restored_at: float = -math.inf,
    ) -> None:
        """Go on from what another watcher has published; hold back what may be older than that.

        `heard_at` is when it had heard each source, or earlier, where that is known; `restored_at` when it told that
        the cluster had gone back; both by our clock. If it ended amid something, that is told whole once all of what we
        have heard is no older.
        """
        with self._lock:
            heard = self._published
            for place, item in self._all_pending():
                heard.set(place, item)
            loaded.reuse(heard)
            self._published, self._pending, self._gaps = loaded, [{} for _ in self._sources], set()
            places = {place for contents in (heard, loaded) for place, _ in contents}
            for place in places:
                source = loaded.source_of(place)
                if source is not None and self._sources[source] in self._known:
                    self._set(place, heard.get(place), gap=True)
            # Another release, or one with other options, has fewer sources or more.
            theirs = [*versions, *[""] * len(self._sources)][: len(self._sources)]
            self._told = [Known(None, version) for version in theirs]
            heard_by = dict(zip(self._sources, heard_at, strict=False))
            of_each = zip(self._sources, loaded.by_source(), theirs, strict=True)
            floors = {source: Known(heard_by.get(source), newest(version, items)) for source, items, version in of_each}
            self._handover = Handover(now, floors, self._known, is_amid=is_amid, restored_at=restored_at)

    def restart(self) -> None:
        """Count everything that was heard as published."""
        with self._lock:
            for place, item in self._all_pending():
                self._published.set(place, item)
            self._pending = [{} for _ in self._sources]
            self._gaps, self._handover = set(), Handover()
            self._tell((), 0.0)

    def take(self, now: float) -> Batch:
        """Take what is pending, as far as an entry has room; it counts as published from now on."""
        with self._lock:
            behind, back = self._handover.behind(self._known)
            for source, at in back:
                self._went_back(source, at)
            of_each = zip(self._sources, self._pending, strict=True)
            free = chain.from_iterable(pending for source, pending in of_each if source not in behind)
            places, rows = list(islice(free, ROWS_AT_ONCE + 1)), []
            for place in places[:ROWS_AT_ONCE]:
                item, before = self._pending_with(place).pop(place), self._published.get(place)
                if item is not None:
                    rows.append(row_of(item, gap=place in self._gaps))
                elif before is not None:
                    rows.append(row_of(before, deleted=True))
                self._published.set(place, item)
                self._gaps.discard(place)
            self.has_news = len(places) > ROWS_AT_ONCE
            of_each = zip(self._sources, self._pending, strict=True)
            differing = {source: behind[source] for source, pending in of_each if pending and source in behind}
            more = self.has_news or self._handover.is_waiting(differing, now)
            if not more:
                self._tell(behind, now)
                self._handover.is_amid = False
            heard = [told.heard_at for told in self._told]
            by_others = map(self._handover.heard_by_others, self._sources)
            vouched = [theirs if at is None else at for at, theirs in zip(heard, by_others, strict=True)]
            versions = [told.version for told in self._told]
            return Batch(rows, heard, versions, list(self._published.counts), more, vouched)

    def _tell(self, behind: Collection[Source], now: float) -> None:
        """Tell what is known by now; the versions stay those that others told where we are behind, or never heard.

        Who is behind has heard of what others told where nothing differs from it.
        """
        each = zip(self._sources, self._all_known(), self._told, self._pending, strict=True)
        vouched_at = self._handover.vouched_at
        self._told = [
            Known(ours.heard_at, ours.version or told.version)
            if source not in behind
            else Known(vouched_at(source, ours.heard_at, now) if pending else ours.heard_at, told.version)
            for source, ours, told, pending in each
        ]

    def _all_known(self) -> list[Known]:
        return [self._known.get(source, Known()) for source in self._sources]

    def _went_back(self, source: Source, at: float) -> None:
        """Note that the cluster did, if this source tells: Events may be kept in a store of their own."""
        if source.essential:
            self._restores.append(at)

    def rows(self, bucket: int) -> list[Row]:
        """The rows of a chunk, as published."""
        with self._lock:
            return self._published.rows(bucket)


def _counts(hidden: Object | None, now: Deployment) -> bool:
    """Tell whether a state that is not published had another count."""
    return isinstance(hidden, Deployment) and hidden.replicas != now.replicas
