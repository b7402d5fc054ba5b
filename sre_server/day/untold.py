"""Writes of ours that the watch has not come to yet: what they will have changed, and who made them."""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from sre_server.model import Author, Deployment
from sre_server.texts import at_least_as_new

WRITES: Final = 10_000
Key = tuple[str, str]


class Write(Struct, frozen=True, gc=False):
    """A write; when it was answered, by the clocks of events and of the wall."""

    deployment: Deployment
    author: Author
    at: float
    seen_at: float


class Untold:
    """All of them, by the namespace and the name of the Deployment."""

    def __init__(self) -> None:
        self._writes: Final[dict[Key, list[Write]]] = {}

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self._writes)

    def add(self, write: Write) -> None:
        """Keep one; of too many, those of the Deployment that was written first are forgotten."""
        if sum(map(len, self._writes.values())) >= WRITES:
            del self._writes[next(iter(self._writes))]
        self._writes.setdefault((write.deployment.namespace, write.deployment.name), []).append(write)

    def of(self, key: Key) -> list[Write]:
        """Those of a Deployment, oldest first."""
        return sorted(self._writes.get(key, ()), key=_age)

    def everywhere(self) -> Iterator[list[Write]]:
        """Those of each Deployment, oldest first."""
        return (sorted(writes, key=_age) for writes in self._writes.values())

    def passed(self, told: Deployment) -> list[Write]:
        """Take those to which this state brings us, oldest first; drop those of another Deployment of that name."""
        key = (told.namespace, told.name)
        if key not in self._writes:
            return []
        passed: list[Write] = []
        kept: list[Write] = []
        for write in self._writes[key]:
            if write.deployment.uid == told.uid:
                is_passed = at_least_as_new(told.resource_version, write.deployment.resource_version)
                (passed if is_passed else kept).append(write)
        self._keep(key, kept)
        return sorted(passed, key=_age)

    def listed(self, scope: str | None, started_at: float) -> None:
        """Drop those that a list would show, which was begun then."""
        for key, writes in self._in(scope):
            self._keep(key, [write for write in writes if write.at >= started_at])

    def lost(self, scope: str | None, version: str, but: set[Key]) -> None:
        """Drop those that the watch has passed without a word of them, `but` where it told what cannot be read."""
        for key, writes in self._in(scope):
            if key not in but:
                self._keep(key, [each for each in writes if at_least_as_new(each.deployment.resource_version, version)])

    def _in(self, scope: str | None) -> list[tuple[Key, list[Write]]]:
        return [each for each in self._writes.items() if scope in (None, each[0][0])]

    def _keep(self, key: Key, writes: list[Write]) -> None:
        if writes:
            self._writes[key] = writes
        else:
            self._writes.pop(key, None)


def _age(write: Write) -> tuple[int, str]:
    version = write.deployment.resource_version
    return len(version), version
