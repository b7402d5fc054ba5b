"""The namespaces of a limited install, asked for one by one."""

import json
import threading

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.polling import POLL_SECONDS, NamespacePoller
from sre_server.errors import BadAnswer, ClusterRefused, ClusterTimedOut
from sre_server.model import Event, Listed, Namespace, Resource, Source
from tests.fakes import FakeReply, FakeTransport, namespace
from tests.wire import object_json, refusal


def found(item: Namespace) -> FakeReply:
    """Answer with a namespace."""
    return FakeReply(200, [json.dumps(object_json(item)).encode()])


class PollingTests(SynchronousTestCase):
    """A poller of three namespaces, interrupted by what it emits so that it does not rest."""

    def setUp(self) -> None:
        """Make the poller."""
        self.cluster = FakeTransport()
        self.poller = NamespacePoller(["a", "b", "c"], self.cluster, lambda: 42.0)
        self.emitted: list[Event] = []

    def emit(self, event: Event) -> None:
        """Take the list, and end the rest that would follow."""
        self.emitted.append(event)
        self.poller.interrupt()

    def test_emits_those_that_exist(self) -> None:
        """Each namespace is asked for by name; the ones that exist are emitted as a whole list."""
        self.cluster.script.extend([found(namespace("a")), refusal(404, "NotFound"), found(namespace("c"))])
        self.poller.cycle(self.emit)
        source = Source(Resource.NAMESPACES)
        existing = {"a": namespace("a"), "c": namespace("c")}
        self.assertEqual(self.emitted, [Listed(source, "0", 42.0, namespaces=existing)])
        paths = [(method, path, query) for method, path, query in self.cluster.requests]
        self.assertEqual(paths, [("GET", f"/api/v1/namespaces/{name}", {}) for name in "abc"])

    def test_none_exists(self) -> None:
        """That none of them exists is an answer, and no error."""
        self.cluster.script.extend([refusal(404)] * 3)
        self.poller.cycle(self.emit)
        self.assertEqual(len(self.emitted), 1)

    def test_failure_emits_nothing(self) -> None:
        """Where one of them cannot be looked up nothing is emitted: the others must not seem to be all."""
        for answer, kind in (
            (refusal(403, "Forbidden", "no get for you"), ClusterRefused),
            (refusal(503), ClusterRefused),
            (FakeReply(200, [b"<html>"]), BadAnswer),
            (ClusterTimedOut("hung"), ClusterTimedOut),
        ):
            with self.subTest(kind=kind):
                self.cluster.script.clear()
                self.cluster.script.extend([found(namespace("a")), answer])
                self.assertRaises(kind, self.poller.cycle, self.emit)
                self.assertEqual(self.emitted, [])

    def test_replies_are_closed(self) -> None:
        """Every reply is closed, whatever it was."""
        replies = [found(namespace("a")), refusal(404), refusal(500)]
        self.cluster.script.extend(replies)
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
        self.cluster.script.extend([found(namespace(name)) for name in "abc"])
        self.poller.cycle(self.emitted.append)
        self.assertEqual(rests, [30])

    def test_interrupt_reaches_the_connection(self) -> None:
        """Interrupting the poller ends its requests too, not only its rest."""
        self.poller.interrupt()
        self.assertTrue(self.cluster.interrupted)
