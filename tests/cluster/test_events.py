"""The Kubernetes Event that is recorded of a write, and what becomes of one that cannot be recorded."""

import json
from datetime import UTC, datetime

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.events import BOUNDS, MESSAGE_LENGTH, EventRecorder, Scaled, create_event
from sre_server.cluster.permissions import CREATE_EVENTS, PAUSE_SECONDS, Permissions
from sre_server.cluster.workers import ConnectedWorkers
from sre_server.errors import ClusterBroke, ClusterRefused
from sre_server.model import Author
from tests.fakes import FakeReactor, FakeReply, FakeTransport, InlinePool, deployment
from tests.wire import refusal

AT = datetime(2026, 5, 4, 10, 0, 7, 123456, UTC)


class EventTests(SynchronousTestCase):
    """One Event."""

    def event(self, scaled: Scaled) -> dict[str, object]:
        """What is sent to the cluster."""
        transport = FakeTransport([FakeReply(201, [b"{}"])])
        create_event(transport, scaled, AT)
        self.assertEqual(transport.requests, [("POST", "/api/v1/namespaces/shop/events", {})])
        drawn: dict[str, object] = json.loads(transport.bodies[0] or b"")
        return drawn

    def test_what_it_says(self) -> None:
        """Who scaled what, from which count to which, and why; Kubernetes finds it by the Deployment's UID."""
        author = Author("alice", "a sale begins", "a-request", before=3)
        event = self.event(Scaled(deployment(replicas=20, version="1000", uid="u-1"), 20, author))
        involved = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}
        expected = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "generateName": "web.",
                "namespace": "shop",
                "annotations": {
                    "sre-server/by": "alice",
                    "sre-server/reason": "a sale begins",
                    "sre-server/request-id": "a-request",
                    "sre-server/replicas-before": "3",
                },
            },
            "involvedObject": {**involved, "uid": "u-1", "resourceVersion": "1000"},
            "type": "Normal",
            "reason": "ScaledOnRequest",
            "message": "alice scaled this from 3 to 20: a sale begins",
            "source": {"component": "sre-server"},
            "firstTimestamp": "2026-05-04T10:00:07Z",
            "lastTimestamp": "2026-05-04T10:00:07Z",
            "count": 1,
        }
        self.assertEqual(event, expected)

    def test_what_is_not_known(self) -> None:
        """Without an old count, or a reason, it says the rest; a count of zero is one."""
        for before, reason, message in (
            (None, None, "alice scaled this to 3"),
            (0, None, "alice scaled this from 0 to 3"),
            (None, "why not", "alice scaled this to 3: why not"),
        ):
            scaled = Scaled(deployment(), 3, Author("alice", reason, before=before))
            self.assertEqual(self.event(scaled)["message"], message)

    def test_what_admission_made_of_it(self) -> None:
        """Where the cluster's admission changed the count, the message has the one that was asked for as well."""
        message = self.event(Scaled(deployment(replicas=3), 9, Author("alice", "why not", before=5)))["message"]
        self.assertEqual(message, "alice scaled this from 5 to 3 (9 was asked for, admission made it that): why not")

    def test_what_kubernetes_would_refuse(self) -> None:
        """Names and messages are cut to what an Event can hold; of a long identity, not of what was done, and why."""
        event = self.event(Scaled(deployment("w" * 253, replicas=20), 20, Author("i" * 2048, "r" * 256, before=3)))
        message = str(event["message"])
        self.assertLessEqual(len(message), MESSAGE_LENGTH)
        self.assertTrue(message.endswith(f"i scaled this from 3 to 20: {'r' * 256}"), message)
        metadata = event["metadata"]
        assert isinstance(metadata, dict)
        self.assertLessEqual(len(metadata["generateName"]) + 5, 253)

    def test_what_is_uncertain(self) -> None:
        """A write whose outcome is not known is told as what somebody asked for."""
        author = Author("alice", "a sale begins", before=3)
        event = self.event(Scaled(deployment(replicas=20, version=""), 20, author, certain=False))
        told = (event["type"], event["reason"], event["message"])
        message = "alice asked to scale this from 3 to 20, with an unknown outcome: a sale begins"
        self.assertEqual(told, ("Warning", "ScaleOutcomeUnknown", message))

    def test_a_refusal(self) -> None:
        """Any status but 201 is an error."""
        for reply in (refusal(403, "Forbidden", "no"), refusal(404), FakeReply(200, [b"{}"]), refusal(500)):
            transport = FakeTransport([reply])
            scaled = Scaled(deployment(), 3, Author("alice", before=3))
            self.assertRaises(ClusterRefused, create_event, transport, scaled, AT)
            self.assertTrue(reply.closed)


class ServiceTests(SynchronousTestCase):
    """Events from the reactor."""

    def setUp(self) -> None:
        """Have a thread that works when the test says so."""
        self.reactor, self.pool = FakeReactor(), InlinePool(inline=False)
        self.transport = FakeTransport()
        workers = ConnectedWorkers(self.reactor, "Events", BOUNDS, lambda: self.transport, self.pool)
        workers.startService()
        self.permissions = Permissions(now=self.reactor.seconds)
        self.recorder = EventRecorder(workers, self.permissions.told, self.permissions.pauses)

    def record(self, identity: str = "alice", replicas: int = 3) -> None:
        """Ask for an Event."""
        self.recorder.record(deployment(replicas=replicas), replicas, Author(identity, before=3))

    def run_one(self, answer: FakeReply | ClusterBroke) -> list[str]:
        """Let the thread record one; return what is logged as a warning or worse."""
        self.transport.script.append(answer)
        with capturedLogs() as events:
            self.pool.run_one()
            self.reactor.advance(0)
        return [event["log_level"].name for event in events if event["log_level"] >= LogLevel.warn]

    def test_one_after_the_other(self) -> None:
        """In the order of the writes, in a thread."""
        for replicas in (4, 5):
            self.record(replicas=replicas)
        self.assertEqual(self.transport.requests, [])
        self.assertEqual(self.run_one(FakeReply(201, [b"{}"])) + self.run_one(FakeReply(201, [b"{}"])), [])
        messages = [json.loads(body or b"")["message"] for body in self.transport.bodies]
        self.assertEqual(messages, ["alice scaled this from 3 to 4", "alice scaled this from 3 to 5"])

    def test_one_that_cannot_be_recorded(self) -> None:
        """It is a warning, never an error: the write has happened. The next is recorded all the same."""
        for answer in (refusal(500), ClusterBroke("broken")):
            self.record()
            self.assertEqual(self.run_one(answer), ["warn"])
        self.record()
        self.assertEqual(self.run_one(FakeReply(201, [b"{}"])), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_the_server_may_not_do(self) -> None:
        """That it may not record Events is told once, and not of each, until it may."""
        warnings = []
        for _ in range(3):
            self.record()
            warnings += self.run_one(refusal(403, "Forbidden"))
            self.record()
            self.assertEqual(len(self.pool.pending), 0, "none is tried so soon after that")
            self.reactor.advance(PAUSE_SECONDS)
        self.assertEqual(warnings, ["warn"])
        self.assertTrue(self.permissions.lacks(CREATE_EVENTS))
        self.record()
        self.assertEqual(self.run_one(FakeReply(201, [b"{}"])), [])
        self.assertFalse(self.permissions.lacks(CREATE_EVENTS))

    def test_too_many_wait(self) -> None:
        """A cluster that is slow with Events makes nobody wait: past a client's share they are logged, not kept."""
        share = BOUNDS.running_per_client + BOUNDS.queued_per_client
        for _ in range(share):
            self.record()
        with capturedLogs() as events:
            self.record()
            self.record("bob")
        self.assertEqual([event["log_level"] for event in events], [LogLevel.warn])
        for _ in range(share + 1):
            self.assertEqual(self.run_one(FakeReply(201, [b"{}"])), [])
        self.assertEqual(len(self.pool.pending), 0)
