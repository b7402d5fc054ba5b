"""The objects of one resource and a bounded history of how they came to be.

Objects are kept as encoded JSON: nobody can change one by accident, list pages are joined bytes, and a hundred
thousand of them fit. A past state is the present one with the newer changes undone, so a list that is read in pages
stays one snapshot for as long as the history reaches back.
"""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from typing import Literal

import msgspec

from sre_server.simulator.kinds import Kind, Object
from sre_server.simulator.statuses import expired

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


class Stored(msgspec.Struct, frozen=True, gc=False):
    """One version of one object; `body` is its JSON without kind and apiVersion."""

    key: str
    uid: str
    version: int
    body: bytes

    def decoded(self) -> Object:
        """Return the object as a fresh dictionary that the caller may change."""
        value: Object = msgspec.json.decode(self.body)
        return value


class Change(msgspec.Struct, frozen=True):
    """One event: what an object is now (or was at its end), and what it was before."""

    type: ChangeType
    version: int
    time: float
    current: Stored
    previous: Stored | None


class FellBehindError(Exception):
    """A live watcher asks for changes that are already forgotten."""


class Collection:
    """The present objects of one resource, and its latest changes."""

    def __init__(self, kind: Kind, history: int) -> None:
        self.kind = kind
        self._objects: dict[str, Stored] = {}
        self._order: list[str] | None = []
        self._history: deque[Change] = deque()
        self._capacity = history
        self._forgotten = 0
        self.oldest = 0

    def __len__(self) -> int:
        """Return the number of present objects."""
        return len(self._objects)

    def get(self, key: str) -> Stored | None:
        """Return the present version of an object."""
        return self._objects.get(key)

    def load(self, stored: Stored) -> None:
        """Put an object in place without history: it has always been there."""
        self._objects[stored.key] = stored
        self._order = None

    def apply(self, change: Change) -> None:
        """Make a change the present, and remember it."""
        key = change.current.key
        if change.type == "DELETED":
            del self._objects[key]
        else:
            self._objects[key] = change.current
        if change.type != "MODIFIED":
            self._order = None
        self._history.append(change)
        while len(self._history) > self._capacity:
            self._forgotten = self.oldest = self._history.popleft().version

    def forget(self, version: int) -> None:
        """Forget all history; from now on `version` is the oldest one that a watch may start from."""
        if self._history:
            self._forgotten = self._history[-1].version
        self._history.clear()
        self.oldest = version

    def require(self, version: int) -> None:
        """Refuse a version whose successors are no longer all known."""
        if version < self.oldest:
            raise expired(version, self.oldest)

    def since(self, version: int) -> list[Change]:
        """Return the changes after `version`, oldest first."""
        if version < self._forgotten:
            raise FellBehindError
        newer: list[Change] = []
        for change in reversed(self._history):
            if change.version <= version:
                break
            newer.append(change)
        newer.reverse()
        return newer

    def roll_back(self, version: int) -> None:
        """Become what this collection was at `version`, and forget all that was known before and after."""
        self.require(version)
        undone = self._before(version)
        for key, stored in undone.items():
            if stored is None:
                self._objects.pop(key, None)
            else:
                self._objects[key] = stored
        self._order = None
        self._history.clear()
        self._forgotten = self.oldest = version

    def slice(self, version: int | None, prefix: str, after: str) -> "Slice":
        """Return the objects under `prefix` that come after a key, as they were at `version` (None: now)."""
        keys = self._sorted()
        undone = self._before(version) if version is not None else {}
        for key, stored in undone.items():
            if (stored is None) is (key in self._objects):
                # A copy for this call only; sorting a hundred thousand keys anew would take too long.
                keys = list(keys) if keys is self._order else keys
                if stored is None:
                    del keys[bisect_left(keys, key)]
                else:
                    insort(keys, key)
        start = max(bisect_right(keys, after), bisect_left(keys, prefix))
        # "0" follows "/" in ASCII, so this is the first key past every "namespace/..." one.
        end = bisect_left(keys, prefix[:-1] + "0") if prefix else len(keys)
        return Slice(self._objects, undone, keys, start, max(start, end))

    def _before(self, version: int) -> dict[str, Stored | None]:
        undone: dict[str, Stored | None] = {}
        for change in reversed(self._history):
            if change.version <= version:
                break
            undone[change.current.key] = change.previous
        return undone

    def _sorted(self) -> list[str]:
        if self._order is None:
            self._order = sorted(self._objects)
        return self._order


class Slice:
    """A run of objects in key order, seen at one version; read it before anything else changes."""

    def __init__(
        self,
        present: dict[str, Stored],
        undone: dict[str, Stored | None],
        keys: list[str],
        start: int,
        end: int,
    ) -> None:
        self._present = present
        self._undone = undone
        self._keys = keys
        self._start = start
        self._end = end

    def __len__(self) -> int:
        """Return the number of objects in the run."""
        return self._end - self._start

    def at(self, index: int) -> Stored:
        """Return the object at a place of the run."""
        key = self._keys[self._start + index]
        return self._undone.get(key) or self._present[key]

    def all(self) -> list[Stored]:
        """Return the whole run."""
        return [self.at(index) for index in range(len(self))]
