"""Temporary counts: what is noted of each, and which there are, as far as the cluster lets us know.

Each is a text in a ConfigMap of our own, under the UID of its Deployment. Its end is a time of day, as it has to
outlive every process: it is the one thing here for which the clocks of several machines have to agree. How long a note
has stood unchanged, which is what lets somebody else take over, is by our own monotonic clock.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct, field
from twisted.logger import Logger

from sre_server.errors import Unavailable
from sre_server.model import MAX_REPLICAS, Notes
from sre_server.news import Event, Listed, Put, Source
from sre_server.texts import at_least_as_new, is_deployment_name, is_namespace_name, no_store

PENDING_SECONDS: Final = 90.0
"""So long the count of a new note may still come: the API server gives up on a request after 60 s."""
CLAIM_SECONDS: Final = 30.0
AUTHOR_LENGTH: Final = 512
REASON_LENGTH: Final = 128
RETRY_SECONDS: Final = 5
OPTION: Final = "--temporary-store NAMESPACE/NAME"
_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_UNLIKE: Final = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\x7f"})
"""What encoders of JSON escape, or do not; the API server compares bytes."""


class Note(Struct, frozen=True, omit_defaults=True):
    """What is written down of one temporary count: it is `count` now, and becomes `original` again at `until`.

    While `before` is a number, the count may still be that one: the write has begun, and nobody has said that it
    succeeded. `claim` is of who is about to set the count back.
    """

    namespace: str
    name: str = field(name="deployment")
    original: int
    count: int
    until: datetime
    author: str
    reason: str | None = None
    request_id: str = ""
    before: int | None = None
    claim: str = ""

    def text(self) -> str:
        """Write it down, in printable ASCII that every encoder of JSON writes alike."""
        built = {name: value for name, value in msgspec.to_builtins(self).items() if value is not None}
        return json.dumps(built, separators=(",", ":")).translate(_UNLIKE)


class Known(Struct, frozen=True):
    """A note as it is known: its `text`, and when, by our own clock, that was first seen."""

    note: Note
    text: str
    since: float


_decoder: Final = msgspec.json.Decoder(Note)


def read_note(text: str) -> Note | None:
    """Read a note; None if it is none that makes sense."""
    try:
        note = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return None
    counts = [note.original, note.count, note.before or 0]
    named = is_namespace_name(note.namespace) and is_deployment_name(note.name)
    proper = named and note.until.tzinfo is not None and 0 <= min(counts) <= max(counts) <= MAX_REPLICAS
    return note if proper else None


def is_key(uid: str) -> bool:
    """Tell whether a ConfigMap can have a UID as a key."""
    return _KEY.fullmatch(uid) is not None


def shown_time(at: datetime) -> str:
    """Write a time as RFC 3339 has it, in UTC and whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Temporaries:
    """The temporary counts of the cluster, a listener of the cache; `now` is the clock of the times in events."""

    log = Logger()

    def __init__(self, now: Callable[[], float], source: Source | None, max_staleness: float) -> None:
        """Know them by what `source` tells, the ConfigMap that has them; None where there is none."""
        self._now = now
        self._source = source
        self._max_staleness = max_staleness
        self._heard_at: float | None = None
        self._learned_at = float("-inf")
        self._version = ""
        self._exists = False
        self._data: dict[str, Known] = {}
        self._unread: dict[str, str] = {}

    # What the cluster says.

    def applied(self, event: Event) -> None:
        """See `Listener.applied`."""
        if self._source is None or event.source != self._source:
            return
        if isinstance(event, Listed):
            found = [item for item in event.objects() if isinstance(item, Notes)]
            version = found[0].resource_version if found else event.resource_version
            if event.started_at > self._learned_at or at_least_as_new(version, self._version):
                self._take(found[0] if found else None, version)
        elif self._heard_at is None:
            return
        else:
            for change in event.changes:
                item = change.object
                if isinstance(item, Notes) and at_least_as_new(item.resource_version, self._version):
                    self._take(item if isinstance(change, Put) else None, item.resource_version)
        self._heard_at = event.heard_at

    def learn(self, notes: Notes) -> None:
        """Learn what the notes are, ahead of the watch."""
        if at_least_as_new(notes.resource_version, self._version):
            self._learned_at = self._now()
            self._take(notes, notes.resource_version)

    def _take(self, notes: Notes | None, version: str) -> None:
        self._exists, self._version = notes is not None, version
        known, self._data, unread = self._data, {}, self._unread
        self._unread = {}
        for uid, text in (notes.data if notes else {}).items():
            before = known.get(uid)
            if before is not None and before.text == text:
                self._data[uid] = before
            elif (note := read_note(text)) is not None:
                self._data[uid] = Known(note, text, self._now())
            else:
                self._unread[uid] = text
                if unread.get(uid) != text:
                    self.log.warn("the temporary count of {uid} cannot be read, and is left alone", uid=uid)

    # What is known.

    @property
    def expected(self) -> bool:
        """Whether there is a ConfigMap that is to have them."""
        return self._source is not None

    @property
    def are_known(self) -> bool:
        """Whether they are known, and were heard of lately."""
        return self._heard_at is not None and self._now() - self._heard_at <= self._max_staleness

    @property
    def empty(self) -> bool:
        """Whether the ConfigMap has no text at all, as far as is known."""
        return not (self._data or self._unread)

    @property
    def count(self) -> int:
        """How many there are, those that cannot be read among them."""
        return len(self._data) + len(self._unread)

    @property
    def size(self) -> int:
        """How many bytes all texts have."""
        texts = [known.text for known in self._data.values()]
        return sum(map(len, [*texts, *self._unread.values()]))

    def check(self) -> None:
        """Raise Unavailable, saying what to do, unless they are known."""
        if self._source is None:
            raise Unavailable(f"This server keeps no temporary counts: start it with {OPTION}.", 60)
        if not self.are_known:
            raise Unavailable(
                "The ConfigMap of --temporary-store has not been heard of lately: /readyz?verbose says why.",
                RETRY_SECONDS,
            )
        if missing := self.warnings():
            raise Unavailable(missing[0], 60)

    def warnings(self) -> list[str]:
        """Say how to make the ConfigMap, if there is to be one, and is none."""
        if self._source is None or self._exists or not self.are_known:
            return []
        return [no_store(self._source.namespace, self._source.name)]

    def of(self, uid: str) -> Known | None:
        """The temporary count of the Deployment with this UID; None if it has none, or none that is known."""
        return self._data.get(uid)

    def stood(self, known: Known) -> float:
        """Seconds for which a note is known to have stood unchanged."""
        return self._now() - known.since

    def text(self, uid: str) -> str | None:
        """What is noted under a UID, whether it can be read or not."""
        known = self._data.get(uid)
        return known.text if known else self._unread.get(uid)

    def __iter__(self) -> Iterator[tuple[str, Known]]:
        """Each of them, by the UID of its Deployment."""
        return iter(list(self._data.items()))
