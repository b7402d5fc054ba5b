"""From a snapshot, and the log after it, to all there is: for a follower that starts, a watcher that takes over.

Chunks were written at different times. Each has a position, so that the log is read from the oldest one on, and an
entry counts for the chunks that are older than it.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from sre_server.errors import StoreIncomplete, StoreRefused
from sre_server.news import Source
from sre_server.store.contents import Contents
from sre_server.store.records import CHUNKS, Chunk, Entry, Head, Keys, Position, Seal, bucket_of, object_of, place_of

CHUNKS_AT_ONCE: Final = 32
ENTRIES_AT_ONCE: Final = 500
READ_SECONDS: Final = 5.0


class Caller(Protocol):
    """What is needed of a connection to Redis."""

    def call(self, *command: str | bytes | int | float, seconds: float = READ_SECONDS) -> Any:  # noqa: ANN401  # Redis'
        """Send a command and return its answer."""


class Found(Struct, frozen=True):
    """Entries that follow a position, in order; `sent_at` is when the read was sent, `full` that there may be more."""

    entries: Sequence[tuple[Position, Entry]]
    sent_at: float
    full: bool


class Loaded(Struct, frozen=True):
    """All there is as of a position; `read_at` is when the last read was sent, which found no entry after it.

    It `is_amid` something if the last entry has half of that. `heard` is as in `Head`.
    """

    contents: Contents
    position: Position
    versions: Sequence[str]
    restored: int
    read_at: float
    is_amid: bool = False
    heard: Sequence[float | None] = ()


class Reader:
    """Reads what is in Redis about some sources, with the connection of one thread."""

    def __init__(
        self,
        caller: Caller,
        keys: Keys,
        seal: Seal,
        sources: Sequence[Source],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._caller = caller
        self._keys = keys
        self._seal = seal
        self._sources = sources
        self._now = now

    def head(self) -> Head:
        """Read the top of the log.

        Raises StoreIncomplete if there is none, StoreForged for a wrong seal, StoreRefused if it is of other sources.
        """
        (sealed,) = self._call("HMGET", self._keys.head, "body")
        if sealed is None:
            raise StoreIncomplete(f"Nothing is published at '{self._keys.head}': is a watcher up?")
        head = self._seal.open(self._keys.head, sealed, Head)
        served = [str(source) for source in self._sources if source.essential]
        if list(head.scope) != served:
            raise StoreRefused(
                f"'{self._keys.head}' in Redis has {', '.join(head.scope)}, this server serves {', '.join(served)}: "
                "give watchers and api pods the same --namespace, or another --cache-name."
            )
        return head

    def load(self) -> Loaded:
        """Read everything; raises StoreIncomplete if it does not make a whole at present."""
        head = self.head()
        contents = Contents(self._sources)
        positions: list[Position] = []
        for first in range(0, CHUNKS, CHUNKS_AT_ONCE):
            places = self._keys.chunks[first : first + CHUNKS_AT_ONCE]
            for number, (place, sealed) in enumerate(zip(places, self._call("MGET", *places), strict=True), first):
                if sealed is None:
                    raise StoreIncomplete(f"'{place}' is not in Redis: the watcher writes it again within a minute.")
                chunk = self._seal.open(place, sealed, Chunk)
                positions.append(Position(*chunk.position))
                contents.fill(number, chunk.rows)
        position, versions, counts, is_amid = min(positions), head.versions, head.counts, False
        while True:
            found = self.after(position)
            for at, entry in found.entries:
                position, versions, counts = follow(position, at, entry), entry.versions, entry.counts
                is_amid = entry.more
                for row in entry.rows:
                    item = object_of(row)
                    if item is not None and at > positions[bucket_of(place_of(item))]:
                        contents.take(row)
            if not found.entries:
                break
        if position < (head.epoch, head.seq):
            raise StoreIncomplete(f"The log in Redis ends at {position.id}, before its head: something was lost.")
        check_counts(contents, counts)
        return Loaded(contents, position, versions, head.restored, found.sent_at, is_amid, head.heard)

    def after(self, position: Position, block: float = 0.0) -> Found:
        """Read what follows a position, waiting for it for `block` seconds."""
        blocking = ("BLOCK", int(block * 1000)) if block else ()
        sent_at = self._now()
        answer = self._call("XREAD", "COUNT", ENTRIES_AT_ONCE, *blocking, "STREAMS", self._keys.log, position.id)
        entries = []
        for identifier, fields in answer[0][1] if answer else ():
            at = Position(*map(int, identifier.split(b"-")))
            entries.append((at, self._seal.open(self._keys.entry(at), dict(_pairs(fields)).get(b"r", b""), Entry)))
        return Found(entries, sent_at, len(entries) == ENTRIES_AT_ONCE)

    def _call(self, *command: str | int) -> list[Any]:
        return self._caller.call(*command, seconds=READ_SECONDS) or []


def follow(position: Position, at: Position, entry: Entry) -> Position:
    """Return the position of an entry; raises StoreIncomplete unless it is the next one after `position`."""
    if entry.before != position:
        raise StoreIncomplete(f"The log in Redis has a hole between {position.id} and {at.id}.")
    return at


def check_top(head: Head, position: Position) -> None:
    """Raise StoreIncomplete if the log ends before a position that was read in it."""
    if (head.epoch, head.seq) < position:
        raise StoreIncomplete(f"The log in Redis now ends before {position.id}: something was lost.")


def check_counts(contents: Contents, counts: Sequence[int]) -> None:
    """Raise StoreIncomplete unless there are as many objects of each source as the watcher says.

    One of another release may know fewer sources, or more.
    """
    if any(ours != theirs for ours, theirs in zip(contents.counts, counts, strict=False)):
        raise StoreIncomplete(f"There are {contents.counts} objects, and the watcher has {list(counts)}.")


def _pairs(fields: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(fields[::2], fields[1::2], strict=True))
