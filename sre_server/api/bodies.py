"""The bodies of every read, as bytes: made once, and kept until something in them changes.

The parts of a list are its namespaces. Each is encoded again only after `ClusterCache.revision` says that it changed,
so that a list of 100,000 Deployments costs one namespace's worth of work after one change. An entity tag says what a
body says, and nothing else: every replica of the server gives the same one to the same content.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from sre_server.api.conditional import is_known, replicas_tag
from sre_server.cache import ClusterCache
from sre_server.model import Deployment, Unreadable
from sre_server.security.authorization import Tree
from sre_server.web.answers import encode

ByName = Mapping[str, Deployment]
_GZIP_BYTES: Final = 1024
"""Shorter bodies fit into one packet anyway."""
_GZIP_LEVEL: Final = 1
"""Level 6 takes 2.5 times as long for a list, on the reactor's time, and saves bytes that are few already."""
_GZIP: Final = 16 + zlib.MAX_WBITS
_NAMED: Final = 5


class Body(Struct, gc=False):
    """One body, and its strong entity tag with the quotes (RFC 9110, section 8.8.3)."""

    data: bytes
    etag: bytes
    negotiable: bool = False
    """Whether it has a compressed form as well, so that the answer varies with Accept-Encoding."""
    warning: bytes = b""
    """What is missing in it, as the value of a Warning field (RFC 7234, section 5.5); nothing, if nothing is."""
    _gzipped: "Body | None" = None

    def shown_to(self, *, gzip: bool, if_none_match: bytes | None) -> tuple["Body", bool]:
        """Return the form that a client gets, compressed or not, and whether it has that already."""
        shown = self.gzipped() if gzip else self
        return shown, is_known(shown.etag, if_none_match)

    def gzipped(self) -> "Body":
        """The same compressed, under a tag of its own, where that is worth it; compressed when first asked for."""
        if not self.negotiable or len(self.data) < _GZIP_BYTES:
            return self
        if self._gzipped is None:
            compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
            data = compressor.compress(self.data) + compressor.flush()
            self._gzipped = Body(data, self.etag[:-1] + b'-gzip"', negotiable=True, warning=self.warning)
        return self._gzipped


class _Part(Struct, gc=False):
    """One namespace's piece of a list: its bytes, their digest for the tags of whole lists, and bodies of it alone."""

    revision: int
    data: bytes
    digest: bytes
    left_out: Sequence[str]
    """The Deployments that cannot be read, each as `namespace/name`."""
    alone: dict[bytes, Body] = {}


def one(template: bytes, deployment: Deployment) -> Body:
    """Fill namespace, name and count into a JSON template; names that passed Kubernetes' rules need no escaping."""
    where, name = deployment.namespace.encode("ascii"), deployment.name.encode("ascii")
    return Body(template % (where, name, deployment.replicas), replicas_tag(deployment.replicas, deployment.uid))


def whole(value: object) -> Body:
    """Encode plain data into a body, tagged with its digest."""
    data = encode(value)
    return Body(data, _tag(_digest(data)), negotiable=True)


def warning_of(what: str, names: Sequence[str]) -> bytes:
    """Return the value of a Warning field that says this of the things named, in words for people."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return b'199 sre-server "%s"' % f"{what}: {', '.join(names[:_NAMED])}{more}".encode("ascii")


def _left_out(names: Sequence[str]) -> bytes:
    return warning_of("what cannot be read is left out", names) if names else b""


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _tag(digest: bytes) -> bytes:
    return b'"%s"' % digest.hex().encode("ascii")


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

    def __init__(self, cache: ClusterCache, show: Callable[[str, ByName], object]) -> None:
        self._cache = cache
        self._show = show
        self._parts: dict[str, _Part] = {}
        self._all: tuple[int, Body] | None = None

    def of_all(self, tree: Tree[Deployment]) -> Body:
        """Return the list of every namespace of the tree that has Deployments."""
        if tree is not self._cache.tree():  # a client that may not see everything
            return self._joined(tree)
        revision = self._cache.revision()
        if self._all is None or self._all[0] != revision:
            self._all = revision, self._joined(tree)
        return self._all[1]

    def of_one(self, namespace: str, by_name: ByName, brackets: bytes = b"%s") -> Body:
        """Return one namespace's piece alone, between brackets if need be."""
        part = self._part(namespace, by_name)
        body = part.alone.get(brackets)
        if body is None:
            data, warning = brackets % part.data + b"\n", _left_out(part.left_out)
            body = part.alone[brackets] = Body(data, _tag(part.digest), negotiable=True, warning=warning)
        return body

    def _joined(self, tree: Tree[Deployment]) -> Body:
        parts = [self._part(namespace, by_name) for namespace, by_name in sorted(tree.items()) if by_name]
        data = b"[%s]\n" % b",".join([part.data for part in parts])
        warning = _left_out([name for part in parts for name in part.left_out])
        return Body(data, _tag(_digest(b"".join([part.digest for part in parts]))), negotiable=True, warning=warning)

    def _part(self, namespace: str, by_name: ByName) -> _Part:
        tree = self._cache.tree()
        kept_for_all = by_name is tree.get(namespace)
        revision = self._cache.revision(namespace)
        part = self._parts.get(namespace) if kept_for_all else None
        if part is None or part.revision != revision:
            left_out = sorted(name for name, known in by_name.items() if isinstance(known, Unreadable))
            if left_out:
                by_name = {name: known for name, known in by_name.items() if not isinstance(known, Unreadable)}
            data = encode(self._show(namespace, by_name))[:-1]
            part = _Part(revision, data, _digest(data), [f"{namespace}/{name}" for name in left_out])
            if kept_for_all:
                self._keep(namespace, part, tree)
        return part

    def _keep(self, namespace: str, part: _Part, tree: Tree[Deployment]) -> None:
        self._parts[namespace] = part
        if len(self._parts) > 2 * len(tree):
            self._parts = {name: kept for name, kept in self._parts.items() if name in tree}
