"""How old is what is known of the cluster, and is it complete: for each scope on its own.

A scope is one of the namespaces that the server was started for, or all of the cluster. What is wrong with one of them
is no matter of the others.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Final

from msgspec import Struct

from sre_server.errors import NotFound, Unavailable
from sre_server.news import Resource, Source

SYNC_RETRY_SECONDS: Final = 2
STALE_RETRY_SECONDS: Final = 5
NAMED: Final = 3
"""How many of those concerned a message names."""
_MAX_STALE: Final = "send 'Cache-Control: max-stale'"


class Known(Struct, frozen=True, gc=False):
    """How good the knowledge is that answers a question.

    `age` is in seconds; `missing` are the namespaces of which nothing is known yet, where that was accepted.
    """

    age: float
    missing: Sequence[str] = ()


class _Scope(Struct):
    """A namespace that is served, or (None) all of them: the sources that tell of it, and when it was last heard of."""

    namespace: str | None
    sources: list[Source]
    heard_at: float | None = None
    """By the source that has been silent the longest; None until a complete list of each was applied."""


class Freshness:
    """When each source was last heard, and what that means for whoever asks of a namespace, or of all of them.

    `now` is a monotonic clock in seconds, that of the times in events; `sources` are the lists that must have been
    applied before anything is answered of their scope; `max_staleness` is in seconds.
    """

    def __init__(self, now: Callable[[], float], sources: Collection[Source], max_staleness: float) -> None:
        self._now = now
        self._max_staleness = max_staleness
        self._heard_at: dict[Source, float | None] = dict.fromkeys(sources)
        self._scopes: dict[str | None, _Scope] = {
            scope: _Scope(scope, [source for source in sources if source.namespace in (None, scope)])
            for scope in (source.namespace for source in sources if source.resource is Resource.DEPLOYMENTS)
        }
        self._whole = self._scopes.get(None)

    def heard(self, source: Source, at: float) -> None:
        """Learn that all is known of a source as it was at this time."""
        self._heard_at[source] = at
        for scope in self._covering(source.namespace):
            heard = [self._heard_at[each] for each in scope.sources]
            scope.heard_at = None if None in heard else min(at for at in heard if at is not None)

    @property
    def unsynced(self) -> list[Source]:
        """The sources of which no complete list has been applied yet."""
        return [source for source, heard_at in self._heard_at.items() if heard_at is None]

    def ages(self) -> dict[str | None, float | None]:
        """Seconds since each scope was last heard of; None for those of which nothing is known yet."""
        heard = {name: scope.heard_at for name, scope in self._scopes.items()}
        return {name: None if heard_at is None else self._age(heard_at) for name, heard_at in heard.items()}

    def age(self, namespace: str | None = None) -> float:
        """Seconds since the cluster was last heard of: of a namespace, or of the scope that was silent the longest.

        Scopes of which nothing is known yet do not count.
        """
        heard = (scope.heard_at for scope in self._covering(namespace))
        return max((self._age(heard_at) for heard_at in heard if heard_at is not None), default=0.0)

    def check_served(self, namespace: str) -> None:
        """Raise NotFound if this server was started for other namespaces than this one."""
        if not self._covering(namespace):
            raise NotFound(f"The namespace '{namespace}' is not one that this server was started for.")

    def check_synced(self, namespace: str | None = None, tolerance: float = 0.0) -> Sequence[str]:
        """Raise Unavailable until all is known of a namespace, or of all of them.

        Who tolerates any staleness at all is content with a part of all: returned are the namespaces that are missing.
        """
        scopes = self._covering(namespace)
        missing = [scope for scope in scopes if scope.heard_at is None]
        if missing and (tolerance < math.inf or len(missing) == len(scopes)):
            unsynced = [source for scope in missing for source in scope.sources if self._heard_at[source] is None]
            names = ", ".join(map(str, unsynced[:NAMED]))
            way_out = f"; to read what is known, {_MAX_STALE}" if len(missing) < len(scopes) else ""
            raise Unavailable(
                f"The first list from the cluster is not complete yet ({names}){way_out}.", SYNC_RETRY_SECONDS
            )
        return [scope.namespace or "" for scope in missing]

    def check_fresh(self, namespace: str | None = None, tolerance: float = 0.0) -> Known:
        """Return how good the knowledge of a namespace is, or that of all of them.

        Raises Unavailable unless it is synced and at most `max_staleness + tolerance` old, NotFound for a namespace
        that is not served.
        """
        scope = self._whole or self._scopes.get(namespace)
        if scope is not None and scope.heard_at is not None:
            age = self._age(scope.heard_at)
            if age <= self._max_staleness + tolerance:
                return Known(age)
        if namespace is not None:
            self.check_served(namespace)
        missing = self.check_synced(namespace, tolerance)
        age = self.age(namespace)
        if age > self._max_staleness + tolerance:
            raise Unavailable(
                f"{self._stale(namespace, tolerance)} last heard from {math.ceil(age)} s ago, and the bound is "
                f"{self._max_staleness:.0f} s; to read what was known then, {_MAX_STALE}.",
                STALE_RETRY_SECONDS,
            )
        return Known(age, missing)

    def check_ready(self) -> None:
        """Raise Unavailable unless there is a scope of which all is known, and fresh."""
        if not any(self._is_fresh(scope) for scope in self._scopes.values()):
            self.check_fresh()

    def warnings(self) -> list[str]:
        """Say which of the namespaces that were chosen cannot be read now."""
        stale = [scope for scope in self._scopes.values() if not self._is_fresh(scope)]
        return [f"the namespace '{scope.namespace}' {self._how_old(scope)}" for scope in stale if scope.namespace]

    def _covering(self, namespace: str | None) -> Sequence[_Scope]:
        """Return the scopes that a namespace is in, or all of them."""
        if self._whole is not None:
            return (self._whole,)
        if namespace is None:
            return tuple(self._scopes.values())
        scope = self._scopes.get(namespace)
        return () if scope is None else (scope,)

    def _age(self, heard_at: float) -> float:
        return max(0.0, self._now() - heard_at)

    def _how_old(self, scope: _Scope) -> str:
        if scope.heard_at is None:
            return "has not been read yet"
        return f"was last heard from {math.ceil(self._age(scope.heard_at))} s ago"

    def _is_fresh(self, scope: _Scope, tolerance: float = 0.0) -> bool:
        return scope.heard_at is not None and self._age(scope.heard_at) <= self._max_staleness + tolerance

    def _stale(self, namespace: str | None, tolerance: float) -> str:
        """Name what is too old, as the subject of a sentence."""
        scopes = [scope for scope in self._covering(namespace) if not self._is_fresh(scope, tolerance)]
        if scopes[0].namespace is None:
            return "The cluster was"
        names = ", ".join(f"'{scope.namespace}'" for scope in scopes[:NAMED])
        more = f" and {len(scopes) - NAMED} more" if len(scopes) > NAMED else ""
        return f"The namespace {names} was" if len(scopes) == 1 else f"The namespaces {names}{more} were"
