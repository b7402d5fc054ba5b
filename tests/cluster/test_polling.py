"""A namespace of a limited install, asked for on its own."""

import json
import threading

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.polling import POLL_SECONDS, NamespacePoller
from sre_server.errors import BadAnswer, ClusterRefused, ClusterTimedOut
from sre_server.model import Namespace
from sre_server.news import Event, Listed, Occasion, Resource, Source
from tests.fakes import FakeReply, FakeTransport, namespace
from tests.wire import object_json, refusal


def found(item: Namespace) -> FakeReply:
    """Answer with a namespace."""
    return FakeReply(200, [json.dumps(object_json(item)).encode()])


class PollingTests(SynchronousTestCase):
    """A poller of one namespace, interrupted by what it emits so that it does not rest."""

    def setUp(self) -> None:
        """Make the poller."""
        self.cluster = FakeTransport()
        self.source = Source(Resource.NAMESPACES, "a")
        self.told: list[tuple[str, Exception | None]] = []
        self.poller = NamespacePoller(
            self.source, self.cluster, lambda: 42.0, told=lambda *each: self.told.append(each)
        )
        self.emitted: list[Event] = []

    def emit(self, event: Event) -> None:
        """Take the list, and end the rest that would follow."""
        self.emitted.append(event)
        self.poller.interrupt()

    def test_emits_what_exists(self) -> None:
        """The namespace is asked for by name, and emitted as a whole list, as old as the question."""
        self.cluster.script.append(found(namespace("a")))
        self.poller.cycle(self.emit)
        existing = {"a": namespace("a")}
        self.assertEqual(self.emitted, [Listed(self.source, "0", 42.0, namespaces=existing, occasion=Occasion.POLL)])
        self.assertEqual(self.cluster.requests, [("GET", "/api/v1/namespaces/a", {})])

    def test_does_not_exist(self) -> None:
        """That it does not exist is an answer, and no error."""
        self.cluster.script.append(refusal(404))
        self.poller.cycle(self.emit)
        self.assertEqual(self.emitted, [Listed(self.source, "0", 42.0, occasion=Occasion.POLL)])

    def test_failure_emits_nothing(self) -> None:
        """Where it cannot be looked up nothing is emitted: it must not seem to be gone."""
        for answer, kind in (
            (refusal(403, "Forbidden", "no get for you"), ClusterRefused),
            (refusal(503), ClusterRefused),
            (FakeReply(200, [b"<html>"]), BadAnswer),
            (ClusterTimedOut("hung"), ClusterTimedOut),
        ):
            with self.subTest(kind=kind):
                self.cluster.script.append(answer)
                self.assertRaises(kind, self.poller.cycle, self.emit)
                self.assertEqual(self.emitted, [])

    def test_tells_what_it_may(self) -> None:
        """Whether the namespace may be looked up is told each time, by the name that the permission has."""
        self.cluster.script.extend([refusal(403, "Forbidden"), refusal(404)])
        self.assertRaises(ClusterRefused, self.poller.cycle, self.emit)
        self.poller.cycle(self.emit)
        self.assertEqual({what for what, _ in self.told}, {"get namespaces in a"})
        self.assertEqual([error.status for _, error in self.told if isinstance(error, ClusterRefused)], [403, 404])

    def test_replies_are_closed(self) -> None:
        """Every reply is closed, whatever it was."""
        replies = [found(namespace("a")), refusal(404), refusal(500)]
        self.cluster.script.extend(replies)
        self.poller.cycle(self.emit)
        self.poller.cycle(self.emit)
        self.assertRaises(ClusterRefused, self.poller.cycle, self.emit)
        self.assertEqual([reply.closed for reply in replies], [True] * 3)

    def test_rests_between_cycles(self) -> None:
        """After a list the poller rests, well within the staleness bound, so that it is no busy loop."""
        self.assertEqual(POLL_SECONDS, 30)
        rests: list[float | None] = []

        class Rest(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                rests.append(timeout)
                return False

        self.patch(self.poller, "_interrupted", Rest())
        self.cluster.script.append(found(namespace("a")))
        self.poller.cycle(self.emitted.append)
        self.assertEqual(rests, [30])

    def test_interrupt_reaches_the_connection(self) -> None:
        """Interrupting the poller ends its requests too, not only its rest."""
        self.poller.interrupt()
        self.assertTrue(self.cluster.interrupted)
