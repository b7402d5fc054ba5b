"""What is counted by the clients' names, and that the names stay few."""

from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.telemetry.identities import MAX_NAMED, REMEMBERED_SECONDS, ByIdentity

ENDS = datetime(2030, 1, 1, tzinfo=UTC)


class ByIdentityTests(SynchronousTestCase):
    """The counts of one server."""

    def setUp(self) -> None:
        """Count nothing yet."""
        self.clock, self.registry = Clock(), CollectorRegistry()
        self.counts = ByIdentity(self.registry, self.clock.seconds)

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one series."""
        return self.registry.get_sample_value(f"sre_server_identity_{name}", labels)

    def ending(self, identity: str) -> float | None:
        """When the certificate of a client ends, as far as is told."""
        return self.value("certificate_expiry_timestamp_seconds", identity=identity)

    def test_writes_and_refusals(self) -> None:
        """Each client has its own counts, by what came of it; who was not recognised has one too."""
        for result in ("changed", "changed", "Conflict"):
            self.counts.wrote("alice", result)
        self.counts.refused("bob", "not permitted")
        self.counts.refused(None, "not identified")
        self.assertEqual(self.value("writes_total", identity="alice", result="changed"), 2)
        self.assertEqual(self.value("writes_total", identity="alice", result="Conflict"), 1)
        self.assertEqual(self.value("refusals_total", identity="bob", reason="not permitted"), 1)
        self.assertEqual(self.value("refusals_total", identity="unidentified", reason="not identified"), 1)

    def test_names_are_bounded(self) -> None:
        """After the first fifty, all others share a series; those that have one keep it."""
        for number in range(3 * MAX_NAMED):
            self.counts.wrote(f"client-{number}", "changed")
            self.counts.refused(f"client-{number}", "not permitted")
            self.counts.ending(f"client-{number}", ENDS)
        self.counts.wrote("client-0", "changed")
        self.assertEqual(self.value("writes_total", identity="other", result="changed"), 2 * MAX_NAMED)
        self.assertEqual(self.value("writes_total", identity="client-0", result="changed"), 2)
        self.assertIsNone(self.value("writes_total", identity=f"client-{MAX_NAMED}", result="changed"))
        for family in self.registry.collect():
            names = {sample.labels["identity"] for sample in family.samples}
            self.assertEqual(len(names), MAX_NAMED + 1, family.name)

    def test_certificates_that_end(self) -> None:
        """A renewed certificate takes the place of the old one; one that is not used for an hour is forgotten."""
        self.counts.ending("alice", ENDS)
        self.counts.ending("alice", ENDS + timedelta(days=1))
        self.assertEqual(self.ending("alice"), (ENDS + timedelta(days=1)).timestamp())
        self.clock.advance(REMEMBERED_SECONDS)
        self.counts.ending("alice", ENDS + timedelta(days=1))
        self.clock.advance(REMEMBERED_SECONDS)
        self.assertIsNotNone(self.ending("alice"))
        self.clock.advance(1)
        self.assertIsNone(self.ending("alice"))

    def test_the_soonest_of_the_others(self) -> None:
        """Clients that share a series show the certificate that ends first."""
        for number in range(MAX_NAMED):
            self.counts.wrote(f"client-{number}", "changed")
        for days in (3, 1, 2):
            self.counts.ending(f"late-{days}", ENDS + timedelta(days=days))
        self.assertEqual(self.ending("other"), (ENDS + timedelta(days=1)).timestamp())
