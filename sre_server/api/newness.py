"""Reads that wait until the cache is as new as what their client has seen, as of a write by another replica.

So does the API server's own watch cache, for reads with `resourceVersionMatch=NotOlderThan` (Kubernetes API Concepts).
"""

import re
from typing import Final

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sre_server.cache import ClusterCache
from sre_server.errors import Malformed, Unavailable
from sre_server.news import Event

WAIT_SECONDS: Final = 3
RETRY_SECONDS: Final = 1
_VERSION: Final = re.compile(rb"0|[1-9][0-9]{0,18}")


class Wanted(Struct, frozen=True):
    """What is read: a Deployment, a namespace, or all of them; and the resourceVersion that it must not predate."""

    version: str
    namespace: str | None
    name: str | None = None


def version_in(field: bytes | None) -> str | None:
    """Read an `X-Min-Resource-Version` field; raises Malformed for all but one resourceVersion (KEP-5504)."""
    if field is None:
        return None
    if not _VERSION.fullmatch(field):
        raise Malformed("X-Min-Resource-Version must be one resourceVersion, as a write's X-Resource-Version gave it.")
    return field.decode("ascii")


class Newness:
    """Knows who waits for which news; `reactor` ends the waits that are in vain."""

    def __init__(self, reactor: IReactorTime, cache: ClusterCache) -> None:
        self._reactor = reactor
        self._cache = cache
        self._waiting: dict[Deferred[None], Wanted] = {}
        cache.subscribe(self)

    def wait(self, wanted: Wanted | None) -> Deferred[None] | None:
        """Wait until the cache is as new as that, or for 3 s; None if it is already, or nothing is wanted."""
        if wanted is None or self._has_come(wanted):
            return None
        waiting: Deferred[None] = Deferred(self._waiting.__delitem__)
        self._waiting[waiting] = wanted
        return waiting.addTimeout(WAIT_SECONDS, self._reactor, lambda _late, _seconds: None)

    def check(self, wanted: Wanted | None) -> None:
        """Raise Unavailable unless the cache is as new as that."""
        if wanted is not None and not self._has_come(wanted):
            raise Unavailable(
                f"The cluster's state as of resourceVersion {wanted.version} has not been heard of yet; what was known "
                "before is answered without X-Min-Resource-Version.",
                RETRY_SECONDS,
            )

    def applied(self, event: Event) -> None:
        """See `Listener.applied`: go on with the reads for which this is new enough."""
        for waiting in [waiting for waiting, wanted in self._waiting.items() if self._has_come(wanted)]:
            del self._waiting[waiting]
            waiting.callback(None)

    def _has_come(self, wanted: Wanted) -> bool:
        return self._cache.has_reached(wanted.version, wanted.namespace, wanted.name)
