"""The bodies of lists, made once for all clients with the same rights, and kept until something in them changes.

The parts of a list are its namespaces. Each is filtered and encoded again only after `ClusterCache.revision` says that
it changed, so that a list of 100,000 Deployments costs one namespace's worth of work after one change. A namespace of
which a client may read all has the one part that everybody shares.
"""

import zlib
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from msgspec import Struct
from twisted.internet.defer import Deferred

from sre_server.api.bodies import Body, Packing, digest_of, digest_tag, warning_of
from sre_server.api.slices import Slices
from sre_server.cache import ClusterCache
from sre_server.errors import NotFound
from sre_server.model import Deployment, Unreadable
from sre_server.security.authorization import EVERYTHING, Extent, View
from sre_server.web.answers import encode

ByName = Mapping[str, Deployment]
KEPT_VIEWS: Final = 64
KEPT_BYTES: Final = 2**25
"""So much is kept for clients that see a part, in lists of one kind; what was not used for the longest goes first."""
_PART_BYTES: Final = 400
"""What a part takes beside its bytes, in objects."""
_FORMS: Final = 3
"""A short body may be there as it is, compressed, and as what that was made of; none of them is longer than it."""
_ALL, _NAMES = "all", "namespaces"
_CHUNK_BYTES: Final = 65_536
_CHUNK_NAMESPACES: Final = 16


class _Part(Struct, gc=False):
    """One namespace's piece of a list: its bytes, their digest for the tags of whole lists, and bodies of it alone."""

    revision: int
    deployments: int
    data: bytes
    digest: bytes
    left_out: Sequence[str]
    """The Deployments that cannot be read, each as `namespace/name`; they count among `deployments`."""
    alone: dict[bytes, Body] = {}

    def size(self) -> int:
        """Return how many bytes it may take, at most."""
        return _PART_BYTES + len(self.data) + _FORMS * sum(len(body.data) for body in self.alone.values())


class _Kept:
    """What is kept for one view: the parts that only it shows, its bodies with their revisions, and chunks of gzip."""

    def __init__(self) -> None:
        self.parts: dict[str, _Part] = {}
        self.bodies: dict[str, tuple[int, Body]] = {}
        self.packed: dict[bytes, bytes] = {}
        self.counted = 0
        self._in_parts = 0

    def put(self, namespace: str, part: _Part, tree: Mapping[str, object]) -> None:
        """Keep a part, and none of too many namespaces that are not in the tree any more."""
        self.remove(namespace)
        self.parts[namespace] = part
        self._in_parts += part.size()
        for gone in [name for name in self.parts if name not in tree] if len(self.parts) > 2 * len(tree) else ():
            self.remove(gone)

    def remove(self, namespace: str) -> None:
        """Forget a part, if there is one."""
        part = self.parts.pop(namespace, None)
        self._in_parts -= part.size() if part is not None else 0

    def put_alone(self, part: _Part, brackets: bytes, body: Body) -> None:
        """Keep a body of a part alone; the part may have gone meanwhile."""
        before = part.size()
        part.alone[brackets] = body
        self._in_parts += part.size() - before

    def size(self) -> int:
        """Return how many bytes there are, at most."""
        return self._in_parts + sum(body.size() for _, body in self.bodies.values())


_Seen = Sequence[tuple[str, _Part | None]]
_Finish = Callable[[View, _Seen, _Kept], Body]


class _Count(Struct, gc=False):
    deployment: str
    replica_count: int


def names_in(namespace: str, by_name: ByName) -> object:
    """Show a namespace with the names of its Deployments, sorted, as lists of both families have it."""
    return {"namespace": namespace, "deployments": sorted(by_name)}


def counts_in(namespace: str, by_name: ByName) -> object:
    """Show a namespace with the counts of its Deployments, sorted by their names, as family B has it."""
    deployments = [_Count(name, by_name[name].replicas) for name in sorted(by_name)]
    return {"namespace": namespace, "deployments": deployments}


class ListBodies:
    """The bodies of lists that show each namespace in one way: as `show` makes it of its name and its Deployments."""

    def __init__(self, cache: ClusterCache, show: Callable[[str, ByName], object], slices: Slices) -> None:
        self._cache = cache
        self._show = show
        self._slices = slices
        self._everything = _Kept()
        self._views: OrderedDict[View, _Kept] = OrderedDict()

    def of_all(self, view: View = EVERYTHING) -> Body | Deferred[Body]:
        """Return the list of every namespace in which there are Deployments that the view shows."""
        return self._made(_ALL, view, self._list)

    def of_namespaces(self, view: View = EVERYTHING) -> Body | Deferred[Body]:
        """Return the names of every namespace that the view shows, those without Deployments included."""
        return self._made(_NAMES, view, self._names)

    def of_one(self, namespace: str, view: View = EVERYTHING, brackets: bytes = b"%s") -> Body:
        """Return one namespace's piece alone, between brackets if need be; raises NotFound.

        To who may read some names in it, the namespace is what of them is there: one without any is like none.
        """
        extent = view.extent(namespace)
        if extent is not None and extent.told:
            self._cache.check_namespace(namespace)
        kept = self._everything if extent is None or extent.allows is None else self._kept(view)
        part = self._part(kept, extent, namespace) if extent is not None else None
        if part is None or not (part.deployments or (extent is not None and extent.told)):
            raise NotFound(f"Nothing that you may read is in the namespace '{namespace}'.")
        body = part.alone.get(brackets)
        if body is None:
            data = brackets % part.data + b"\n"
            packing = Packing(self._slices, [(part.digest, len(data))], {})
            body = Body(data, digest_tag(part.digest), packing, _left_out(part.left_out))
            if kept.parts.get(namespace) is part:
                kept.put_alone(part, brackets, body)
                self._forget(view)
        return body

    def _made(self, kind: str, view: View, finish: _Finish) -> Body | Deferred[Body]:
        found = self._kept(view).bodies.get(kind)
        if found is not None and found[0] == self._cache.revision():
            return found[1]
        return self._slices.run((id(self), kind, view), partial(self._make, kind, view, finish))

    def _make(self, kind: str, view: View, finish: _Finish) -> Generator[None, None, Body]:
        """Make the parts that are missing, one by one; then, in one step, what is made of them."""
        kept, revision = self._kept(view), self._cache.revision()
        seen = []
        for each in self._seen(kind, view, kept):
            seen.append(each)
            yield
        if revision != self._cache.revision():
            seen, revision = list(self._seen(kind, view, kept)), self._cache.revision()
        body = finish(view, seen, kept)
        kept.bodies[kind] = revision, body
        if view is not EVERYTHING:
            self._views[view] = kept  # which others may have pushed out meanwhile
            self._forget(view)
        return body

    def _seen(self, kind: str, view: View, kept: _Kept) -> Iterator[tuple[str, _Part | None]]:
        """Return all namespaces of a view, each with its part; without it where it is enough that they are there."""
        for namespace in sorted(self._cache.tree()):
            extent = view.extent(namespace)
            if extent is not None:
                yield namespace, None if kind == _NAMES and extent.told else self._part(kept, extent, namespace)

    def _list(self, view: View, seen: _Seen, kept: _Kept) -> Body:
        shown = [(namespace, part) for namespace, part in seen if part is not None and part.deployments]
        texts = [part.data for _, part in shown] or [b""]
        texts[0] = b"[" + texts[0]
        texts[-1] += b"]\n"
        data = b",".join(texts)  # in one step, as copying so many bytes is what takes the longest
        tag = digest_tag(digest_of(b"".join([part.digest for _, part in shown])))
        packing = Packing(self._slices, _chunks(shown), kept.packed, partial(self._forget, view))
        return Body(data, tag, packing, _left_out([name for _, part in shown for name in part.left_out]))

    def _names(self, view: View, seen: _Seen, _: _Kept) -> Body:
        data = encode({"namespaces": [namespace for namespace, part in seen if part is None or part.deployments]})
        digest = digest_of(data)
        packing = Packing(self._slices, [(digest, len(data))], {}, partial(self._forget, view))
        return Body(data, digest_tag(digest), packing)

    def _part(self, kept: _Kept, extent: Extent, namespace: str) -> _Part:
        if extent.allows is None:
            kept = self._everything
        revision = self._cache.revision(namespace)
        part = kept.parts.get(namespace)
        if part is None or part.revision != revision:
            tree = self._cache.tree()
            seen = extent.of(tree.get(namespace, {}))
            left_out = sorted(name for name, known in seen.items() if isinstance(known, Unreadable))
            readable = {name: seen[name] for name in seen.keys() - set(left_out)} if left_out else seen
            data = encode(self._show(namespace, readable))[:-1]
            part = _Part(revision, len(seen), data, digest_of(data), [f"{namespace}/{name}" for name in left_out])
            if namespace in tree:
                kept.put(namespace, part, tree)
        return part

    def _kept(self, view: View) -> _Kept:
        if view is EVERYTHING:
            return self._everything
        kept = self._views.get(view)
        if kept is None:
            kept = self._views[view] = _Kept()
            self._forget(view)
        else:
            self._views.move_to_end(view)
        return kept

    def _forget(self, grown: View) -> None:
        """Keep what the bounds allow, now that there is more of one, and nothing of rules that are in force no more."""
        if grown in self._views:
            self._views[grown].counted = self._views[grown].size()
        for view in [view for view in self._views if not view.in_force()]:
            del self._views[view]
        counted = sum(kept.counted for kept in self._views.values())
        while len(self._views) > KEPT_VIEWS or (len(self._views) > 1 and counted > KEPT_BYTES):
            counted -= self._views.popitem(last=False)[1].counted


def _left_out(names: Sequence[str]) -> bytes:
    return warning_of("what cannot be read is left out", names) if names else b""


def _chunks(shown: Sequence[tuple[str, _Part]]) -> list[tuple[bytes, int]]:
    """Return where a list is cut to be compressed, with a key of the bytes in between.

    Where depends on the namespaces there, and not on those before, so that a new one changes one chunk, and on nothing
    else, so that every replica cuts where the others do.
    """
    chunks: list[tuple[bytes, int]] = []
    key, start, end = b"[", 0, 1
    for namespace, part in shown[:-1]:
        key, end = key + part.digest, end + len(part.data) + 1
        if end - start >= _CHUNK_BYTES or zlib.crc32(namespace.encode("ascii")) % _CHUNK_NAMESPACES == 0:
            chunks.append((key, end))
            key, start = b"", end
    for _, part in shown[-1:]:
        key, end = key + part.digest, end + len(part.data) + 1
    return [*chunks, (key + b"]", end + 1)]
