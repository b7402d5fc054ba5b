"""One watcher's reign over the log: from its claim until another one's.

An append whose answer was lost may have been done, may be done later, or never: the head tells. Writes that Redis
confirmed and lost in a failover are appended again under their ids, so that followers notice nothing.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Final

import msgspec

from sre_server.errors import StoreFenced, StoreIncomplete, StoreLost
from sre_server.news import Source
from sre_server.store import scripts
from sre_server.store.loading import READ_SECONDS, Caller
from sre_server.store.mirror import Batch
from sre_server.store.records import CHUNKS, Chunk, Entry, Head, Keys, Position, Row, Seal

RING_SECONDS: Final = 60.0
RETAINED_SECONDS: Final = 300.0
RETAINED_BYTES: Final = 64 * 2**20
ALWAYS_RETAINED_SECONDS: Final = 120.0
"""More than two rotations of the snapshot, whatever their size."""
OPEN_CHUNKS: Final = 64
APPEND_SECONDS: Final = 4.0
"""With the second that may pass until something is appended, a Redis that is gone is found out within 5 s."""


class _Written:
    """An entry that was sent, when, and how long it is; without its rows once it is no longer in the ring."""

    def __init__(self, position: Position, entry: Entry, at: float, vouched: Sequence[float | None]) -> None:
        self.position = position
        self.entry = entry
        self.vouched = vouched
        self.forgotten = False
        self.at = at
        self.size = 0


class Writer:
    """Appends in one epoch; for one thread, which hands in its connection."""

    def __init__(
        self,
        keys: Keys,
        seal: Seal,
        sources: Sequence[Source],
        epoch: int,
        now: Callable[[], float],
        wall: Callable[[], float],
        restored: int,
    ) -> None:
        """Write in an epoch that was claimed; what there is to go on from, `take_over` or `open` says.

        `restored` is the epoch that began last because the cluster had gone back, 0 if none is known; `wall` tells
        seconds since 1970.
        """
        self._keys = keys
        self._seal = seal
        self._now = now
        self._wall = wall
        self._scope = [str(source) for source in sources if source.essential]
        self.position = Position(epoch, 0)
        self._before = self.position
        self._restored = restored
        self._answered: float | None = None
        self._written: deque[_Written] = deque()

    def take_over(self, position: Position) -> None:
        """Go on after the last entry of an earlier epoch."""
        self._before = position

    def open(self, caller: Caller, chunks: Sequence[Sequence[Row]]) -> None:
        """Write a whole snapshot, from which the log starts anew."""
        for first in range(0, CHUNKS, OPEN_CHUNKS):
            some = {number: chunks[number] for number in range(first, first + OPEN_CHUNKS)}
            bodies = self._chunks(some, self.position)
            self._run(caller, scripts.OPEN, some, self.position.epoch, *bodies)

    def append(self, caller: Caller, batch: Batch, chunks: dict[int, Sequence[Row]], now: float) -> None:
        """Append an entry, and write chunks that are due; raises StoreFenced, or StoreIncomplete if all was lost."""
        position = Position(self.position.epoch, self.position.seq + 1)
        entry = Entry(
            self._before, now, self._answered, batch.heard, batch.versions, batch.counts, batch.rows, batch.more
        )
        written = _Written(position, entry, now, batch.vouched)
        self._written.append(written)
        self._answered = None
        self._before, self.position = position, position
        self._forget(now)
        if self._send(caller, written, chunks) == "MOVED":
            self.reconcile(caller)
            return
        self._answered = self._now()

    def reconcile(self, caller: Caller) -> None:
        """After a connection broke: find out what was done, and do the rest again."""
        epoch, seq = self._head(caller)
        if epoch is None or not self._written:
            raise StoreIncomplete("What was published is no longer in Redis: it is published anew.")
        if epoch != self.position.epoch:
            raise StoreFenced(f"Another watcher publishes now, in epoch {epoch}.")
        missing = [written for written in self._written if written.position.seq > seq]
        if missing and (missing[0].position.seq != seq + 1 or any(each.forgotten for each in missing)):
            raise StoreIncomplete(f"Redis lost what was published after {epoch}-{seq}: it is published anew.")
        for written in missing:
            if self._send(caller, written, {}, again=True) == "MOVED":
                raise StoreIncomplete("What Redis does comes late: it is published anew.")
        self._answered = self._now()

    def _head(self, caller: Caller) -> tuple[int | None, int]:
        answer = caller.call("HMGET", self._keys.head, "epoch", "seq")
        try:
            return (None, 0) if answer[0] is None else (int(answer[0]), int(answer[1] or 0))
        except ValueError:
            return None, 0

    def _send(self, caller: Caller, written: _Written, chunks: dict[int, Sequence[Row]], *, again: bool = False) -> str:
        position, entry = written.position, written.entry
        if again:
            # What it says of the entry before was so in a copy of the log that may be gone.
            entry = msgspec.structs.replace(entry, answered=None)
        since_1970 = self._wall() - self._now()
        heard = [None if at is None else at + since_1970 for at in written.vouched]
        head = Head(*position, self._scope, entry.versions, entry.counts, self._restored, heard)
        sealed = self._seal.close(self._keys.entry(position), entry)
        written.size = len(sealed)
        arguments: tuple[str | bytes | int, ...] = (
            position.epoch,
            position.seq - 1,
            position.seq,
            sealed,
            self._seal.close(self._keys.head, head),
            self._written[0].position.id if self._written[0].position.seq > 1 else "0-0",
        )
        arguments += tuple(self._chunks(chunks, position))
        return self._run(caller, scripts.APPEND, chunks, *arguments, seconds=APPEND_SECONDS)

    def _run(
        self,
        caller: Caller,
        script: str,
        chunks: dict[int, Sequence[Row]],
        *arguments: str | bytes | int,
        seconds: float = READ_SECONDS,
    ) -> str:
        keys = [self._keys.head, self._keys.log, *(self._keys.chunks[number] for number in chunks)]
        answer = caller.call("EVAL", script, len(keys), *keys, *arguments, seconds=seconds)
        if answer == b"LOST":
            raise StoreLost("What was published is no longer in Redis: it is published anew.")
        if answer == b"FENCED":
            raise StoreFenced("Another watcher publishes now.")
        return str(answer, "ascii")

    def _chunks(self, chunks: dict[int, Sequence[Row]], position: Position) -> list[bytes]:
        return [self._seal.close(self._keys.chunks[number], Chunk(position, rows)) for number, rows in chunks.items()]

    def _forget(self, now: float) -> None:
        """Keep entries for the ring for a minute, and their ids for as long as they are in the log."""
        size = sum(written.size for written in self._written)
        while self._written and now - self._written[0].at > ALWAYS_RETAINED_SECONDS:
            if now - self._written[0].at <= RETAINED_SECONDS and size <= RETAINED_BYTES:
                break
            size -= self._written.popleft().size
        for written in takewhile(lambda each: now - each.at > RING_SECONDS, self._written):
            if not written.forgotten:
                written.forgotten = True
                written.entry = msgspec.structs.replace(written.entry, rows=())


def claim(caller: Caller, keys: Keys, at: float) -> int:
    """Begin a reign at a time in seconds since 1970: return an epoch that is higher than every one before.

    In microseconds, so that one that was claimed just before all was lost is not claimed again.
    """
    return int(caller.call("EVAL", scripts.CLAIM, 1, keys.head, int(at * 1e6)))


def seconds_of(epoch: int) -> float:
    """Return when a reign began, in seconds since 1970, by the clock of who claimed it."""
    return epoch / 1e6
