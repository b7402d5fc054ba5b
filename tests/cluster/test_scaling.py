"""The write path: one PATCH, exactly once, bound to what it was judged on, and what each answer to it means."""

import contextlib

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster import scaling
from sre_server.cluster.scaling import set_replicas
from sre_server.errors import (
    AdmissionRefused,
    ClusterBroke,
    ClusterError,
    ClusterTimedOut,
    ClusterUnreachable,
    CredentialsError,
    Unavailable,
)
from sre_server.model import Expected, Guards, State, Written
from tests.fakes import FakeReply, FakeTransport, deployment
from tests.wire import deployment_body, refusal, scale_body

WRITTEN = deployment(replicas=20, version="77")
UID = WRITTEN.uid
FAILED_TEST = "the server rejected our request due to an error in our request"


def accepted() -> FakeReply:
    """Answer a write that succeeded."""
    return FakeReply(200, [scale_body(WRITTEN)])


class ScalingTestCase(SynchronousTestCase):
    """Writes against a cluster that answers from a script. This has no tests of its own."""

    def write(self, *answers: FakeReply | ClusterError, expected: Expected = Expected(UID)) -> Written | State:  # noqa: B008
        """Set 20 replicas against a cluster that answers so."""
        self.cluster = FakeTransport(answers)
        return set_replicas(self.cluster, "shop", "web", 20, expected)

    def asked(self) -> list[str]:
        """What the cluster was asked, in short."""
        return [f"{method} {path.rpartition('/')[2]}" for method, path, _ in self.cluster.requests]


class SetReplicasTests(ScalingTestCase):
    """The request, and the answers that end a write."""

    def write_fails(self, kind: type[Exception], answer: FakeReply | ClusterError) -> Exception:
        """Set 20 replicas, which must fail, after one attempt; return the error."""
        with self.assertRaises(kind) as raised:
            self.write(answer)
        self.assertIs(type(raised.exception), kind)
        self.assertEqual(len(self.cluster.requests), 1)
        error: Exception = raised.exception
        return error

    def test_request(self) -> None:
        """A write is one JSON patch of the scale subresource, in our name, on a connection of its own."""
        self.write(accepted())
        path = "/apis/apps/v1/namespaces/shop/deployments/web/scale"
        self.assertEqual(self.cluster.requests, [("PATCH", path, {"fieldManager": "sre-server"})])
        headers = {"Content-Type": "application/json-patch+json", "Connection": "close"}
        self.assertEqual([dict(sent) for sent in self.cluster.headers], [headers])
        self.assertEqual(self.cluster.read_timeouts, [10])

    def test_the_patch(self) -> None:
        """It tests the UID, and the count if that matters, and then sets the count; a Scale leaves 0 out."""
        test_uid = {"op": "test", "path": "/metadata/uid", "value": UID}
        for expected, tests in (
            (Expected(UID), [test_uid]),
            (Expected(UID, 3), [test_uid, {"op": "test", "path": "/spec/replicas", "value": 3}]),
            (Expected(UID, 0), [test_uid, {"op": "test", "path": "/spec/replicas", "value": None}]),
        ):
            self.write(accepted(), expected=expected)
            steps = msgspec.json.decode(self.cluster.bodies[0] or b"")
            self.assertEqual(steps, [*tests, {"op": "add", "path": "/spec/replicas", "value": 20}])

    def test_zero_is_sent(self) -> None:
        """A count of 0 is written out, never left out as an empty value."""
        self.cluster = FakeTransport([FakeReply(200, [scale_body(deployment(replicas=0))])])
        written = set_replicas(self.cluster, "shop", "web", 0, Expected(UID))
        self.assertEqual(written, Written(deployment(replicas=0), []))
        self.assertIn(b'"op":"add","path":"/spec/replicas","value":0', self.cluster.bodies[0] or b"")

    def test_success(self) -> None:
        """The answer is the Deployment as the cluster now has it, version and UID included, and what it warns of."""
        self.assertEqual(self.write(accepted()), Written(WRITTEN, []))
        warned = FakeReply(200, [scale_body(WRITTEN)], warnings=['299 - "mind"'])
        self.assertEqual(self.write(warned), Written(WRITTEN, ['299 - "mind"']))

    def test_unreachable(self) -> None:
        """A request that was never sent changed nothing, and the error says so, whatever kept it."""
        for kind in (ClusterUnreachable, CredentialsError):
            error = self.write_fails(kind, kind("The cluster cannot be reached."))
            self.assertEqual(str(error), "The cluster cannot be reached. Nothing was changed.")

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
        for reply in (accepted(), refusal(429), FakeReply(200, [b"<html>"])):
            with contextlib.suppress(ClusterError):
                self.write(reply)
            self.assertTrue(reply.closed)


class ComparedTests(ScalingTestCase):
    """A 422 that is about no object: a test that failed, or admission that says no more than that."""

    def test_another_state(self) -> None:
        """The Deployment is read, and returned as it is: nothing was changed."""
        now = FakeReply(200, [deployment_body(deployment(replicas=5), annotations={"sre-server/max-replicas": "7"})])
        found = self.write(refusal(422, "Invalid", FAILED_TEST), now, expected=Expected(UID, 3))
        self.assertEqual(found, State(UID, 5, Guards(maximum="7")))
        looked, path = self.cluster.requests[1][:2]
        self.assertEqual((looked, path), ("GET", "/apis/apps/v1/namespaces/shop/deployments/web"))

    def test_another_deployment(self) -> None:
        """Where the count was not tested, its metadata is all that is read."""
        now = FakeReply(200, [deployment_body(deployment(uid="another"), metadata_only=True)])
        self.assertEqual(self.write(refusal(422, "Invalid", FAILED_TEST), now), State("another", None))
        self.assertIn("as=PartialObjectMetadata", self.cluster.headers[1]["Accept"])

    def test_the_very_state(self) -> None:
        """Where all is as expected it was the write itself that was refused, and neither 412 nor 409 would be true."""
        for expected in (Expected(UID), Expected(UID, 3)):
            counted = expected.replicas is not None
            script = []
            for _ in range(1 + counted):
                now = FakeReply(200, [deployment_body(deployment(replicas=3), metadata_only=not counted)])
                script += [refusal(422, "", "no more than seven"), now]
            with self.assertRaises(AdmissionRefused) as raised:
                self.write(*script, expected=expected)
            self.assertIn("no more than seven", str(raised.exception))
            self.assertEqual(self.asked(), ["PATCH scale", "GET web"] * (1 + counted))
            self.cluster.requests.clear()

    def test_there_and_back(self) -> None:
        """A count that was another one, and is back by the time of the look, is written once more."""
        now = FakeReply(200, [deployment_body(deployment(replicas=3))])
        written = self.write(refusal(422, "Invalid", FAILED_TEST), now, accepted(), expected=Expected(UID, 3))
        self.assertIsInstance(written, Written)
        self.assertEqual(self.asked(), ["PATCH scale", "GET web", "PATCH scale"])
        self.assertEqual(self.cluster.bodies[0], self.cluster.bodies[2])

    def test_there_and_back_too_late(self) -> None:
        """Where finding that out took long, nothing is sent again: a write ends in time."""
        self.patch(scaling, "AGAIN_SECONDS", 0.0)
        now = FakeReply(200, [deployment_body(deployment(replicas=3))])
        with self.assertRaises(AdmissionRefused):
            self.write(refusal(422, "Invalid", FAILED_TEST), now, expected=Expected(UID, 3))
        self.assertEqual(self.asked(), ["PATCH scale", "GET web"])

    def test_a_422_that_is_about_the_deployment(self) -> None:
        """It is no failed test: nothing is read."""
        with self.assertRaises(AdmissionRefused):
            self.write(refusal(422, "Invalid", "seven is the most", about="deployments/web"), expected=Expected(UID, 3))
        self.assertEqual(self.asked(), ["PATCH scale"])

    def test_a_state_that_cannot_be_read(self) -> None:
        """Nothing was changed, and more is not said: it may be worth another try."""
        for second in (ClusterBroke("Reset."), refusal(403, "Forbidden"), FakeReply(200, [b"<html>"])):
            with self.assertRaises(Unavailable) as raised:
                self.write(refusal(422, "Invalid", FAILED_TEST), second, expected=Expected(UID, 3))
            self.assertIn("nothing was changed", str(raised.exception))
