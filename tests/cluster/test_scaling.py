"""The write path: one PATCH, exactly once, and what each answer to it means."""

import contextlib

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.scaling import set_replicas
from sre_server.errors import (
    ClusterBroke,
    ClusterError,
    ClusterRefused,
    ClusterTimedOut,
    ClusterUnreachable,
    Conflict,
    NotFound,
)
from sre_server.model import Deployment
from tests.fakes import FakeReply, FakeTransport, deployment
from tests.wire import refusal, scale_body

WRITTEN = deployment(replicas=20, version="77")


def accepted(written: Deployment = WRITTEN) -> FakeReply:
    """Answer a write that succeeded."""
    return FakeReply(200, [scale_body(written)])


class SetReplicasTests(SynchronousTestCase):
    """The request, and the meaning of each answer."""

    def write(self, answer: FakeReply | ClusterError) -> Deployment:
        """Set 20 replicas against a cluster that answers so."""
        self.cluster = FakeTransport([answer])
        return set_replicas(self.cluster, "shop", "web", 20)

    def write_fails(self, kind: type[Exception], answer: FakeReply | ClusterError) -> Exception:
        """Set 20 replicas, which must fail, after one attempt; return the error."""
        with self.assertRaises(kind) as raised:
            self.write(answer)
        self.assertIs(type(raised.exception), kind)
        self.assertEqual(len(self.cluster.requests), 1)
        error: Exception = raised.exception
        return error

    def test_request(self) -> None:
        """A write is one merge patch of the scale subresource, in our name, on a connection of its own."""
        self.write(accepted())
        path = "/apis/apps/v1/namespaces/shop/deployments/web/scale"
        self.assertEqual(self.cluster.requests, [("PATCH", path, {"fieldManager": "sre-server"})])
        self.assertEqual(self.cluster.bodies, [b'{"spec":{"replicas":20}}'])
        headers = {"Content-Type": "application/merge-patch+json", "Connection": "close"}
        self.assertEqual([dict(sent) for sent in self.cluster.headers], [headers])
        self.assertEqual(self.cluster.read_timeouts, [10])

    def test_zero_is_sent(self) -> None:
        """A count of 0 is written out, never left out as an empty value."""
        self.cluster = FakeTransport([accepted(deployment(replicas=0))])
        self.assertEqual(set_replicas(self.cluster, "shop", "web", 0).replicas, 0)
        self.assertEqual(self.cluster.bodies, [b'{"spec":{"replicas":0}}'])

    def test_success(self) -> None:
        """The answer is the Deployment as the cluster now has it, version and UID included."""
        self.assertEqual(self.write(accepted()), WRITTEN)

    def test_missing(self) -> None:
        """A 404 names the Deployment and where it was looked for."""
        error = self.write_fails(NotFound, refusal(404, "NotFound", 'deployments.apps "web" not found'))
        self.assertEqual(str(error), "The Deployment 'web' does not exist in the namespace 'shop'.")

    def test_conflict(self) -> None:
        """A 409 is a conflict, and tells what the cluster said."""
        error = self.write_fails(Conflict, refusal(409, "Conflict", "the object has been modified"))
        self.assertIn("the object has been modified", str(error))

    def test_refused(self) -> None:
        """Any refusal tells its status, what the cluster said, and how long to wait."""
        for status in (400, 401, 403, 422, 429, 503):
            with self.subTest(status):
                error = self.write_fails(ClusterRefused, refusal(status, "R", "not like this", retry_after=9))
                assert isinstance(error, ClusterRefused)
                self.assertEqual((error.status, error.retry_after), (status, 9))
                self.assertIn(f"({status}): not like this", str(error))
                self.assertNotIn("unknown", str(error))

    def test_refused_without_a_reason(self) -> None:
        """A refusal that is no Status, as a proxy's page, is told as one without a reason."""
        error = self.write_fails(ClusterRefused, FakeReply(403, [b"<html>no</html>"]))
        self.assertIn("gave no reason", str(error))

    def test_unreachable(self) -> None:
        """A request that was never sent changed nothing, and the error does not say otherwise."""
        error = self.write_fails(ClusterUnreachable, ClusterUnreachable("The cluster cannot be reached."))
        self.assertNotIn("unknown", str(error))

    def test_timed_out(self) -> None:
        """Without an answer in time the outcome is unknown, and the error says so."""
        for answer in (ClusterTimedOut("Slow."), FakeReply(200, [b'{"kind"', ClusterTimedOut("Slow.")])):
            self.assertIn("unknown", str(self.write_fails(ClusterTimedOut, answer)))

    def test_broken(self) -> None:
        """An answer that breaks, or makes no sense, leaves the outcome unknown, and the error says so."""
        for answer in (
            ClusterBroke("Reset."),
            FakeReply(200, [b'{"kind"', ClusterBroke("Reset.")]),
            FakeReply(200, [b"<html>"]),
            FakeReply(200, []),
            FakeReply(403, [ClusterBroke("Reset.")]),
        ):
            self.assertIn("unknown", str(self.write_fails(ClusterBroke, answer)))

    def test_gateway_that_gave_up(self) -> None:
        """A 504, from the cluster or a proxy before it, leaves the outcome unknown: it is no refusal."""
        self.assertIn("unknown", str(self.write_fails(ClusterTimedOut, refusal(504, "Timeout"))))

    def test_failure_within_the_cluster(self) -> None:
        """A 500 or 502 leaves the outcome unknown: Kubernetes says so of its InternalError."""
        for status in (500, 502):
            with self.subTest(status):
                self.assertIn("unknown", str(self.write_fails(ClusterBroke, refusal(status, "InternalError"))))

    def test_reply_is_closed(self) -> None:
        """Every reply is closed."""
        for reply in (accepted(), refusal(409), FakeReply(200, [b"<html>"])):
            self.cluster = FakeTransport([reply])
            with contextlib.suppress(ClusterError):
                set_replicas(self.cluster, "shop", "web", 1)
            self.assertTrue(reply.closed)
