"""Metrics that are read off what happens elsewhere: lists and events, counts that others change, log messages."""

from datetime import UTC, datetime, timedelta

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cache import ClusterCache
from sre_server.daemon.observing import REVERT_SECONDS, CacheObserver, LogCounter, observe_trust
from sre_server.model import Changed, Deleted, Deployment, Listed, Put, Resource, Source
from sre_server.security.tls import ServerTLS, TLSFiles
from sre_server.telemetry.metrics import Metrics
from tests.certificates import Authority
from tests.fakes import deployment, namespace, temporary_folder
from tests.wire import by_name

NAMESPACES, DEPLOYMENTS = Source(Resource.NAMESPACES), Source(Resource.DEPLOYMENTS)


class ObserverTests(SynchronousTestCase):
    """An observer of a cache that knows one Deployment of three replicas."""

    def setUp(self) -> None:
        """Fill the cache."""
        self.clock, self.metrics = Clock(), Metrics()
        self.cache = ClusterCache(self.clock.seconds, [NAMESPACES, DEPLOYMENTS], 120)
        self.observer = CacheObserver(self.cache, self.metrics, self.clock.seconds)
        self.observer.refresh()
        self.synced_at_first = self.sample("cache_synced")
        self.cache.apply(Listed(NAMESPACES, "100", 0, namespaces={"shop": namespace("shop")}))
        self.cache.apply(Listed(DEPLOYMENTS, "100", 0, deployments=by_name([deployment()])))

    def sample(self, name: str, **labels: str) -> float | None:
        """The value of a metric."""
        return self.metrics.registry.get_sample_value(f"sre_server_{name}", labels)

    def changed(self, *found: Deployment) -> None:
        """Let the watch tell of these."""
        self.cache.apply(Changed(DEPLOYMENTS, self.clock.seconds(), [Put(each) for each in found]))

    def reverts(self) -> float | None:
        """How many reverts were seen."""
        return self.sample("reverts_detected_total")

    def test_the_cache(self) -> None:
        """The gauges say what the cache holds, and how old that is."""
        self.assertEqual((self.synced_at_first, self.cache.deployment("shop", "web").replicas), (0, 3))
        self.changed(deployment("api", version="101"))
        self.clock.advance(7)
        self.observer.refresh()
        self.assertEqual(self.sample("cache_objects", resource="deployments"), 2)
        self.assertEqual(self.sample("cache_objects", resource="namespaces"), 1)
        self.assertEqual((self.sample("cache_synced"), self.sample("cache_age_seconds")), (1, 7))
        self.assertGreater(self.sample("cache_last_event_timestamp_seconds") or 0, 1_700_000_000)

    def test_lists(self) -> None:
        """Each complete list is counted for its resource, and watch events are not."""
        self.changed(deployment("api", version="101"))
        self.cache.apply(Listed(DEPLOYMENTS, "102", 0, deployments={}))
        self.assertEqual(self.sample("relists_total", resource="deployments"), 2)
        self.assertEqual(self.sample("relists_total", resource="namespaces"), 1)

    def test_a_revert(self) -> None:
        """A count of ours that somebody else changes soon after is counted, once."""
        self.cache.written(deployment(replicas=20, version="200"))
        self.assertEqual(self.cache.deployment("shop", "web").replicas, 20)
        self.changed(deployment(replicas=20, version="200"), deployment(replicas=20, version="201"))
        self.assertEqual(self.reverts(), 0)
        self.clock.advance(REVERT_SECONDS)
        self.changed(deployment(replicas=5, version="202"))
        self.changed(deployment(replicas=6, version="203"))
        self.assertEqual(self.reverts(), 1)

    def test_late_events_are_no_revert(self) -> None:
        """What the cluster was before our write, told after it, is not somebody else's doing."""
        self.cache.written(deployment(replicas=20, version="200"))
        self.changed(deployment(replicas=3, version="150"))
        self.assertEqual((self.reverts(), self.cache.deployment("shop", "web").replicas), (0, 20))

    def test_our_own_next_write(self) -> None:
        """A second write of ours is no revert of the first."""
        self.cache.written(deployment(replicas=20, version="200"))
        self.cache.written(deployment(replicas=30, version="201"))
        self.changed(deployment(replicas=20, version="200"), deployment(replicas=30, version="201"))
        self.assertEqual(self.reverts(), 0)

    def test_later_changes(self) -> None:
        """After a minute a change is ordinary life."""
        self.assertEqual(REVERT_SECONDS, 60)
        self.cache.written(deployment(replicas=20, version="200"))
        self.clock.advance(REVERT_SECONDS + 0.1)
        self.changed(deployment(replicas=5, version="202"))
        self.assertEqual(self.reverts(), 0)

    def test_other_objects(self) -> None:
        """Another Deployment, one of the same name that was made anew, and one that was deleted are no reverts."""
        self.cache.written(deployment(replicas=20, version="200"))
        self.changed(deployment("api", replicas=1, version="201"), deployment(namespace="pay", version="202"))
        self.cache.apply(Changed(DEPLOYMENTS, self.clock.seconds(), [Deleted(deployment(replicas=20, version="203"))]))
        self.changed(deployment(replicas=1, version="204", uid="another"))
        self.assertEqual(self.reverts(), 0)

    def test_what_is_remembered_is_bounded_in_time(self) -> None:
        """Writes of more than a minute ago are forgotten with the next one."""
        for number in range(100):
            self.cache.written(deployment(f"web-{number}", version=f"{200 + number}"))
            self.clock.advance(1)
        self.assertLessEqual(len(self.observer._ours), REVERT_SECONDS + 1)


class LogCounterTests(SynchronousTestCase):
    """The daemon's log."""

    def test_messages_are_counted_by_level(self) -> None:
        """From the start of the daemon to its end, which are counted too."""
        metrics, log = Metrics(), Logger()
        counter = LogCounter(metrics)

        def count(level: str) -> float:
            return metrics.registry.get_sample_value("sre_server_log_messages_total", {"level": level}) or 0

        log.info("before")
        counter.startService()
        for level, times in (("info", 3), ("warn", 2), ("error", 1), ("critical", 1), ("debug", 1)):
            for _ in range(times):
                getattr(log, level)("a message")
        self.flushLoggedErrors()
        self.assertEqual([count(level) for level in ("info", "warn", "error", "critical", "debug")], [3, 2, 1, 1, 1])
        counter.stopService()
        log.info("after")
        self.assertEqual(count("info"), 3)
        totals = [metrics.registry.get_sample_value(f"sre_server_{name}_total") for name in ("starts", "stops")]
        self.assertEqual(totals, [1, 1])

    def test_what_has_no_level(self) -> None:
        """An event of the old kind counts as information."""
        metrics = Metrics()
        LogCounter(metrics)({})
        self.assertEqual(metrics.registry.get_sample_value("sre_server_log_messages_total", {"level": "info"}), 1)


class TrustTests(SynchronousTestCase):
    """What the TLS files say of their ends."""

    def test_ends(self) -> None:
        """The server's certificate, the first CA to end, the newest list of each CA; a list that went is forgotten."""
        folder, metrics = temporary_folder(self), Metrics()
        authority = Authority(folder)
        pair = authority.issue("localhost")
        crl = folder / "crl.pem"
        crl.write_bytes(
            authority.revocation_list(number=2, next_update=timedelta(days=3))
            + authority.revocation_list(number=1, next_update=timedelta(days=2))
        )
        tls = ServerTLS(TLSFiles(pair.certificate, pair.key, authority.file, crl))
        observe_trust(metrics, tls)
        now = datetime.now(UTC).timestamp()

        def days(name: str, **labels: str) -> int | None:
            value = metrics.registry.get_sample_value(f"sre_server_tls_{name}_timestamp_seconds", labels)
            return None if value is None else round((value - now) / 86400)

        self.assertEqual(days("certificate_expiry", role="server"), 1)
        self.assertEqual(days("certificate_expiry", role="client_ca"), 30)
        self.assertEqual(days("crl_next_update", issuer="CN=Test CA"), 3)
        observe_trust(metrics, ServerTLS(TLSFiles(pair.certificate, pair.key, authority.file, None)))
        self.assertIsNone(days("crl_next_update", issuer="CN=Test CA"))
