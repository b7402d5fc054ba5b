"""The objects of a source as its thread knows them: where a list is put together, outside the reactor thread.

The thread keeps a tree of its own beside the cache's, to compare each new list with. An object that has not changed
stays the same Python object, so that whatever was computed from it stays valid.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sre_server.model import Namespace, Object
from sre_server.news import Change, Listed, Occasion, Put, Resource, Source


class Gathered:
    """The objects of one source, by their namespace ("" for namespaces themselves) and name; for one thread."""

    def __init__(self, items: Iterable[Object] = ()) -> None:
        self._tree: dict[str, dict[str, Any]] = {}
        for item in items:
            self._put(item)

    def __len__(self) -> int:
        """How many objects there are."""
        return sum(map(len, self._tree.values()))

    def apply(self, change: Change) -> None:
        """Apply a change."""
        if isinstance(change, Put):
            self._put(change.object)
        else:
            self._tree.get(_namespace_of(change.object), {}).pop(change.object.name, None)

    def _put(self, item: Object) -> None:
        self._tree.setdefault(_namespace_of(item), {})[item.name] = item

    def by_name(self, namespace: str) -> Mapping[str, Object]:
        """The objects in one namespace; for "", the namespaces themselves."""
        return self._tree.get(namespace, {})

    def reuse(self, known: "Gathered") -> None:
        """Replace each object by the one in `known` if the two are equal."""
        for namespace, objects in self._tree.items():
            before = known.by_name(namespace)
            for name, item in objects.items():
                if before.get(name) == item:
                    objects[name] = before[name]

    def as_listed(self, source: Source, version: str, started_at: float, occasion: Occasion) -> Listed:
        """Make the event that lists all objects; later changes here do not alter it."""
        copied = {namespace: dict(objects) for namespace, objects in self._tree.items() if objects}
        if source.resource is Resource.NAMESPACES:
            return Listed(source, version, started_at, namespaces=copied.get("", {}), occasion=occasion)
        if source.resource is Resource.DEPLOYMENTS:
            return Listed(source, version, started_at, deployments=copied, occasion=occasion)
        return Listed(source, version, started_at, others=copied, occasion=occasion)

    def release(self) -> None:
        """Drop everything, an object at a time: freeing a large tree at once would block every other thread."""
        for objects in self._tree.values():
            while objects:
                objects.popitem()


def _namespace_of(item: Object) -> str:
    return "" if isinstance(item, Namespace) else item.namespace
