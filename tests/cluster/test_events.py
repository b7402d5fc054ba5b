"""The Kubernetes Event that a write leaves on its Deployment, and what becomes of one that cannot be left."""

import json
from datetime import UTC, datetime

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.events import MESSAGE_LENGTH, STOP_SECONDS, WAITING_EVENTS, EventService, Scaled, leave_event
from sre_server.errors import ClusterBroke, ClusterRefused
from tests.fakes import FakeReactor, FakeReply, FakeTransport, InlinePool, deployment
from tests.wire import refusal

AT = datetime(2026, 5, 4, 10, 0, 7, 123456, UTC)


class EventTests(SynchronousTestCase):
    """One Event."""

    def event(self, scaled: Scaled) -> dict[str, object]:
        """What is sent to the cluster."""
        transport = FakeTransport([FakeReply(201, [b"{}"])])
        leave_event(transport, scaled, AT)
        self.assertEqual(transport.requests, [("POST", "/api/v1/namespaces/shop/events", {})])
        drawn: dict[str, object] = json.loads(transport.bodies[0] or b"")
        return drawn

    def test_what_it_says(self) -> None:
        """Who scaled what, from which count to which, and why; Kubernetes finds it by the Deployment's UID."""
        event = self.event(Scaled(deployment(replicas=20, version="1000", uid="u-1"), 3, "alice", "a sale begins"))
        involved = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}
        expected = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": "web.", "namespace": "shop"},
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
            self.assertEqual(self.event(Scaled(deployment(), before, "alice", reason))["message"], message)

    def test_what_kubernetes_would_refuse(self) -> None:
        """Names and messages are cut to what an Event can hold; of a long identity, not of what was done, and why."""
        event = self.event(Scaled(deployment("w" * 253, replicas=20), 3, "i" * 2048, "r" * 256))
        message = str(event["message"])
        self.assertLessEqual(len(message), MESSAGE_LENGTH)
        self.assertTrue(message.endswith(f"i scaled this from 3 to 20: {'r' * 256}"), message)
        metadata = event["metadata"]
        assert isinstance(metadata, dict)
        self.assertLessEqual(len(metadata["generateName"]) + 5, 253)

    def test_what_is_uncertain(self) -> None:
        """A write whose outcome is not known is told as what somebody asked for."""
        event = self.event(Scaled(deployment(replicas=20, version=""), 3, "alice", "a sale begins", certain=False))
        told = (event["type"], event["reason"], event["message"])
        message = "alice asked to scale this from 3 to 20, with an unknown outcome: a sale begins"
        self.assertEqual(told, ("Warning", "ScaleOutcomeUnknown", message))

    def test_a_refusal(self) -> None:
        """Any status but 201 is an error."""
        for reply in (refusal(403, "Forbidden", "no"), refusal(404), FakeReply(200, [b"{}"]), refusal(500)):
            transport = FakeTransport([reply])
            self.assertRaises(ClusterRefused, leave_event, transport, Scaled(deployment(), 3, "alice", None), AT)
            self.assertTrue(reply.closed)


class ServiceTests(SynchronousTestCase):
    """Events from the reactor."""

    def setUp(self) -> None:
        """Have a thread that works when the test says so."""
        self.reactor, self.pool = FakeReactor(), InlinePool(inline=False)
        self.transport = FakeTransport()
        self.connects = 0
        self.service = EventService(self.reactor, self.pool, self.connect)
        self.service.startService()

    def connect(self) -> FakeTransport:
        """Connect, and count it."""
        self.connects += 1
        return self.transport

    def run_one(self, answer: FakeReply | ClusterBroke) -> list[str]:
        """Let the thread leave one; return what is logged as a warning or worse."""
        self.transport.script.append(answer)
        with capturedLogs() as events:
            self.pool.run_one()
            self.reactor.advance(0)
        return [event["log_level"].name for event in events if event["log_level"] >= LogLevel.warn]

    def test_one_after_the_other(self) -> None:
        """In the order of the writes, over one connection, in a thread."""
        for replicas in (4, 5):
            self.service.leave(deployment(replicas=replicas), 3, "alice", None)
        self.assertEqual(self.transport.requests, [])
        self.assertEqual(self.run_one(FakeReply(201, [b"{}"])) + self.run_one(FakeReply(201, [b"{}"])), [])
        messages = [json.loads(body or b"")["message"] for body in self.transport.bodies]
        self.assertEqual(messages, ["alice scaled this from 3 to 4", "alice scaled this from 3 to 5"])
        self.assertEqual(self.connects, 1)

    def test_one_that_cannot_be_left(self) -> None:
        """It is a warning, never an error: the write has happened. The next is left all the same."""
        for answer in (refusal(403), ClusterBroke("broken")):
            self.service.leave(deployment(), 3, "alice", None)
            self.assertEqual(self.run_one(answer), ["warn"])
        self.service.leave(deployment(), 3, "alice", None)
        self.assertEqual(self.run_one(FakeReply(201, [b"{}"])), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_too_many_wait(self) -> None:
        """A cluster that is slow with Events makes nobody wait: past the bound they are logged, not kept."""
        for _ in range(WAITING_EVENTS):
            self.service.leave(deployment(), 3, "alice", None)
        with capturedLogs() as events:
            self.service.leave(deployment(), 3, "alice", None)
        self.assertEqual([event["log_level"] for event in events], [LogLevel.warn])
        self.assertEqual(len(self.pool.pending), WAITING_EVENTS)
        self.run_one(FakeReply(201, [b"{}"]))
        self.service.leave(deployment(), 3, "alice", None)
        self.assertEqual(len(self.pool.pending), WAITING_EVENTS)

    def test_it_stops(self) -> None:
        """An idle pool is stopped at once, and one that works when what waits has been left."""
        for count in (0, 2):
            self.setUp()
            for _ in range(count):
                self.service.leave(deployment(), 3, "alice", None)
            stopped = self.service.stopService()
            for _ in range(count):
                self.assertNoResult(stopped)
                self.run_one(FakeReply(201, [b"{}"]))
            self.successResultOf(stopped)
            self.assertEqual((self.pool.stopped, len(self.transport.requests)), (True, count))

    def test_a_thread_that_hangs_at_the_end(self) -> None:
        """It is waited for in vain for 1.5 s, and left to die with the process."""
        self.service.leave(deployment(), 3, "alice", None)
        stopped = self.service.stopService()
        self.reactor.advance(STOP_SECONDS)
        self.successResultOf(stopped)
        self.assertFalse(self.pool.stopped)
        self.assertEqual(self.run_one(FakeReply(201, [b"{}"])), [])
