"""Writes in threads: so many at a time, so many of one client, and none that waits."""

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.permissions import Permissions
from sre_server.cluster.scaling import BOUNDS, Scaling
from sre_server.cluster.workers import ConnectedWorkers
from sre_server.errors import ClusterRefused, ClusterUnreachable, Conflict, Unavailable
from sre_server.model import Expected, State, Written
from tests.fakes import FakeReactor, FakeReply, FakeTransport, InlinePool, deployment
from tests.wire import deployment_body, refusal, scale_body

WRITTEN = deployment(replicas=20, version="77")


def accepted() -> FakeReply:
    """Answer a write that succeeded."""
    return FakeReply(200, [scale_body(WRITTEN)])


class ScalingTests(SynchronousTestCase):
    """Writes run in threads that the test starts; their answers reach the reactor when it gets to them."""

    def setUp(self) -> None:
        """Start the workers, against a cluster that accepts everything."""
        self.reactor, self.pool = FakeReactor(), InlinePool(inline=False)
        self.cluster = FakeTransport([accepted()] * 100)
        workers = ConnectedWorkers(self.reactor, "writes", BOUNDS, lambda: self.cluster, self.pool)
        workers.startService()
        self.permissions = Permissions()
        self.scaling = Scaling(workers, self.permissions.told)

    def scale(self, client: str = "alice") -> Deferred[Written | State]:
        """Ask for a write."""
        return self.scaling.scale(client, "shop", "web", 20, Expected("u"))

    def run_one(self) -> None:
        """Run the oldest write, and let the reactor hear of it."""
        self.pool.run_one()
        self.reactor.advance(0)

    def test_success(self) -> None:
        """What was asked for is sent, and the outcome is the Deployment as the cluster then has it."""
        outcome = self.scale()
        self.assertNoResult(outcome)
        self.run_one()
        self.assertEqual(self.successResultOf(outcome), Written(WRITTEN, []))
        path = "/apis/apps/v1/namespaces/shop/deployments/web/scale"
        self.assertEqual([asked[:2] for asked in self.cluster.requests], [("PATCH", path)])
        test, add = msgspec.json.decode(self.cluster.bodies[0] or b"")
        self.assertEqual((test["value"], add["value"]), ("u", 20))

    def test_failure(self) -> None:
        """A write that fails fails its caller, and is no error of ours."""
        for answer, error in (
            (refusal(409, about="deployments/web"), Conflict),
            (ClusterUnreachable("refused"), ClusterUnreachable),
        ):
            outcome = self.scale()
            self.cluster.script.appendleft(answer)
            self.run_one()
            self.failureResultOf(outcome, error)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_busy(self) -> None:
        """When every thread is taken a further write is refused at once, never queued; later ones are served again."""
        outcomes = [self.scale(f"client {number % 5}") for number in range(16)]
        refused = self.failureResultOf(self.scale("another"), Unavailable)
        self.assertEqual(refused.value.retry_after, 1)
        self.assertEqual(len(self.pool.pending), 16)
        self.run_one()
        outcomes.append(self.scale("another"))
        while self.pool.pending:
            self.run_one()
        for outcome in outcomes:
            self.successResultOf(outcome)

    def test_one_client_holds_half_of_the_threads(self) -> None:
        """What it asks for past that is refused, and another client's writes are served."""
        for _ in range(8):
            self.scale("slow")
        refused = self.failureResultOf(self.scale("slow"), Unavailable)
        self.assertIn("your writes", str(refused.value))
        for _ in range(8):
            self.assertNoResult(self.scale("other"))
        self.assertEqual(len(self.pool.pending), 16)

    def test_callers_that_left_still_count(self) -> None:
        """A write whose caller left goes on, and takes its thread until it ends."""
        for _ in range(8):
            outcome = self.scale()
            outcome.cancel()
            self.failureResultOf(outcome, CancelledError)
        self.failureResultOf(self.scale(), Unavailable)
        self.cluster.script.appendleft(refusal(409, about="deployments/web"))
        while self.pool.pending:
            self.run_one()
        self.assertEqual(len(self.cluster.requests), 8)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_is_looked_up(self) -> None:
        """A look takes a thread as a write does, and tells what there is."""
        outcome = self.scaling.look("alice", "shop", "web", count=True)
        self.cluster.script.appendleft(FakeReply(200, [deployment_body(deployment(replicas=4))]))
        self.run_one()
        self.assertEqual(self.successResultOf(outcome), State(deployment().uid, 4))
        self.assertEqual(self.cluster.requests[-1][:2], ("GET", "/apis/apps/v1/namespaces/shop/deployments/web"))

    def test_what_the_server_may_not_do(self) -> None:
        """Where the cluster says that a right is missing, whoever has to know is told, until it is granted."""
        no = FakeReply(201, [b'{"status": {"allowed": false}}'])
        self.cluster.script.extendleft([no, refusal(403, "Forbidden", "you may not")])
        outcome = self.scale()
        self.pool.run_one()
        self.assertEqual(self.permissions.warnings(), [])  # it is told in the reactor thread
        self.reactor.advance(0)
        self.failureResultOf(outcome, ClusterRefused)
        looked = self.scaling.look("alice", "shop", "web", count=False)
        self.cluster.script.appendleft(refusal(403, "Forbidden", "you may not"))
        self.run_one()
        self.failureResultOf(looked, Unavailable)
        self.assertTrue(self.permissions.lacks("patch deployments/scale"))
        self.assertTrue(self.permissions.lacks("get deployments"))
        looked = self.scaling.look("alice", "shop", "web", count=False)
        self.cluster.script.appendleft(FakeReply(200, [deployment_body(deployment(), metadata_only=True)]))
        self.run_one()
        self.successResultOf(looked)
        self.scale()
        self.run_one()
        self.assertEqual(self.permissions.warnings(), [])
