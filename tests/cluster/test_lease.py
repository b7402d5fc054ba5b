"""The Lease of the watchers, against a cluster that keeps one object."""

from typing import Any

import msgspec
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster import lease
from sre_server.cluster.lease import READ_TIMEOUT, LeaseHolder
from sre_server.cluster.permissions import GET_LEASES, UPDATE_LEASES, Permissions
from sre_server.cluster.whose import cluster_uid
from sre_server.errors import BadAnswer, ClusterRefused, ClusterUnreachable
from tests.fakes import FakeReply, FakeTransport
from tests.wire import refusal

LEASES = "/apis/coordination.k8s.io/v1/namespaces/sre/leases"


class LeaseServer(FakeTransport):
    """A cluster with one Lease, or none yet."""

    def __init__(self) -> None:
        super().__init__()
        self.lease: dict[str, Any] | None = None
        self.version = 1
        self.away = False

    def request(
        self, method: str, path: str, query: Any, *, read_timeout: float, headers: Any = None, body: Any = None
    ) -> Any:
        """Answer as the API server does."""
        if self.away:
            raise ClusterUnreachable("away")
        self.requests.append((method, path, dict(query)))
        self.read_timeouts.append(read_timeout)
        if method == "GET" and path == f"{LEASES}/watch":
            return FakeReply(200, [msgspec.json.encode(self.lease)]) if self.lease else FakeReply(404, [b"{}"])
        if (method, path) not in (("POST", LEASES), ("PUT", f"{LEASES}/watch")):
            return FakeReply(405, [b"{}"])
        if headers != {"Content-Type": "application/json"}:
            return FakeReply(415, [b"{}"])
        written = msgspec.json.decode(body)
        if method == "PUT" and written["metadata"]["resourceVersion"] != str(self.version):
            return FakeReply(409, [b"{}"])
        self.version += 1
        self.lease = {**written, "metadata": {**written["metadata"], "resourceVersion": str(self.version)}}
        return FakeReply(201 if method == "POST" else 200, [msgspec.json.encode(self.lease)])


class LeaseTests(SynchronousTestCase):
    """Two processes that want it."""

    def setUp(self) -> None:
        """Have both, and a clock."""
        self.clock = Clock()
        self.server = LeaseServer()
        self.one, self.two = (LeaseHolder("sre", "watch", self.server, self.clock.seconds) for _ in range(2))

    def spend(self, seconds: int, *holders: LeaseHolder) -> None:
        """Let these try as often as they do."""
        for _ in range(0, seconds, 2):
            for holder in holders:
                holder.attempt()
            self.clock.advance(2)

    def test_one_leads(self) -> None:
        """Whoever makes it has it, for as long as it is renewed; the other one waits."""
        self.spend(60, self.one, self.two)
        self.assertTrue(self.one.fresh())
        self.assertFalse(self.two.holds())
        assert self.server.lease is not None
        self.assertEqual(self.server.lease["spec"]["leaseTransitions"], 0)

    def test_taking_over(self) -> None:
        """One that is not renewed ends for its holder before anybody else takes it, 15 s after its last renewal."""
        self.spend(10, self.one, self.two)
        waited = 0
        while not self.two.holds():
            self.spend(2, self.two)
            waited += 2
            self.assertFalse(self.two.holds() and self.one.holds())
        self.assertLessEqual(waited, 20)
        self.spend(2, self.one)
        self.assertFalse(self.one.holds())

    def test_the_cluster_is_away(self) -> None:
        """Who cannot renew it does not hold it for longer than 10 s, nor begins anything after 5."""
        self.spend(2, self.one)
        self.server.away = True
        self.assertRaises(ClusterUnreachable, self.one.attempt)
        self.clock.advance(4)
        self.assertTrue(self.one.holds())
        self.assertFalse(self.one.fresh())
        self.clock.advance(4)
        self.assertFalse(self.one.holds())

    def test_what_is_written(self) -> None:
        """It is a Lease as client-go writes it: who has it, since when, for how long, and how often that changed."""
        self.one.attempt()
        assert self.server.lease is not None
        made = self.server.lease
        self.assertEqual((made["apiVersion"], made["kind"]), ("coordination.k8s.io/v1", "Lease"))
        self.assertEqual(made["metadata"], {"name": "watch", "namespace": "sre", "resourceVersion": "2"})
        spec = made["spec"]
        self.assertEqual(
            list(spec), ["holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime", "leaseTransitions"]
        )
        self.assertEqual((spec["leaseDurationSeconds"], spec["leaseTransitions"]), (15, 0))
        self.assertRegex(spec["acquireTime"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertEqual(spec["renewTime"], spec["acquireTime"])
        self.server.lease = {**made, "spec": {**spec, "acquireTime": "earlier", "strategy": "kept"}}
        self.one.attempt()
        renewed = self.server.lease["spec"]
        self.assertEqual((renewed["acquireTime"], renewed["strategy"]), ("earlier", "kept"))
        self.assertEqual((renewed["holderIdentity"], renewed["leaseTransitions"]), (spec["holderIdentity"], 0))
        self.assertNotEqual(renewed["renewTime"], "earlier")
        del self.server.lease["spec"]["acquireTime"]
        self.one.attempt()
        renewed = self.server.lease["spec"]
        self.assertEqual(renewed["acquireTime"], renewed["renewTime"])
        self.two.attempt()
        self.clock.advance(16)
        self.two.attempt()
        taken = self.server.lease["spec"]
        self.assertNotEqual(taken["holderIdentity"], spec["holderIdentity"])
        self.assertEqual((taken["acquireTime"], taken["leaseTransitions"]), (taken["renewTime"], 1))
        self.assertEqual(set(self.server.read_timeouts), {READ_TIMEOUT})

    def test_made_by_somebody_else(self) -> None:
        """A Lease that has nothing in it yet, or no holder, is free, and how often it changed hands is counted on."""
        for spec, transitions in (({}, 1), ({"spec": None}, 1), ({"spec": {"leaseTransitions": 7}}, 8)):
            holder = LeaseHolder("sre", "watch", self.server, self.clock.seconds)
            version = {"name": "watch", "resourceVersion": str(self.server.version)}
            self.server.lease = {"metadata": version, **spec}
            holder.attempt()
            self.assertTrue(holder.holds())
            self.assertEqual(self.server.lease["spec"]["leaseTransitions"], transitions)

    def test_the_duration_of_another_holder(self) -> None:
        """A Lease runs out when more than its own duration has passed since it was first seen as it is."""
        spec = {"holderIdentity": "somebody", "leaseDurationSeconds": 60}
        self.server.lease = {"metadata": {"name": "watch", "resourceVersion": "1"}, "spec": spec}
        self.one.attempt()
        self.clock.advance(60)
        self.one.attempt()
        self.assertFalse(self.one.holds())
        self.clock.advance(1)
        self.one.attempt()
        self.assertTrue(self.one.holds())

    def test_a_lease_that_was_taken_away(self) -> None:
        """Whoever finds another holder in it leads no more, from that moment on."""
        self.one.attempt()
        assert self.server.lease is not None
        self.server.lease["spec"]["holderIdentity"] = "somebody"
        self.one.attempt()
        self.assertFalse(self.one.holds())

    def test_somebody_was_faster(self) -> None:
        """Who finds it free, and is not the first to write it, does not hold it."""
        spec: dict[str, Any] = {"holderIdentity": ""}
        self.server.lease = {"metadata": {"name": "watch", "resourceVersion": "0"}, "spec": spec}
        self.one.attempt()
        self.assertFalse(self.one.holds())
        self.assertEqual(self.server.lease["spec"], spec)

    def test_times(self) -> None:
        """It counts from when its renewal was sent: for less than 10 s, and for less than 5 to begin anything."""
        self.one.attempt()
        for passed, fresh, holds in ((4.9, True, True), (0.1, False, True), (4.9, False, True), (0.1, False, False)):
            self.clock.advance(passed)
            self.assertEqual((self.one.fresh(), self.one.holds()), (fresh, holds))

    def test_who_leads_is_logged(self) -> None:
        """Once, when it is taken, and not with each renewal; again after it was lost."""
        with capturedLogs() as events:
            self.spend(8, self.one)
            self.clock.advance(10)
            self.one.attempt()
        logged = [event["log_format"].format_map(event) for event in events]
        self.assertEqual(logged, ["Lease sre/watch: this watcher leads"] * 2)

    def test_letting_go(self) -> None:
        """Who is told to end lets it go, and the next one has it at once."""
        self.spend(2, self.one, self.two)
        assert self.server.lease is not None
        before = self.server.lease["spec"]
        self.one.interrupt()
        self.one.cycle(lambda: None)
        self.assertFalse(self.one.holds())
        self.assertEqual(self.server.lease["spec"], {**before, "holderIdentity": "", "leaseDurationSeconds": 1})
        self.two.attempt()
        self.assertTrue(self.two.holds())

    def test_renewing(self) -> None:
        """It is renewed every 2 s until somebody says that it is to end."""
        self.patch(lease, "RETRY_SECONDS", 0)
        whole = self.server.request

        def request(*arguments: Any, **more: Any) -> Any:
            if len(self.server.requests) == 6:
                self.one.interrupt()
            return whole(*arguments, **more)

        self.patch(self.server, "request", request)
        self.one.cycle(lambda: None)
        asked = [method for method, _, _ in self.server.requests]
        self.assertEqual(asked, ["GET", "POST", "GET", "PUT", "GET", "PUT", "GET", "PUT", "GET", "PUT"])

    def test_nothing_to_let_go(self) -> None:
        """Who does not hold it leaves it alone."""
        self.spend(2, self.one, self.two)
        self.two.interrupt()
        self.two.cycle(lambda: None)
        self.spend(2, self.one)
        self.assertTrue(self.one.holds())

    def test_taken_away_before_the_end(self) -> None:
        """Who is told to end, and finds that another one has it, or that it is gone, leaves it at that."""
        for spec in ({"holderIdentity": "somebody"}, None):
            self.one.attempt()
            assert self.server.lease is not None
            left = {**self.server.lease, "spec": spec} if spec else None
            self.server.lease = left
            self.one.interrupt()
            self.one.cycle(lambda: None)
            self.assertEqual(self.server.lease, left)
            self.server.lease = None
            self.one = LeaseHolder("sre", "watch", self.server, self.clock.seconds)

    def test_it_makes_no_sense(self) -> None:
        """What is no JSON object is a bad answer."""
        for body in (b"", b"[]", b"<html>"):
            transport = FakeTransport([FakeReply(200, [body])])
            holder = LeaseHolder("sre", "watch", transport, self.clock.seconds)
            error = self.assertRaises(BadAnswer, holder.attempt)
            self.assertRegex(str(error), r"\AThe cluster's Lease cannot be read: .+\.\Z")

    def test_it_is_refused(self) -> None:
        """A cluster that forbids it says so, and why; which of the rights is missing is known until it is granted."""
        no = refusal(403, "Forbidden", "leases are not for you")
        permissions = Permissions([GET_LEASES])
        made = FakeReply(201, [b'{"metadata": {"resourceVersion": "1"}}'])
        found = FakeReply(200, [b'{"metadata": {"resourceVersion": "1"}}'])
        none = refusal(404, "NotFound", "no")
        transport = FakeTransport([no, none, no, none, made, none, no, found, no, found, found])
        holder = LeaseHolder("sre", "watch", transport, self.clock.seconds, told=permissions.told)
        for missing in ("get", "create", "", "create", "update", ""):
            if missing:
                error = self.assertRaises(ClusterRefused, holder.attempt)
                self.assertEqual(str(error), "The cluster refused (403): leases are not for you")
            else:
                holder.attempt()
            expected = [f"the server lacks the permission to {missing} leases: {error}"] if missing else []
            self.assertEqual(permissions.warnings(), expected)
        self.assertEqual(len(transport.script), 0)

    def test_another_watcher_was_granted_it(self) -> None:
        """Who stands by learns from another one's renewal that the right is there, and not from one that let go."""

        def found(version: str, holder: str) -> FakeReply:
            spec = {"holderIdentity": holder}
            return FakeReply(200, [msgspec.json.encode({"metadata": {"resourceVersion": version}, "spec": spec})])

        no = refusal(403, "Forbidden", "leases are not for you")
        permissions = Permissions()
        transport = FakeTransport([found("1", ""), no, found("1", "other"), found("2", ""), no, found("3", "other")])
        holder = LeaseHolder("sre", "watch", transport, self.clock.seconds, told=permissions.told)
        self.assertRaises(ClusterRefused, holder.attempt)
        holder.attempt()
        self.assertTrue(permissions.lacks(UPDATE_LEASES))
        self.assertRaises(ClusterRefused, holder.attempt)
        self.assertTrue(permissions.lacks(UPDATE_LEASES))
        holder.attempt()
        self.assertEqual(permissions.warnings(), [])
        self.assertEqual(len(transport.script), 0)

    def test_nowhere_to_make_it(self) -> None:
        """Where its namespace is not, it cannot be made, and that is said."""
        nowhere = refusal(404, "NotFound", 'namespaces "sre" not found')
        transport = FakeTransport([refusal(404, "NotFound", "no"), nowhere])
        holder = LeaseHolder("sre", "watch", transport, self.clock.seconds)
        error = self.assertRaises(ClusterRefused, holder.attempt)
        self.assertIn('namespaces "sre" not found', str(error))


class WhoseTests(SynchronousTestCase):
    """Which cluster it is."""

    def test_uid(self) -> None:
        """It is the UID of kube-system."""
        body = b'{"metadata": {"name": "kube-system", "uid": "u-1", "resourceVersion": "4"}}'
        transport = FakeTransport([FakeReply(200, [body])])
        self.assertEqual(cluster_uid(transport), "u-1")
        self.assertEqual(transport.requests, [("GET", "/api/v1/namespaces/kube-system", {})])

    def test_it_is_refused(self) -> None:
        """Who may not know it can do nothing, and says what for."""
        permissions = Permissions()
        transport = FakeTransport([refusal(403, "Forbidden", "not for you")])
        self.assertRaises(ClusterRefused, cluster_uid, transport, permissions.told)
        (warning,) = permissions.warnings()
        self.assertIn("the permission to get namespaces in kube-system: ", warning)
