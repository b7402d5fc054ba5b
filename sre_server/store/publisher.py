"""What makes a watcher's knowledge everybody's: while it leads, it appends what is new every 100 ms.

A publisher is run like a watch, over and over in a thread: a cycle ends when it no longer leads or when anything fails,
and the next one, after the feed's usual wait, finds out how things stand.
"""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final, Protocol

from twisted.logger import Logger

from sre_server.errors import StoreError, StoreFenced, StoreForged, StoreIncomplete, StoreLost
from sre_server.news import Event, Source
from sre_server.store.link import Link
from sre_server.store.loading import Caller, Reader
from sre_server.store.mirror import Mirror
from sre_server.store.options import StoreOptions
from sre_server.store.records import CHUNKS, Keys, Row, Seal
from sre_server.store.writer import Writer, claim, seconds_of
from sre_server.telemetry.metrics import Metrics

TICK_SECONDS: Final = 0.1
HEARTBEAT_SECONDS: Final = 1.0
ROTATION_SECONDS: Final = 50.0
CHUNKS_AT_ONCE: Final = 128
LOOK_SECONDS: Final = 0.2
RESTORED_SECONDS: Final = 200.0
"""By then whoever leads has noticed, too, that the cluster went back, and has published it."""
SKEW_SECONDS: Final = 5.0
"""By so much the clocks of two watchers may differ: what one has heard, and what it has heard of a restore, counts as
older, and as younger, than it says to the next one."""


class Leadership(Protocol):
    """Who of several watchers publishes."""

    def holds(self) -> bool:
        """Tell whether it is this one, for certain."""

    def fresh(self) -> bool:
        """Tell whether that was confirmed so lately that it may begin to publish."""


class Alone:
    """The leadership of a watcher that is the only one by assumption."""

    def holds(self) -> bool:
        """See `Leadership.holds`: always."""
        return True

    fresh = holds


class Publisher:
    """Publishes what `applied` is told; all else belongs to one thread."""

    log = Logger()

    def __init__(
        self,
        options: StoreOptions,
        sources: Sequence[Source],
        identify: Callable[[], str],
        leadership: Leadership,
        metrics: Metrics,
        awaited: Callable[[], Collection[object]],
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Publish while `leadership` has it; `identify` asks the cluster who it is.

        `awaited` are the sources that may be heard for the first time any moment: nothing is published before.
        """
        self.source = f"publishing to {options}"
        self._link = Link(options, identify, metrics)
        self._sources = sources
        self._leadership = leadership
        self._metrics = metrics
        self._awaited = awaited
        self._now = now
        self._wall = wall
        self._mirror = Mirror(sources)
        self._writer: Writer | None = None
        self._restored = 0
        """The epoch of the last reign that was begun because the cluster went back, as far as is known."""
        self._lost = False
        self._appended_at = self._rotated_at = now()
        self._next_chunk = 0
        # A watcher that stands by has nothing to publish, however much it has heard.
        metrics.store_pending.set_function(lambda: self._mirror.pending if self._writer else 0)
        metrics.store_lag.set_function(lambda: max(0.0, now() - self._appended_at) if self._writer else 0.0)

    # In the reactor thread.

    def applied(self, event: Event) -> None:
        """Learn what the cluster said."""
        self._mirror.apply(event)

    def interrupt(self) -> None:
        """End a running cycle soon, and every later one at once."""
        self._link.interrupt()

    # In the thread.

    def cycle(self, emit: Callable[[], object]) -> None:
        """Wait until there is something to publish and the right to; publish until either ends."""
        self._link.find_cluster()
        while not self._may_publish():
            self._lost = False  # by the time that this watcher leads again, another one may have mended it
            if self._link.interrupted.wait(LOOK_SECONDS):
                return
        try:
            with self._link.open() as (store, keys, seal):
                self._publish(store, keys, seal, emit)
        except StoreError as error:
            self.failed(error)
            raise
        finally:
            self._metrics.store_leader.set(0)

    def _may_publish(self) -> bool:
        if self._mirror.is_synced(self._awaited()) and self._leadership.holds():
            return True
        self._mirror.forget_restores(self._now() - RESTORED_SECONDS)
        return False

    def _publish(self, store: Caller, keys: Keys, seal: Seal, emit: Callable[[], object]) -> None:
        self.resume(store)
        while not self._link.interrupted.is_set():
            started_at = self._now()
            if not self.step(store, keys, seal):
                return
            emit()
            self._link.interrupted.wait(max(0.0, TICK_SECONDS - (self._now() - started_at)))

    def failed(self, error: StoreError) -> None:
        """Give the reign up if another watcher has begun one, or if there is nothing left to go on from."""
        if isinstance(error, StoreFenced | StoreIncomplete):
            self._writer = None
        self._lost |= isinstance(error, StoreLost)

    def resume(self, store: Caller) -> None:
        """On a new connection, find out what was done of what was sent on the last one."""
        if self._writer is not None:
            self._writer.reconcile(store)

    def step(self, store: Caller, keys: Keys, seal: Seal) -> bool:
        """Publish once what there is; return False if this watcher no longer leads."""
        if not self._may_publish():
            self._writer = None
            self.log.info("this watcher no longer leads")
            return False
        restores = self._mirror.restores
        if self._writer is None or restores:
            if not self._leadership.fresh():
                return True
            self._writer = self._begin(store, keys, seal)
            self._mirror.told_restores(restores)
            self._lost = False
        self._metrics.store_leader.set(1)
        now = self._now()
        if self._mirror.has_news or now - self._appended_at >= HEARTBEAT_SECONDS:
            self._append(store, self._writer, now)
        return True

    def _begin(self, store: Caller, keys: Keys, seal: Seal) -> Writer:
        """Claim the log; go on from what is there, or begin anew if that makes no whole or the cluster went back.

        That it went back may have been published by another watcher before: then we have heard of all that there is, or
        find it said there. Of the latter we may yet have to hear.
        """
        reader = Reader(store, keys, seal, self._sources, self._now)
        with suppress(StoreIncomplete, StoreForged):
            reader.head()  # what is of another scope is not claimed
        epoch, loaded = claim(store, keys, self._wall()), None
        self._rotated_at = self._now()
        try:
            loaded = None if self._lost else reader.load()
        except (StoreIncomplete, StoreForged) as error:
            self.log.info("nothing to go on from: {error}", error=error)
        is_news = loaded is not None and loaded.restored > self._restored
        is_told = self._writer is None and loaded is not None and (is_news or self._mirror.knows(loaded.versions))
        restored = self._mirror.restores > 0 and not is_told
        self._restored = epoch if restored else max(self._restored, loaded.restored if loaded else 0)
        writer = Writer(keys, seal, self._sources, epoch, self._now, self._wall, self._restored)
        if loaded is None or restored:
            self._mirror.restart()
            writer.open(store, [self._mirror.rows(number) for number in range(CHUNKS)])
            self.log.info("publishing from the start, in epoch {epoch}", epoch=epoch)
        else:
            now = self._now()
            since_1970 = self._wall() - now
            self._mirror.rebase(
                loaded.contents,
                loaded.versions,
                [None if at is None else at - since_1970 - SKEW_SECONDS for at in loaded.heard],
                now,
                is_amid=loaded.is_amid,
                restored_at=seconds_of(loaded.restored) - since_1970 + SKEW_SECONDS,
            )
            writer.take_over(loaded.position)
            self.log.info("publishing from {at} on, in epoch {epoch}", at=loaded.position.id, epoch=epoch)
        self._metrics.store_epoch.set(epoch)
        self._appended_at = self._now() - HEARTBEAT_SECONDS
        return writer

    def _append(self, store: Caller, writer: Writer, now: float) -> None:
        batch = self._mirror.take(now)
        writer.append(store, batch, self._due(now), now)
        self._appended_at = self._now()
        self._metrics.store_position.set(writer.position.seq)
        self._metrics.store_append_seconds.observe(self._appended_at - now)

    def _due(self, now: float) -> dict[int, Sequence[Row]]:
        """Pick the chunks whose turn it is, so that each is written once in a rotation."""
        due = min(CHUNKS_AT_ONCE, int((now - self._rotated_at) * CHUNKS / ROTATION_SECONDS))
        if not due:
            return {}
        numbers = [(self._next_chunk + offset) % CHUNKS for offset in range(due)]
        self._rotated_at, self._next_chunk = now, (numbers[-1] + 1) % CHUNKS
        return {number: self._mirror.rows(number) for number in numbers}
