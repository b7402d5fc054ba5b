"""Metrics that are read off what happens elsewhere: events on their way to the cache, the log, the files in use."""

import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from twisted.application.service import Service
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from sre_server.cache import ClusterCache
from sre_server.model import Deployment, Event, Listed, Put
from sre_server.security import audit
from sre_server.security.tls import ServerTLS
from sre_server.telemetry.metrics import Metrics

REVERT_SECONDS: Final = 60.0
WHOLE: Final = "*"
"""The scope of a server that serves all namespaces, as a label."""


class _Ours(Struct, frozen=True):
    deployment: Deployment
    at: float


class CacheObserver:
    """Counts what the cache takes in; `now` is a monotonic clock in seconds."""

    def __init__(self, cache: ClusterCache, metrics: Metrics, now: Callable[[], float]) -> None:
        self._cache = cache
        self._metrics = metrics
        self._now = now
        self._ours: dict[tuple[str, str], _Ours] = {}
        cache.subscribe(self)

    def applied(self, event: Event) -> None:
        """See `Listener.applied`."""
        self._metrics.cache_last_event.set(time.time() - (self._now() - event.heard_at))
        if isinstance(event, Listed):
            self._metrics.relists.labels(event.source.resource.value, event.occasion.value).inc()
            return
        for change in event.changes if self._ours else ():
            if isinstance(change, Put) and isinstance(change.object, Deployment):
                self._look_for_revert(change.object)

    def written(self, deployment: Deployment) -> None:
        """Remember the state that a write left as ours for a while; see `Listener.written`."""
        now = self._now()
        self._ours = {key: ours for key, ours in self._ours.items() if now - ours.at <= REVERT_SECONDS}
        self._ours[deployment.namespace, deployment.name] = _Ours(deployment, now)

    def _look_for_revert(self, deployment: Deployment) -> None:
        """Count a count of ours that somebody else changed soon after, as an autoscaler does that knows better."""
        key = (deployment.namespace, deployment.name)
        ours = self._ours.get(key)
        if ours is None or ours.deployment.uid != deployment.uid:
            return
        known = self._cache.find(*key)
        if known is None or known.replicas == ours.deployment.replicas:
            return
        del self._ours[key]
        if self._now() - ours.at <= REVERT_SECONDS:
            self._metrics.reverts_detected.inc()

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
    metrics.certificate_expiry.labels("server").set(tls.policy.certificate_ends.timestamp())
    metrics.certificate_expiry.labels("client_ca").set(
        min(authority.not_valid_after_utc.timestamp() for authority in trust.authorities)
    )
    metrics.revocations_due.clear()
    for issuer, due in sorted(trust.revocations_due().items()):
        metrics.revocations_due.labels(issuer).set(due.timestamp())


@implementer(ILogObserver)
class LogCounter(Service):
    """Counts the messages of each level while the daemon runs, and what the audit log complains of."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        for level in LogLevel.iterconstants():
            metrics.log_messages.labels(level.name)  # from 0 on, so that the first one is seen to be one more

    def __call__(self, event: LogEvent) -> None:
        """Count one message."""
        level = event.get("log_level")
        self._metrics.log_messages.labels(getattr(level, "name", "info")).inc()
        if level is LogLevel.critical and event.get("log_namespace") == audit.__name__:
            self._metrics.audit_failures.inc()

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
