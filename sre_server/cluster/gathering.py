"""What a source has told so far: where a list is put together, out of the reactor's sight.

The thread keeps a tree of its own beside the cache's, so that a list is compared with what was known before: an object
that is as it was stays the same one, and what was made of it stays good.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sre_server.model import Change, Deployment, Listed, Namespace, Occasion, Put, Resource, Source


class Gathered:
    """The objects of one source, by the namespace that they are in ("" for namespaces) and name; for one thread."""

    def __init__(self, items: Iterable[Namespace | Deployment] = ()) -> None:
        self._tree: dict[str, dict[str, Any]] = {}
        for item in items:
            self._put(item)

    def __len__(self) -> int:
        """How many objects there are."""
        return sum(map(len, self._tree.values()))

    def take(self, change: Change) -> None:
        """Take in a change."""
        if isinstance(change, Put):
            self._put(change.object)
        else:
            self._tree.get(_place(change.object), {}).pop(change.object.name, None)

    def _put(self, item: Namespace | Deployment) -> None:
        place = _place(item)
        siblings = self._tree.get(place)
        if siblings is None:
            siblings = self._tree[place] = {}
        siblings[item.name] = item

    def at(self, place: str) -> Mapping[str, Namespace | Deployment]:
        """What is in one namespace, or ("") the namespaces themselves."""
        return self._tree.get(place, {})

    def succeed(self, known: "Gathered") -> None:
        """Take over the object that was known wherever an equal one was gathered."""
        for place, siblings in self._tree.items():
            before = known.at(place)
            for name, item in siblings.items():
                if before.get(name) == item:
                    siblings[name] = before[name]

    def listed(self, source: Source, version: str, started_at: float, occasion: Occasion) -> Listed:
        """Make the event that tells of all that there is; later changes here do not reach it."""
        copied = {place: dict(siblings) for place, siblings in self._tree.items() if siblings}
        if source.resource is Resource.NAMESPACES:
            return Listed(source, version, started_at, namespaces=copied.get("", {}), occasion=occasion)
        return Listed(source, version, started_at, deployments=copied, occasion=occasion)

    def release(self) -> None:
        """Let go of everything, an object at a time: freeing a large tree at once would stop every other thread."""
        for siblings in self._tree.values():
            while siblings:
                siblings.popitem()


def _place(item: Namespace | Deployment) -> str:
    return "" if isinstance(item, Namespace) else item.namespace
