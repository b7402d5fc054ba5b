"""Metrics that are read off what happens elsewhere: events on their way to the cache, the log, the files in use."""

import time
from collections import deque
from collections.abc import Callable
from functools import reduce
from typing import Final, TypeVar

from msgspec import Struct
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from sre_server.api.writing import Scaler
from sre_server.cache import ClusterCache
from sre_server.errors import ClusterBroke, ClusterTimedOut
from sre_server.model import Deployment, Expected, State, Written
from sre_server.news import Event, Listed, Put
from sre_server.security.tls import ServerTLS
from sre_server.telemetry.metrics import Metrics
from sre_server.texts import at_least_as_new

REVERT_SECONDS: Final = 60.0
SEEN: Final = 100
"""So many changes of a Deployment are kept while a write of it is under way; what is more, is not looked at."""
WHOLE: Final = "*"
"""The scope of a server that serves all namespaces, as a label."""
_T = TypeVar("_T")


class _Count(Struct, frozen=True):
    """A count of a Deployment, by the version at which it was seen or set, and when we heard of it."""

    uid: str
    version: str
    replicas: int
    at: float


class _Writes:
    """Our writes of one Deployment: how many are under way, the counts that they left, and what is to be looked at."""

    def __init__(self) -> None:
        self.under_way = 0
        self.ours: list[_Count] = []
        self.seen: deque[_Count] = deque(maxlen=SEEN)


class CacheObserver:
    """Counts what the cache takes in; `now` is a monotonic clock in seconds."""

    def __init__(self, cache: ClusterCache, metrics: Metrics, now: Callable[[], float]) -> None:
        self._cache = cache
        self._metrics = metrics
        self._now = now
        self._writes: dict[tuple[str, str], _Writes] = {}
        cache.subscribe(self)

    def applied(self, event: Event) -> None:
        """See `Listener.applied`."""
        self._metrics.cache_last_event.set(time.time() - (self._now() - event.heard_at))
        if isinstance(event, Listed):
            self._metrics.relists.labels(event.source.resource.value, event.occasion.value).inc()
            return
        for change in event.changes if self._writes else ():
            if isinstance(change, Put) and isinstance(change.object, Deployment):
                self._saw(change.object)

    def noting(self, scale: Scaler) -> Scaler:
        """Return the same way to write, whose writes are known to be ours from when they begin."""

        def noted(
            client: str, namespace: str, name: str, replicas: int, expected: Expected
        ) -> Deferred[Written | State]:
            writes = self._begun(namespace, name)
            return maybeDeferred(scale, client, namespace, name, replicas, expected).addBoth(self._ended, writes)

        return noted

    def _begun(self, namespace: str, name: str) -> _Writes:
        long_ago = self._now() - REVERT_SECONDS
        self._writes = {
            key: writes
            for key, writes in self._writes.items()
            if writes.under_way or (writes.ours and writes.ours[-1].at >= long_ago)
        }
        writes = self._writes.setdefault((namespace, name), _Writes())
        writes.under_way += 1
        return writes

    def _ended(self, outcome: _T, writes: _Writes) -> _T:
        writes.under_way -= 1
        if isinstance(outcome, Written):
            writes.ours.append(self._count(outcome.deployment))
        elif isinstance(outcome, Failure) and outcome.check(ClusterBroke, ClusterTimedOut):
            writes.ours, writes.seen = [], deque(maxlen=SEEN)  # its own change may come at any time, or never
        if not writes.under_way:
            self._look_for_reverts(writes)
        return outcome

    def _saw(self, deployment: Deployment) -> None:
        writes = self._writes.get((deployment.namespace, deployment.name))
        if writes is not None:
            writes.seen.append(self._count(deployment))
            if not writes.under_way:
                self._look_for_reverts(writes)

    def _count(self, deployment: Deployment) -> _Count:
        return _Count(deployment.uid, deployment.resource_version, deployment.replicas, self._now())

    def _look_for_reverts(self, writes: _Writes) -> None:
        """Count each count of ours that somebody else changed soon after, as an autoscaler does that knows better.

        What the watch tells is compared with our last write before it, by version. While a write is under way, what is
        told may be its own doing, and waits for the answer.
        """
        for seen in writes.seen:
            before = [ours for ours in writes.ours if at_least_as_new(seen.version, ours.version)]
            if not before:
                continue
            last = reduce(lambda one, other: other if at_least_as_new(other.version, one.version) else one, before)
            reverted = last.uid == seen.uid and last.replicas != seen.replicas
            if reverted and seen.at - last.at <= REVERT_SECONDS:
                self._metrics.reverts_detected.inc()
            writes.ours = [ours for ours in writes.ours if ours not in before or (ours is last and not reverted)]
        writes.seen.clear()

    def refresh(self) -> None:
        """Bring the gauges of the cache up to date."""
        tree = self._cache.tree()
        self._metrics.cache_objects.labels("namespaces").set(len(tree))
        self._metrics.cache_objects.labels("deployments").set(sum(len(by_name) for by_name in tree.values()))
        for namespace, age in self._cache.ages().items():
            scope = namespace or WHOLE
            self._metrics.cache_synced.labels(scope).set(age is not None)
            self._metrics.cache_age.labels(scope).set(age or 0.0)


def observe_trust(metrics: Metrics, tls: ServerTLS) -> None:
    """Bring the gauges up to date that say when certificates end and lists of revocations are due."""
    trust = tls.trust()
    metrics.certificate_expiry.labels("server").set(tls.policy.pair.certificate.not_valid_after_utc.timestamp())
    metrics.certificate_expiry.labels("client_ca").set(
        min(authority.not_valid_after_utc.timestamp() for authority in trust.authorities)
    )
    metrics.revocations_due.clear()
    for issuer, due in sorted(trust.revocations_due().items()):
        metrics.revocations_due.labels(issuer).set(due.timestamp())


@implementer(ILogObserver)
class LogCounter(Service):
    """Counts the messages of each level while the daemon runs."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        for level in LogLevel.iterconstants():
            metrics.log_messages.labels(level.name)  # from 0 on, so that the first one is seen to be one more

    def __call__(self, event: LogEvent) -> None:
        """Count one message."""
        level = event.get("log_level")
        self._metrics.log_messages.labels(getattr(level, "name", "info")).inc()

    def startService(self) -> None:
        """Begin to count: this is the start of the instance."""
        super().startService()
        self._metrics.starts.inc()
        globalLogPublisher.addObserver(self)

    def stopService(self) -> None:
        """Count no more."""
        super().stopService()
        self._metrics.stops.inc()
        globalLogPublisher.removeObserver(self)
