"""Looking one Deployment up: what is asked, and what each answer to it means."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.looking import look
from sre_server.errors import ClusterBroke, ClusterError, ClusterTimedOut, ClusterUnreachable, NotFound, Unavailable
from sre_server.model import State
from tests.fakes import FakeReply, FakeTransport, deployment
from tests.wire import deployment_body, refusal

PATH = "/apis/apps/v1/namespaces/shop/deployments/web"


class LookingTests(SynchronousTestCase):
    """A cluster that answers one question."""

    def look(self, answer: FakeReply | ClusterError, *, count: bool = False) -> State:
        """Look for `web` in `shop`."""
        self.cluster = FakeTransport([answer])
        return look(self.cluster, "shop", "web", count=count)

    def test_metadata(self) -> None:
        """Where the count does not matter, the metadata is all that is asked for."""
        found = self.look(FakeReply(200, [deployment_body(deployment(), metadata_only=True)]))
        self.assertEqual(found, State(deployment().uid, None))
        self.assertEqual(self.cluster.requests, [("GET", PATH, {})])
        self.assertTrue(self.cluster.headers[0]["Accept"].startswith("application/json;as=PartialObjectMetadata;"))

    def test_the_count(self) -> None:
        """Where it matters, the Deployment is read whole, so that all is of one state; less will not do."""
        self.assertEqual(self.look(FakeReply(200, [deployment_body(deployment(replicas=7))]), count=True).replicas, 7)
        self.assertNotIn("Accept", self.cluster.headers[0])
        metadata = FakeReply(200, [deployment_body(deployment(), metadata_only=True)])
        self.assertRaises(Unavailable, self.look, metadata, count=True)

    def test_what_is_not_there(self) -> None:
        """A 404 that names the Deployment, or its namespace."""
        for about, said in (("deployments/web", "The Deployment 'web' does"), ("namespaces/shop", "namespace 'shop'")):
            error = self.assertRaises(NotFound, self.look, refusal(404, "NotFound", "no", about=about))
            self.assertIn(said, str(error))

    def test_what_cannot_be_told(self) -> None:
        """Whatever else is answered, or is not, is worth another try, and says that nothing was changed."""
        for answer in (
            ClusterUnreachable("Away."),
            ClusterTimedOut("Slow."),
            ClusterBroke("Reset."),
            FakeReply(200, [b"<html>"]),
            FakeReply(200, [ClusterBroke("Reset.")]),
            FakeReply(404, [b"404 page not found"]),
            refusal(404, "NotFound", "no", about="deployments/another"),
            refusal(500, "InternalError"),
        ):
            error = self.assertRaises(Unavailable, self.look, answer)
            self.assertIn("nothing was changed", str(error))
            self.assertEqual((error.retry_after, error.missing_right), (2, None))
        self.assertEqual(self.assertRaises(Unavailable, self.look, refusal(429, retry_after=9)).retry_after, 9)

    def test_what_may_not_be_read(self) -> None:
        """The right that is missing is named."""
        error = self.assertRaises(Unavailable, self.look, refusal(403, "Forbidden", "you may not"))
        self.assertIn("you may not", str(error))
        self.assertEqual(error.missing_right, "get deployments")
