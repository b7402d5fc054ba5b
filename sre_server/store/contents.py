"""All objects that are shared, in the buckets of the snapshot; for one thread."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from sre_server.model import Autoscaler, Deployment, Namespace, Notes, Object, ScaledEvent
from sre_server.news import Change, Deleted, Listed, Put, Resource, Source
from sre_server.store.records import CHUNKS, Place, Row, bucket_of, object_of, place_of, row_of

_Namespaced = TypeVar("_Namespaced", Deployment, Autoscaler, Notes, ScaledEvent)
_Kind = TypeVar("_Kind", Namespace, Deployment, Autoscaler, Notes, ScaledEvent)


def belongs(place: Place, source: Source) -> bool:
    """Tell whether the object of a place is one of those that a source lists."""
    (kind, beside, namespace), name = place[0].rpartition("/"), place[1]
    if beside:
        return source.resource.value == kind and source.namespace in (None, namespace)
    if source.resource is Resource.NAMESPACES:
        return not namespace and source.namespace in (None, name)
    return source.resource is Resource.DEPLOYMENTS and bool(namespace) and source.namespace in (None, namespace)


class Contents:
    """Objects by bucket and place, and how many each source has."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self.counts = [0] * len(sources)
        self._buckets: list[dict[Place, Object]] = [{} for _ in range(CHUNKS)]
        self._sources: dict[str | Place, int | None] = {}

    def __iter__(self) -> Iterator[tuple[Place, Object]]:
        """Every object, with its place."""
        for bucket in self._buckets:
            yield from bucket.items()

    def get(self, place: Place) -> Object | None:
        """The object of a place."""
        return self._buckets[bucket_of(place)].get(place)

    def set(self, place: Place, item: Object | None) -> None:
        """Have this object in a place, or none; objects of no source are passed over."""
        self._set(self._buckets[bucket_of(place)], place, item)

    def source_of(self, place: Place) -> int | None:
        """The number of the source that the object of a place is of, None if it is of none."""
        group = place[0] or place
        try:
            return self._sources[group]
        except KeyError:
            belonging = (number for number, source in enumerate(self.sources) if belongs(place, source))
            return self._sources.setdefault(group, next(belonging, None))

    def _set(self, bucket: dict[Place, Object], place: Place, item: Object | None) -> None:
        source = self.source_of(place)
        if source is None:
            return
        self.counts[source] -= place in bucket
        if item is None:
            bucket.pop(place, None)
        else:
            bucket[place] = item
            self.counts[source] += 1

    def fill(self, number: int, rows: Sequence[Row]) -> None:
        """Take in a chunk."""
        bucket = self._buckets[number]
        for row in rows:
            if (item := object_of(row)) is not None:
                self._set(bucket, place_of(item), item)

    def take(self, row: Row) -> Change | None:
        """Take a row in; return the change that it is, None if it is none of ours."""
        item = object_of(row)
        if item is None:
            return None
        place = place_of(item)
        if row.kind > 0:
            self.set(place, item)
            return Put(item, row.gap)
        known = self.get(place)
        if known is None or known.uid != item.uid:
            return None
        self.set(place, None)
        return Deleted(item)

    def rows(self, bucket: int) -> list[Row]:
        """The rows of a chunk."""
        return [row_of(item) for item in self._buckets[bucket].values()]

    def by_source(self) -> list[dict[Place, Object]]:
        """Sort all objects by the number of the source that they are of."""
        found: list[dict[Place, Object]] = [{} for _ in self.sources]
        for place, item in self:
            number = self.source_of(place)
            if number is not None:
                found[number][place] = item
        return found

    def reuse(self, known: Iterable[tuple[Place, Object]]) -> None:
        """Keep the object in `known` wherever an equal one is in the same place."""
        for place, item in known:
            bucket = self._buckets[bucket_of(place)]
            if bucket.get(place) == item:
                bucket[place] = item


class Lists:
    """What some contents are as lists of their sources; the objects are sorted once, with the first list."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._by_source: list[dict[Place, Object]] = []

    def listed(self, version: str, source: Source, heard_at: float, *, undoes: bool) -> Listed:
        """Make the event that tells of all objects of a source.

        That a write is older than `heard_at` does not say that it is among them, as a watch may tell of it later: only
        its version does. With `undoes` it has gone if it is not.
        """
        listed = partial(Listed, source, version, heard_at if undoes else float("-inf"), told_at=heard_at)
        if source.resource is Resource.NAMESPACES:
            return listed(namespaces={item.name: item for _, item in self._of(source, Namespace)})
        if source.resource is Resource.DEPLOYMENTS:
            return listed(deployments=self._tree(source, Deployment))
        if source.resource is Resource.AUTOSCALERS:
            return listed(others=self._tree(source, Autoscaler))
        if source.resource is Resource.SCALINGS:
            return listed(others=self._tree(source, ScaledEvent))
        return listed(others=self._tree(source, Notes))

    def _of(self, source: Source, kind: type[_Kind]) -> Iterator[tuple[Place, _Kind]]:
        self._by_source = self._by_source or self._contents.by_source()
        for place, item in self._by_source[self._contents.sources.index(source)].items():
            if isinstance(item, kind):
                yield place, item

    def _tree(self, source: Source, kind: type[_Namespaced]) -> dict[str, dict[str, _Namespaced]]:
        tree: dict[str, dict[str, _Namespaced]] = {}
        for place, item in self._of(source, kind):
            tree.setdefault(item.namespace, {})[place[1]] = item
        return tree
