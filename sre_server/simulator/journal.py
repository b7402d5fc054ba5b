"""What was asked of the API: a bounded journal, and counts that never forget."""

from collections import Counter, deque
from typing import Literal

import msgspec

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete", "discover"]
Resource = Literal["namespaces", "deployments", "scale", "events", "subjectaccessreviews", ""]


class Call(msgspec.Struct, frozen=True):
    """One request, as far as faults and tests care: what is done to what."""

    verb: Verb
    resource: Resource = ""
    namespace: str = ""
    name: str = ""
    continued: bool = False


class Recorded(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of the journal."""

    time: float
    verb: Verb
    resource: Resource
    method: str
    uri: str
    user_agent: str


class Journal:
    """The latest requests, oldest first, and how many there were of each sort."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._entries: deque[Recorded] = deque(maxlen=capacity)
        self._counts: Counter[tuple[str, str]] = Counter()

    def record(self, entry: Recorded) -> None:
        """Add a request."""
        self._entries.append(entry)
        self._counts[entry.verb, entry.resource] += 1

    @property
    def entries(self) -> list[Recorded]:
        """Return the requests that are still remembered, oldest first."""
        return list(self._entries)

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many requests came, by (verb, resource)."""
        return dict(self._counts)

    def count(self, *, verb: str | None = None, resource: str | None = None) -> int:
        """Return how many requests came of one verb, of one resource, or of both."""
        return sum(
            count
            for (its_verb, its_resource), count in self._counts.items()
            if verb in (None, its_verb) and resource in (None, its_resource)
        )

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._counts.clear()
