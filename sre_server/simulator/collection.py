"""The objects of one resource and a bounded history of how they came to be.

Objects are kept as encoded JSON: nobody can change one by accident, list pages are joined bytes, and a hundred
thousand of them fit. A past state is the present one with the newer changes undone, so that the pages of a list show
one snapshot for as long as the history reaches back.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import takewhile
from typing import Literal

import msgspec

from sre_server.simulator.kinds import Key, Kind, Object
from sre_server.simulator.statuses import expired

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


class Stored(msgspec.Struct, frozen=True, gc=False):
    """One version of one object; `body` is its JSON without kind and apiVersion."""

    key: Key
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


class Collection:
    """The present objects of one resource, and its latest changes; a watch can start from `oldest` or later."""

    def __init__(self, kind: Kind, capacity: int) -> None:
        self.kind = kind
        self.oldest = 0
        self._objects: dict[Key, Stored] = {}
        self._sorted: list[Key] | None = []
        self._history: deque[Change] = deque()
        self._capacity = capacity

    def __len__(self) -> int:
        """Return the number of present objects."""
        return len(self._objects)

    def __iter__(self) -> Iterator[Stored]:
        """Yield the present objects in the order in which they were created."""
        return iter(self._objects.values())

    def get(self, key: Key) -> Stored | None:
        """Return the present version of an object."""
        return self._objects.get(key)

    def load(self, stored: Stored) -> None:
        """Put an object in place without history: it has always been there."""
        self._objects[stored.key] = stored
        self._sorted = None

    def apply(self, change: Change) -> None:
        """Make a change the present, and remember it."""
        if change.type == "DELETED":
            del self._objects[change.current.key]
        else:
            self._objects[change.current.key] = change.current
        if change.type != "MODIFIED":
            self._sorted = None
        self._history.append(change)
        while len(self._history) > self._capacity:
            self.oldest = self._history.popleft().version

    def compact(self, version: int) -> None:
        """Forget all history; from now on `version` is the oldest one that a watch may start from."""
        self._history.clear()
        self.oldest = version

    def require(self, version: int) -> None:
        """Refuse a version whose successors are no longer all known."""
        if version < self.oldest:
            raise expired(version, self.oldest)

    def since(self, version: int) -> list[Change]:
        """Return the changes after `version`, oldest first."""
        self.require(version)
        return [*takewhile(lambda change: change.version > version, reversed(self._history))][::-1]

    def roll_back(self, version: int) -> None:
        """Become what this collection was at `version`, and forget all that was known before and after."""
        for key, stored in self._changed_since(version).items():
            if stored is None:
                self._objects.pop(key, None)
            else:
                self._objects[key] = stored
        self._sorted = None
        self.compact(version)

    def items(self, version: int, namespace: str = "", after: Key = ("", "")) -> Iterator[Stored]:
        """Yield the objects, of one namespace or of all, that come after a key, in the order of keys, as of `version`.

        The iterator has to be read before anything else changes.
        """
        before = self._changed_since(version)
        created = {key for key, stored in before.items() if stored is None}
        deleted = {key for key, stored in before.items() if stored is not None and key not in self._objects}
        keys = self._keys()
        if created or deleted:
            keys = sorted([*(key for key in keys if key not in created), *deleted])
        start = max(bisect_right(keys, after), bisect_left(keys, (namespace, "")))
        for key in keys[start:] if start else keys:
            if namespace not in ("", key[0]):
                return
            yield before.get(key) or self._objects[key]

    def _changed_since(self, version: int) -> dict[Key, Stored | None]:
        """Return what has changed after `version`, as it was then; None is what did not exist."""
        return {change.current.key: change.previous for change in reversed(self.since(version))}

    def _keys(self) -> list[Key]:
        if self._sorted is None:
            self._sorted = sorted(self._objects)
        return self._sorted
