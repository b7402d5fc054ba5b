"""What is counted for each client by name: its writes, its refusals, and when its certificate ends.

A name as a label is worth its cost only while there are few. The first fifty that are met have a series of their own;
all later ones share `other`, so that no CA, however generous with names, makes the metrics grow.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

MAX_NAMED: Final = 50
REMEMBERED_SECONDS: Final = 3600.0
OTHER: Final = "other"
NOBODY: Final = "unidentified"


class _Ending(Struct):
    ends: float
    seen: float


class ByIdentity(Collector):
    """The metrics that have an identity as a label; `now` is a monotonic clock in seconds."""

    def __init__(self, registry: CollectorRegistry, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._named: set[str] = set()
        self._endings: dict[str, _Ending] = {}
        self._writes = Counter(
            "sre_server_identity_writes",
            "Writes that were sent on to the cluster.",
            ("identity", "result"),
            registry=registry,
        )
        self._refusals = Counter(
            "sre_server_identity_refusals", "Requests that were refused.", ("identity", "reason"), registry=registry
        )
        registry.register(self)

    def wrote(self, identity: str | None, result: str) -> None:
        """Count a write, and what came of it."""
        self._writes.labels(self._label(identity), result).inc()

    def refused(self, identity: str | None, reason: str) -> None:
        """Count a refusal; `identity` is None for a client that was not recognised."""
        self._refusals.labels(self._label(identity), reason).inc()

    def ending(self, identity: str, ends: datetime) -> None:
        """Remember for an hour that this client's certificate ends soon; of those that share a label, the soonest."""
        label = self._label(identity)
        at, now = ends.timestamp(), self._now()
        known = self._endings.get(label)
        if known is None or self._is_over(known, now) or (at < known.ends if label == OTHER else at != known.ends):
            self._endings[label] = _Ending(at, now)
        else:
            known.seen = now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the ends of the certificates that were used within the last hour; for the registry."""
        now = self._now()
        self._endings = {label: ending for label, ending in self._endings.items() if not self._is_over(ending, now)}
        family = GaugeMetricFamily(
            "sre_server_identity_certificate_expiry_timestamp_seconds",
            "When a client's certificate ends, for those that were warned of it within the last hour.",
            labels=("identity",),
        )
        for label, ending in sorted(self._endings.items()):
            family.add_metric((label,), ending.ends)
        yield family

    def _label(self, identity: str | None) -> str:
        if identity is None:
            return NOBODY
        if identity not in self._named:
            if len(self._named) >= MAX_NAMED:
                return OTHER
            self._named.add(identity)
        return identity

    @staticmethod
    def _is_over(ending: _Ending, now: float) -> bool:
        return now - ending.seen > REMEMBERED_SECONDS
