"""Notes of our own in a ConfigMap: one text at a time, each change once."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.kinds import selection
from sre_server.cluster.notes import decode_notes, swap
from sre_server.cluster.paging import Pages
from sre_server.errors import BadAnswer, ClusterBroke, ClusterTimedOut, ClusterUnreachable, Conflict, Unavailable
from sre_server.model import Notes, Swapped
from sre_server.news import Resource, Source
from tests.fakes import FakeReply, FakeTransport

PATH = "/api/v1/namespaces/sre/configmaps/temporary"
FAILED_TEST = {"kind": "Status", "code": 422, "message": "the server rejected our request due to an error"}


def config_map(version: str = "7", **data: str) -> FakeReply:
    """Make the answer that has the ConfigMap."""
    metadata = {"namespace": "sre", "name": "temporary", "uid": "u", "resourceVersion": version}
    return FakeReply(200, [json.dumps({"kind": "ConfigMap", "metadata": metadata, "data": data or None}).encode()])


def refused(status: int, **more: Any) -> FakeReply:
    """Make the answer that refuses."""
    return FakeReply(status, [json.dumps({"kind": "Status", "code": status, **more}).encode()])


def failed_test() -> FakeReply:
    """Make the answer to a patch of which a test failed."""
    return FakeReply(422, [json.dumps(FAILED_TEST).encode()])


class SwapTests(SynchronousTestCase):
    """What is sent, and what comes of it."""

    def swap(
        self, *script: Any, before: str | None = None, after: str | None = "new", empty: bool = False
    ) -> tuple[Swapped, FakeTransport]:
        """Change the text of a key while the cluster answers by the script."""
        transport = FakeTransport(script)
        swapped = swap(transport, "sre", "temporary", "key", before, after, empty=empty)
        self.assertFalse(transport.script)
        return swapped, transport

    def steps(self, transport: FakeTransport, number: int = 0) -> list[Any]:
        """Return the patch that a request had."""
        steps: list[Any] = json.loads(transport.bodies[number] or b"")
        return steps

    def test_replaced(self) -> None:
        """The patch tests the text that is to be there, on a connection of its own."""
        swapped, transport = self.swap(config_map("8", key="new"), before="old")
        self.assertEqual(swapped, (True, Notes("sre", "temporary", "u", "8", {"key": "new"})))
        self.assertEqual(transport.requests, [("PATCH", PATH, {"fieldManager": "sre-server"})])
        self.assertEqual(transport.headers[0]["Connection"], "close")
        self.assertEqual(
            self.steps(transport),
            [
                {"op": "test", "path": "/data/key", "value": "old"},
                {"op": "add", "path": "/data/key", "value": "new"},
            ],
        )

    def test_removed(self) -> None:
        """No text is the absence of the key."""
        (done, _), transport = self.swap(config_map(), before="old", after=None)
        self.assertTrue(done)
        self.assertEqual(self.steps(transport)[1], {"op": "remove", "path": "/data/key"})

    def test_first_text(self) -> None:
        """A ConfigMap without texts has no place for one: the first makes it, and tests that there was none."""
        (done, _), transport = self.swap(config_map(key="new"), empty=True)
        self.assertTrue(done)
        self.assertEqual(
            self.steps(transport),
            [
                {"op": "test", "path": "/data", "value": None},
                {"op": "add", "path": "/data", "value": {"key": "new"}},
            ],
        )

    def test_no_longer_as_known(self) -> None:
        """Where others made the first text, or removed the last, the patch is made for that."""
        for empty, found in ((True, config_map(other="x")), (False, config_map())):
            (done, _), transport = self.swap(failed_test(), found, config_map(key="new"), empty=empty)
            self.assertTrue(done)
            self.assertEqual(self.steps(transport, 2)[0]["path"], "/data/key" if empty else "/data")

    def test_another_text(self) -> None:
        """A text that is not as expected stays, and is told."""
        (done, notes), _ = self.swap(failed_test(), config_map(key="theirs"), before="old")
        self.assertEqual((done, notes.data), (False, {"key": "theirs"}))

    def test_lost_answers(self) -> None:
        """Where an answer is lost, what is there tells whether the change was made; if it does not, nobody knows."""
        for lost in (ClusterBroke("It broke."), ClusterTimedOut("Too late."), refused(504), refused(500)):
            (done, _), _ = self.swap(lost, config_map(key="new"))
            self.assertTrue(done)
        with self.assertRaises(ClusterTimedOut):
            self.swap(ClusterTimedOut("Too late."), config_map(key="old"), before="old")
        with self.assertRaises(ClusterTimedOut):
            self.swap(ClusterTimedOut("Too late."), ClusterUnreachable("Gone."))
        with self.assertRaises(ClusterBroke):
            self.swap(FakeReply(200, [b"{}"]), config_map())

    def test_refused(self) -> None:
        """What is refused changed nothing: the message says what to do, and a missing right is named."""
        with self.assertRaisesRegex(Unavailable, "kubectl create configmap temporary --namespace sre"):
            self.swap(refused(404))
        with self.assertRaisesRegex(Unavailable, "slower") as caught:
            self.swap(refused(429, message="slower"))
        self.assertEqual(caught.exception.retry_after, 1)
        with self.assertRaises(Unavailable) as forbidden:
            self.swap(refused(403, message="no"))
        self.assertEqual(forbidden.exception.missing_right, "patch the ConfigMap of temporary counts")
        with self.assertRaisesRegex(Unavailable, "too long"):
            self.swap(refused(422, message="too long", details={"name": "temporary", "kind": "ConfigMap"}))

    def test_gives_up(self) -> None:
        """Where the ConfigMap is emptied and filled at each turn, nothing is changed, and that is said."""
        with self.assertRaises(Conflict):
            self.swap(failed_test(), config_map(), failed_test(), config_map(other="x"), failed_test(), config_map())


class ReadingTests(SynchronousTestCase):
    """The one ConfigMap, listed and decoded."""

    def test_only_that_one(self) -> None:
        """It is listed by its name, as a Role that grants no more than that lets us."""
        source = Source(Resource.TEMPORARY, "sre", "temporary")
        transport = FakeTransport([FakeReply(200, [b'{"metadata":{"resourceVersion":"5"},"items":[]}'])])
        Pages(source, transport).read()
        _, path, query = transport.requests[0]
        self.assertEqual(path, "/api/v1/namespaces/sre/configmaps")
        self.assertEqual(query["fieldSelector"], "metadata.name=temporary")
        self.assertEqual(selection(Source(Resource.DEPLOYMENTS)), {})

    def test_decoding(self) -> None:
        """Whatever is no ConfigMap is refused."""
        with self.assertRaises(BadAnswer):
            decode_notes(b"[]")
