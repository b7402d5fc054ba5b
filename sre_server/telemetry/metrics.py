"""What the server counts, for Prometheus: names and labels as conventions of that ecosystem have them.

Labels are bounded: a route's template, never a Deployment's name. One `Metrics` belongs to one server; it is handed to
whoever has something to count, some of them in threads, which `prometheus_client` allows.
"""

from time import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from sre_server import __version__
from sre_server.telemetry.identities import ByIdentity
from sre_server.telemetry.tallies import Tallies

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Every metric of one server, in a registry of its own; `role` is what it does of what there is to do."""

    def __init__(self, role: str = "all") -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"sre_server_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"sre_server_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"sre_server_{name}", text, labels, buckets=_FAST, registry=registry)

        build = Info("sre_server_build", "The version of the server, and its role.", registry=registry)
        build.info({"version": __version__, "role": role})
        self.start_time = gauge("start_time_seconds", "When this instance started, in seconds since the epoch.")
        self.start_time.set(time())
        self.starts = counter("starts", "Starts of the service in this process: 1 once it runs.")
        self.stops = counter("stops", "Stops of the service in this process: 1 once it drains.")

        self.answers = Tallies(registry, _FAST)
        self.in_flight = gauge("http_requests_in_flight", "Requests that are being worked on.")
        self.refused = counter("http_refused", "Requests too broken, too large or too slow to be any.", "code")
        self.connections = gauge("connections", "Open connections to the API port.")
        self.clients_connected = gauge("clients_connected", "Identities that have a connection open.")
        self.connections_refused = counter("connections_refused", "Connections that were turned away.", "reason")
        self.throttled = counter("throttled", "Requests answered 429.", "kind")
        self.denied = counter("denied", "Requests of clients that may not, or are not identified.", "reason")
        self.by_identity = ByIdentity(registry)
        self.expiring = counter("client_certificate_expiring_requests", "Requests under a certificate that ends soon.")

        self.cache_objects = gauge("cache_objects", "Objects in the cache.", "resource")
        self.cache_synced = gauge("cache_synced", "1 once a complete list of the scope was applied.", "scope")
        self.cache_age = gauge("cache_age_seconds", "Seconds since the scope was last heard from.", "scope")
        self.ready = gauge("ready", "1 while readyz would answer 200.")
        self.max_staleness = gauge("max_staleness_seconds", "The age of the cache past which reads answer 503.")
        self.cache_last_event = gauge("cache_last_event_timestamp_seconds", "When the cluster was last heard from.")
        self.watch_restarts = counter("watch_restarts", "Cycles of list and watch that ended.", "reason")
        self.relists = counter("relists", "Complete lists that were applied.", "resource", "reason")
        self.permission_missing = gauge(
            "permission_missing", "1 while the cluster refuses the server what it needs.", "permission"
        )
        self.kube_requests = counter("kube_requests", "Requests to the cluster; code 0 had no answer.", "verb", "code")
        self.kube_request_seconds = histogram("kube_request_duration_seconds", "Until the cluster's headers.", "verb")

        self.store_leader = gauge("store_leader", "1 while this watcher publishes to the shared cache.")
        self.store_epoch = gauge("store_epoch", "The reign in which the shared cache was last written.")
        self.store_position = gauge("store_position", "The number of the last entry in that reign.")
        self.store_append_seconds = histogram("store_append_duration_seconds", "An append to the shared cache.")
        self.store_pending = gauge("store_pending_changes", "Objects whose changes this watcher has yet to publish.")
        self.store_lag = gauge("store_lag_seconds", "Seconds since an entry was appended, or came from the log.")
        self.store_reloads = counter("store_reloads", "Times that all of the shared cache was read again.", "reason")
        self.store_connects = counter("store_connects", "Connections to Redis.")
        self.store_failures = counter("store_failures", "Cycles of publishing or following that ended.", "reason")

        self.waits = gauge("waits", "Requests that wait because their client wants that.")
        self.wait_outcomes = counter("wait_outcomes", "What came of writes that somebody waited for.", "outcome")
        self.scale_writes = counter("scale_writes", "Counts that clients wanted to set.", "result")
        self.admission_changes = counter("admission_changes", "Writes whose count the cluster's admission changed.")
        self.guardrail_denials = counter("guardrail_denials", "Writes that a guardrail refused.", "rule")
        self.count_changes = counter("count_changes", "Counts that changed, whoever set them.", "program")
        self.reverts_detected = counter("reverts_detected", "Counts of ours that somebody else changed within 60 s.")

        self.temporary_active = gauge("temporary_active", "Temporary counts that are noted.")
        self.temporary_overdue = gauge(
            "temporary_overdue_seconds", "Seconds past its end of the temporary count that is late for the longest."
        )
        self.temporary_returns = counter("temporary_returns", "Ends of temporary counts, by this process.", "result")
        self.temporary_superseded = counter(
            "temporary_superseded", "Temporary counts that somebody else had changed before their end."
        )

        self.certificate_expiry = gauge(
            "tls_certificate_expiry_timestamp_seconds", "When the certificate ends.", "role"
        )
        self.revocations_due = gauge(
            "tls_crl_next_update_timestamp_seconds", "When a list of revocations should have been replaced.", "issuer"
        )
        self.audit_failures = counter("audit_failures", "Lines that the audit log did not take.")
        self.reloads = counter("reloads", "Files that changed and were read again.", "what", "result")
        self.reload_failing = gauge("reload_failing", "1 while a changed file cannot be used.", "what")
        self.log_messages = counter("log_messages", "Messages logged.", "level")

    def kube_request(self, method: str, status: int, seconds: float) -> None:
        """Count a request to the cluster: its status, 0 without an answer, and the seconds until the headers."""
        self.kube_requests.labels(method, str(status)).inc()
        self.kube_request_seconds.labels(method).observe(seconds)

    def watch_ended(self, reason: str) -> None:
        """Count a cycle of list and watch that ended."""
        self.watch_restarts.labels(reason).inc()

    def store_ended(self, reason: str) -> None:
        """Count a cycle of publishing or following that ended."""
        self.store_failures.labels(reason).inc()

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Return all of it and its media type: OpenMetrics for who accepts that, else Prometheus' plain text."""
        if "application/openmetrics-text" in accept:
            return generate_openmetrics(self.registry), OPENMETRICS
        return generate_latest(self.registry), PLAIN
