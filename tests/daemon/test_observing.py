"""Metrics that are read off what happens elsewhere: lists and events, counts that others change, log messages."""

import time
from datetime import UTC, datetime, timedelta

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cache import ClusterCache
from sre_server.daemon.observing import REVERT_SECONDS, CacheObserver, LogCounter, observe_trust
from sre_server.errors import AdmissionRefused, ClusterBroke, ClusterTimedOut, Conflict
from sre_server.model import Deployment, Expected, State, Written
from sre_server.news import Changed, Deleted, Listed, Occasion, Put, Resource, Source, sources_of
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
        self.synced_at_first = self.sample("cache_synced", scope="*")
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
        self.assertEqual((self.sample("cache_synced", scope="*"), self.sample("cache_age_seconds", scope="*")), (1, 7))
        self.assertGreater(self.sample("cache_last_event_timestamp_seconds") or 0, 1_700_000_000)

    def test_lists(self) -> None:
        """Each complete list is counted for its resource and its reason, and watch events are not."""
        self.changed(deployment("api", version="101"))
        for _ in range(2):
            self.cache.apply(Listed(DEPLOYMENTS, "102", 0, deployments={}, occasion=Occasion.SILENCE))
        for resource, reason, count in (
            ("deployments", "first", 1),
            ("deployments", "silence", 2),
            ("namespaces", "first", 1),
        ):
            self.assertEqual(self.sample("relists_total", resource=resource, reason=reason), count)
        self.assertIsNone(self.sample("relists_total", resource="namespaces", reason="silence"))

    def test_when_the_cluster_was_heard(self) -> None:
        """What counts is when the cluster said it, not when the cache got to it."""
        now = time.time()
        self.clock.advance(1000)
        self.cache.apply(Changed(DEPLOYMENTS, 400))
        heard_at = self.sample("cache_last_event_timestamp_seconds") or 0
        self.assertTrue(now - 600 <= heard_at <= time.time() - 600, heard_at - now)

    def test_scopes(self) -> None:
        """Each namespace of a limited install has an age of its own, once all is known of it."""
        sources = sources_of(["shop", "bank"])
        cache = ClusterCache(self.clock.seconds, sources, 120)
        observer = CacheObserver(cache, self.metrics, self.clock.seconds)
        for source in sources[:2]:
            cache.apply(Listed(source, "1", 0))
        self.clock.advance(9)
        observer.refresh()
        for scope, synced, age in (("shop", 1, 9), ("bank", 0, 0)):
            self.assertEqual(self.sample("cache_synced", scope=scope), synced)
            self.assertEqual(self.sample("cache_age_seconds", scope=scope), age)

    def begin(self, replicas: int) -> Deferred[Written | State]:
        """Begin a write of ours; it is answered by what is called back."""
        answer: Deferred[Written | State] = Deferred()
        self.observer.noting(lambda *_: answer)("alice", "shop", "web", replicas, Expected("u"))
        return answer

    def write(self, replicas: int, version: str) -> None:
        """Make a write of ours."""
        self.begin(replicas).callback(Written(deployment(replicas=replicas, version=version)))

    def test_a_revert(self) -> None:
        """A count of ours that somebody else changes soon after is counted, once."""
        self.write(20, "200")
        self.changed(deployment(replicas=20, version="200"), deployment(replicas=20, version="201"))
        self.assertEqual(self.reverts(), 0)
        self.clock.advance(REVERT_SECONDS)
        self.changed(deployment(replicas=5, version="202"))
        self.changed(deployment(replicas=6, version="203"))
        self.assertEqual(self.reverts(), 1)

    def test_late_events_are_no_revert(self) -> None:
        """What the cluster was before our write, told after it, is not somebody else's doing."""
        self.write(20, "200")
        self.changed(deployment(replicas=3, version="150"))
        self.assertEqual(self.reverts(), 0)

    def test_our_own_next_write(self) -> None:
        """A second write of ours is no revert of the first, whichever event comes when."""
        self.write(20, "200")
        self.write(30, "201")
        self.changed(deployment(replicas=20, version="200"), deployment(replicas=30, version="201"))
        self.assertEqual(self.reverts(), 0)

    def test_the_event_before_the_answer(self) -> None:
        """What the watch tells of a write that is still under way, and of what follows, waits for the answer."""
        self.write(20, "200")
        for replicas, version in ((30, 210), (40, 220), (20, 230)):
            answer = self.begin(replicas)
            self.changed(deployment(replicas=replicas, version=f"{version}"))
            self.changed(deployment(replicas=replicas, version=f"{version + 1}"))
            answer.callback(Written(deployment(replicas=replicas, version=f"{version}")))
        self.assertEqual(self.reverts(), 0)

    def test_several_at_once(self) -> None:
        """Their events and answers may come in any order; what somebody else did in between is found all the same."""
        first, second = self.begin(20), self.begin(30)
        self.changed(deployment(replicas=20, version="200"), deployment(replicas=30, version="202"))
        second.callback(Written(deployment(replicas=30, version="202")))
        first.callback(Written(deployment(replicas=20, version="200")))
        self.assertEqual(self.reverts(), 0)
        first, second = self.begin(40), self.begin(50)
        self.changed(*[deployment(replicas=count, version=f"{210 + count}") for count in (40, 45, 50)])
        second.callback(Written(deployment(replicas=50, version="260")))
        self.assertEqual(self.reverts(), 0)
        first.callback(Written(deployment(replicas=40, version="250")))
        self.assertEqual(self.reverts(), 1)

    def test_many_writes_of_a_busy_server(self) -> None:
        """A hundred writes in a row, each told of before it is answered, are nobody else's doing."""
        for number in range(100):
            answer = self.begin(number)
            self.changed(deployment(replicas=number, version=f"{1000 + number}"))
            answer.callback(Written(deployment(replicas=number, version=f"{1000 + number}")))
        self.assertEqual(self.reverts(), 0)

    def test_a_write_that_changed_nothing(self) -> None:
        """It takes nothing away from the one before it."""
        self.write(20, "200")
        for outcome in (Failure(Conflict("No.")), Failure(AdmissionRefused("No.", 403)), State("u", 20)):
            answer = self.begin(30)
            answer.addErrback(lambda _: None)
            answer.callback(outcome)
        self.changed(deployment(replicas=5, version="202"))
        self.assertEqual(self.reverts(), 1)

    def test_a_write_of_unknown_outcome(self) -> None:
        """A change that may be its doing, told before or after, is not counted as somebody else's."""
        for error in (ClusterTimedOut("Slow."), ClusterBroke("Reset.")):
            self.write(20, "200")
            answer = self.begin(30)
            answer.addErrback(lambda _: None)
            self.changed(deployment(replicas=30, version="201"))
            answer.errback(error)
            self.changed(deployment(replicas=30, version="202"))
            self.assertEqual(self.reverts(), 0)

    def test_what_fails_at_once(self) -> None:
        """A bug in asking the cluster is its caller's to deal with, and no write that is under way for ever."""

        def fail(
            client: str, namespace: str, name: str, replicas: int, expected: Expected
        ) -> Deferred[Written | State]:
            raise ZeroDivisionError

        failed = self.observer.noting(fail)("alice", "shop", "web", 3, Expected("u"))
        self.failureResultOf(failed, ZeroDivisionError)
        self.write(20, "200")
        self.changed(deployment(replicas=5, version="202"))
        self.assertEqual(self.reverts(), 1)

    def test_later_changes(self) -> None:
        """After a minute a change is ordinary life."""
        self.assertEqual(REVERT_SECONDS, 60)
        self.write(20, "200")
        self.clock.advance(REVERT_SECONDS + 0.1)
        self.changed(deployment(replicas=5, version="202"))
        self.assertEqual(self.reverts(), 0)

    def test_other_objects(self) -> None:
        """Another Deployment, one of the same name that was made anew, and one that was deleted are no reverts."""
        self.write(20, "200")
        self.changed(deployment("api", replicas=1, version="201"), deployment(namespace="pay", version="202"))
        self.cache.apply(Changed(DEPLOYMENTS, self.clock.seconds(), [Deleted(deployment(replicas=20, version="203"))]))
        self.changed(deployment(replicas=1, version="204", uid="another"))
        self.assertEqual(self.reverts(), 0)

    def test_what_is_remembered_is_bounded(self) -> None:
        """Writes of more than a minute ago are forgotten with the next one, and so is one that the watch has passed."""
        for number in range(100):
            written = Written(deployment(f"web-{number}", version=f"{200 + number}"))
            self.observer.noting(lambda *_, written=written: succeed(written))(
                "alice", "shop", f"web-{number}", 3, Expected("u")
            )
            self.clock.advance(1)
        self.assertLessEqual(len(self.observer._writes), REVERT_SECONDS + 1)
        for number in range(100):
            self.write(number, f"{1000 + number}")
            self.changed(deployment(replicas=number, version=f"{1000 + number}"))
        self.assertEqual(len(self.observer._writes["shop", "web"].ours), 1)
        self.assertEqual(self.reverts(), 0)


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
