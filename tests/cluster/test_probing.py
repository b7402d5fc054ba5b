"""Whether reviews may be asked for, found out for nobody's sake."""

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.permissions import CREATE_REVIEWS, Permissions
from sre_server.cluster.probing import PROBE_SECONDS, ReviewProbe
from sre_server.cluster.reviews import READ_BOUNDS, Reviews
from sre_server.cluster.workers import ConnectedWorkers
from sre_server.errors import ClusterRefused, ClusterUnreachable
from tests.fakes import FakeReactor, FakeReply, FakeTransport, InlinePool
from tests.wire import refusal

NO = FakeReply(201, [b'{"status":{"allowed":false}}'])


class ProbeTests(SynchronousTestCase):
    """A probe of a cluster that answers from a script."""

    def setUp(self) -> None:
        """Make the probe."""
        self.reactor = FakeReactor()
        self.cluster = FakeTransport()
        self.permissions = Permissions([CREATE_REVIEWS])
        workers = ConnectedWorkers(self.reactor, "checks", READ_BOUNDS, lambda: self.cluster, InlinePool())
        workers.startService()
        self.probe = ReviewProbe(self.reactor, Reviews(workers, workers, self.permissions.told), self.permissions)

    def run_for(self, *answers: FakeReply | ClusterUnreachable) -> None:
        """Let the time of so many questions pass, of which exactly those are asked that are answered."""
        self.cluster.script.extend(answers)
        if not self.probe.running:
            self.probe.startService()
            self.addCleanup(self.probe.stopService)
        else:
            self.reactor.advance(PROBE_SECONDS)
        self.reactor.advance(0)
        for _ in answers[1:]:
            self.reactor.advance(PROBE_SECONDS)
        self.assertEqual(len(self.cluster.script), 0)

    def test_asks_once(self) -> None:
        """Whatever the answer to the question is, there is one: nothing is missing, and nothing is asked again."""
        self.run_for(NO)
        for _ in range(10):
            self.reactor.advance(PROBE_SECONDS)
        self.assertFalse(self.permissions.lacks(CREATE_REVIEWS))
        ((method, path, _),) = self.cluster.requests
        self.assertEqual((method, path.rpartition("/")[2]), ("POST", "subjectaccessreviews"))
        question = msgspec.json.decode(self.cluster.bodies[0] or b"")
        self.assertEqual(question["spec"]["user"], "sre-server:probe")

    def test_asks_until_it_is_granted(self) -> None:
        """While it is refused the question is asked twice a minute, so that the server gets ready by itself."""
        self.run_for(refusal(403, "Forbidden"), refusal(403, "Forbidden"))
        self.assertTrue(self.permissions.lacks(CREATE_REVIEWS))
        self.run_for(NO)
        self.assertFalse(self.permissions.lacks(CREATE_REVIEWS))
        self.reactor.advance(PROBE_SECONDS)
        self.assertEqual(len(self.cluster.requests), 3)

    def test_asks_until_it_is_answered(self) -> None:
        """A cluster that is away says nothing."""
        self.run_for(ClusterUnreachable("refused"), refusal(503), NO)
        self.assertFalse(self.permissions.lacks(CREATE_REVIEWS))

    def test_asks_again_when_others_are_refused(self) -> None:
        """Where the permission is taken away later, somebody's request shows it, and the probe that it came back."""
        self.run_for(NO)
        self.permissions.told(CREATE_REVIEWS, ClusterRefused("no", 403))
        self.run_for(NO)
        self.assertFalse(self.permissions.lacks(CREATE_REVIEWS))

    def test_unexpected_error(self) -> None:
        """A bug is logged, and does not end the probing."""
        self.run_for(FakeReply(201, [ZeroDivisionError()]), NO)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        """A stopped probe asks no more."""
        self.run_for(refusal(403, "Forbidden"))
        self.probe.stopService()
        self.reactor.advance(10 * PROBE_SECONDS)
        self.assertEqual(len(self.cluster.requests), 1)
