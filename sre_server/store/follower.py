"""What an api pod has instead of a watch: a cycle that loads what is in Redis, then follows its log.

Everything is applied here, in the thread, and told in the events that a watch would tell, with the times at which the
cluster was heard by our own clock, or earlier. Nothing is told before it is known how far the watcher's clock is ahead.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from twisted.logger import Logger

from sre_server.errors import StoreForged, StoreIncomplete
from sre_server.news import Change, Changed, Emit, Event, Source
from sre_server.store.ahead import Ahead
from sre_server.store.contents import Contents, Lists, belongs
from sre_server.store.deciding import Shown
from sre_server.store.link import Link
from sre_server.store.loading import Found, Reader, check_counts, check_top, follow
from sre_server.store.options import StoreOptions
from sre_server.store.records import Entry, Position, place_of
from sre_server.telemetry.metrics import Metrics

BLOCK_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 5.0
UNLED_SECONDS: Final = 30.0
"""Longer than it takes until another watcher leads."""
UNLED_AGAIN_SECONDS: Final = 300.0
JITTER_SECONDS: Final = 10.0
PROBE_SECONDS: Final = 30.0
PROBING_SECONDS: Final = 1.5
"""Longer than from one heartbeat to the next."""
PROBE_BLOCK_SECONDS: Final = 0.05
REPAIR_SECONDS: Final = 10.0
"""How long a watcher may take to append again what a failover of Redis has lost."""


class _Following:
    """A state that is followed: its contents, as of a position."""

    def __init__(self, contents: Contents, position: Position, versions: Sequence[str], restored: int) -> None:
        self.contents = contents
        self.position = position
        self.versions = versions
        self.restored = restored
        self.is_amid = False
        """Whether the last entry was half of something."""


class Follower:
    """Follows the log of one cluster; all but `interrupt` belongs to one thread."""

    log = Logger()

    def __init__(
        self,
        options: StoreOptions,
        sources: Sequence[Source],
        identify: Callable[[], str],
        metrics: Metrics,
        chance: random.Random | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Follow what is published of `sources`; `identify` asks the cluster who it is."""
        self.source = f"following {options}"
        self._link = Link(options, identify, metrics)
        self._sources = sources
        self._metrics = metrics
        self._chance = chance or random.SystemRandom()
        self._now = now
        self._following: _Following | None = None
        self._shown: dict[Source, Shown] = {}
        """What was told of sources of which nothing was told since the last load."""
        self._ahead = Ahead()
        self._told: dict[Source, float] = {}
        self._unled_told_at: float | None = None
        self._heard_at = self._checked_at = self._probed_at = self._reconnected_at = now()
        metrics.store_lag.set_function(lambda: max(0.0, now() - self._heard_at))

    @property
    def troubles(self) -> list[str]:
        """Say that nobody publishes, once that has lasted although Redis answers; may be asked in any thread."""
        return [] if self._unled_told_at is None else [_unled(self._silence)]

    @property
    def _silence(self) -> float:
        """For how many seconds nothing was heard on this connection."""
        return self._now() - max(self._heard_at, self._reconnected_at)

    def interrupt(self) -> None:
        """End a running cycle soon, and every later one at once; may be called from any thread."""
        self._link.interrupt()

    def cycle(self, emit: Emit) -> None:
        """Load if need be, then follow until something fails: raises StoreError, and the caller waits.

        A loss of the connection loses nothing else: the next cycle goes on from the same position.
        """
        try:
            with self._link.open() as (store, keys, seal):
                self.reconnected()
                self.follow(Reader(store, keys, seal, self._sources, self._now), emit)
        finally:
            self._unled_told_at = None

    def reconnected(self) -> None:
        """Learn that reads go another way from now on, perhaps to another copy of the log."""
        self._ahead.reconnected()
        self._reconnected_at = self._now()

    def follow(self, reader: Reader, emit: Emit) -> None:
        """Follow with what reads from a connection that is open."""
        self._check_top(reader)
        while not self._link.interrupted.is_set():
            self.step(reader, emit)

    def step(self, reader: Reader, emit: Emit) -> None:
        """Take in what has come, or wait for it for 2 s; load if there is nothing to follow."""
        following = self._following or self._load(reader)
        # The later a read was sent that found nothing, the better it bounds the clock of whoever appends just after it.
        if self._now() - self._probed_at >= PROBE_SECONDS:
            self._probed_at = self._now()
        lately = self._probed_at if self._ahead.seconds is not None else max(self._probed_at, self._heard_at)
        block = PROBE_BLOCK_SECONDS if self._now() - lately < PROBING_SECONDS else BLOCK_SECONDS
        try:
            self._take(following, reader.after(following.position, block), emit)
        except (StoreForged, StoreIncomplete) as error:
            self._reload(error)
            return
        if self._now() - max(self._heard_at, self._checked_at) >= SILENT_SECONDS:
            self._check_top(reader)

    def _check_top(self, reader: Reader) -> None:
        """See whether the log still goes on from our position: a read past its top would wait for ever."""
        following, self._checked_at = self._following, self._now()
        if following is None:
            return
        try:
            head = reader.head()
            if head.epoch != following.position.epoch or self._now() - self._reconnected_at >= REPAIR_SECONDS:
                check_top(head, following.position)
        except (StoreForged, StoreIncomplete) as error:
            self._reload(error)
            return
        silent, told_at = self._silence, self._unled_told_at
        if silent >= UNLED_SECONDS and (told_at is None or self._now() - told_at >= UNLED_AGAIN_SECONDS):
            self._unled_told_at = self._now()
            self.log.warn("{trouble}", trouble=_unled(silent))

    def _reload(self, error: Exception) -> None:
        """Forget the position, and wait a little, so that not all pods load at once; what is shown stays so."""
        following, self._following = self._following, None
        reason = "forged" if isinstance(error, StoreForged) else "incomplete"
        self._metrics.store_reloads.labels(reason).inc()
        delay = JITTER_SECONDS * self._chance.random()
        self.log.warn("{error} Everything is loaded again in {delay:.1f} s.", error=error, delay=delay)
        if following is not None:
            told = enumerate(zip(self._sources, following.contents.by_source(), following.versions, strict=False))
            for number, (source, objects, version) in told:
                if source in self._told:
                    self._shown[source] = Shown(number, objects, version, following.restored)
        self._told = {}
        self._link.interrupted.wait(delay)

    def _load(self, reader: Reader) -> _Following:
        loaded = reader.load()
        for shown in self._shown.values():
            loaded.contents.reuse(shown.objects.items())
        self._following = _Following(loaded.contents, loaded.position, loaded.versions, loaded.restored)
        self._ahead.reconnected()
        self._ahead.read(loaded.read_at)
        self._metrics.store_position.set(loaded.position.seq)
        self._metrics.store_epoch.set(loaded.position.epoch)
        return self._following

    def _take(self, following: _Following, found: Found, emit: Emit) -> None:
        """Take in what was found, and tell of it."""
        for at, entry in found.entries:
            following.position = follow(following.position, at, entry)
            self._ahead.entry(at, entry.answered)
            changes = [change for row in entry.rows if (change := following.contents.take(row)) is not None]
            check_counts(following.contents, entry.counts)
            following.versions = entry.versions
            if not entry.more:
                self._tell(following, entry, None if following.is_amid else changes, emit)
            following.is_amid = entry.more
            self._metrics.store_epoch.set(at.epoch)
            self._metrics.store_position.set(at.seq)
        if found.entries:
            if self._unled_told_at is not None:
                self.log.info("A watcher publishes again.")
            self._heard_at, self._unled_told_at = self._now(), None
        if not found.full:
            self._ahead.read(found.sent_at)

    def _tell(self, following: _Following, entry: Entry, changes: Sequence[Change] | None, emit: Emit) -> None:
        """Tell of changes or, as of the first ones and of those of several entries, of all that there is, at once."""
        ahead = self._ahead.seconds
        events: list[Event] = []
        lists = Lists(following.contents)
        for source, heard, version in zip(self._sources, entry.heard, entry.versions, strict=False):
            # Another watcher's clock may not be bounded yet: its news counts as no younger than the last one's.
            ours = [change for change in changes or () if belongs(place_of(change.object), source)]
            shown, undoes = self._shown.get(source), False
            if shown is not None and (ours or changes is None):
                shown.changed()
            told = self._told.get(source)
            heard_at = told if heard is None or ahead is None else max(heard - ahead, told or heard - ahead)
            if heard_at is None:
                continue
            if shown is not None:
                if not shown.gives_way(version, following.restored, heard_at):
                    if shown.is_in(following.contents):
                        events.append(Changed(source=source, heard_at=heard_at))
                    continue
                undoes = shown.is_undone(version, following.restored)
                del self._shown[source]
            self._told[source] = heard_at
            if told is None or changes is None:
                events.append(lists.listed(version, source, heard_at, undoes=undoes))
            else:
                events.append(Changed(source=source, heard_at=heard_at, changes=ours, version=version))
        if events:
            emit(*events)


def _unled(silent: float) -> str:
    return f"Redis answers, and nothing was published for {silent:.0f} s: is a watcher up?"
