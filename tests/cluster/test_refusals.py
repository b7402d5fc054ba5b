"""What a refusal of a write means, by what it is and is about, whatever its wording."""

import json

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.scaling import set_replicas
from sre_server.errors import (
    AdmissionRefused,
    ClusterBroke,
    ClusterError,
    ClusterRefused,
    ClusterThrottled,
    ClusterTimedOut,
    Conflict,
    NotFound,
    SreServerError,
)
from sre_server.model import Expected
from tests.fakes import FakeReply, FakeTransport
from tests.wire import refusal

DENIED = 'admission webhook "limits.example" denied the request: no more than seven'
WEB = "deployments/web"


def verdict(allowed: bool) -> FakeReply:
    """Answer a SelfSubjectAccessReview."""
    return FakeReply(201, [json.dumps({"status": {"allowed": allowed}}).encode()])


class RefusalTests(SynchronousTestCase):
    """One PATCH, and what it comes to."""

    def refused(self, kind: type[SreServerError], *answers: FakeReply | ClusterError) -> SreServerError:
        """Write against a cluster that answers so; return the error, which must be of exactly this kind."""
        self.cluster = FakeTransport(answers)
        with self.assertRaises(SreServerError) as raised:
            set_replicas(self.cluster, "shop", "web", 20, Expected("u"))
        self.assertIs(type(raised.exception), kind, raised.exception)
        self.assertEqual(len(self.cluster.script), 0)
        error: SreServerError = raised.exception
        return error

    def test_missing(self) -> None:
        """A 404 that names the Deployment, its Scale or its namespace says which of the two does not exist."""
        for about, said in (
            (WEB, "The Deployment 'web' does not exist in the namespace 'shop'."),
            ("deployments/scale/web", "The Deployment 'web' does not exist in the namespace 'shop'."),
            ("namespaces/shop", "The namespace 'shop' does not exist."),
        ):
            error = self.refused(NotFound, refusal(404, "NotFound", "not found", about=about))
            self.assertEqual(str(error), said)

    def test_what_a_proxy_answers_for_itself(self) -> None:
        """It may have passed the write on: nobody knows what came of it, unless it says that of the request alone."""
        for status in (201, 204, 408, 499, 500, 502, 503, 505, 520, 524):
            for body in (b"", b"upstream connect error or disconnect/reset before headers.", b'{"kind":"Other"}'):
                error = self.refused(ClusterBroke, FakeReply(status, [body]))
                self.assertIn(f"The cluster failed ({status}): it gave no reason. Whether", str(error))
        self.refused(ClusterTimedOut, FakeReply(504, [b"upstream request timeout"]))
        for status in (302, 400, 403, 404, 413, 451):
            self.refused(ClusterRefused, FakeReply(status, [b"no"]))
        self.refused(ClusterRefused, refusal(503, "ServiceUnavailable", "the server is shutting down"))

    def test_conflict(self) -> None:
        """A 409 that names the Deployment is a conflict, and tells what the cluster said."""
        error = self.refused(Conflict, refusal(409, "Conflict", "the object has been modified", about=WEB))
        assert isinstance(error, Conflict)
        self.assertEqual(error.status, 409)
        self.assertEqual(
            str(error),
            "The Deployment was changed by somebody else at the same time: the object has been modified",
        )

    def test_admission_of_any_code(self) -> None:
        """Whatever code a webhook or a policy chose, it is their refusal, in their words, and says no more."""
        for code in (400, 402, 404, 405, 409, 410, 413, 418, 500, 502, 503, 504):
            answer = refusal(code, "", DENIED)
            error = self.refused(AdmissionRefused, answer)
            self.assertTrue(str(error).endswith(f"({code}): {DENIED}"), str(error))
        for about in ("configmaps/limits", "deployments/another", "namespaces/another"):
            self.refused(AdmissionRefused, refusal(404, "NotFound", DENIED, about=about))
        self.refused(AdmissionRefused, refusal(422, "Invalid", DENIED, about=WEB))

    def test_warnings_of_admission(self) -> None:
        """They are there with a refusal, too."""
        answer = FakeReply(400, [b'{"kind":"Status","message":"no"}'], warnings=['299 - "mind"'])
        error = self.refused(AdmissionRefused, answer)
        assert isinstance(error, AdmissionRefused)
        self.assertEqual(error.warnings, ['299 - "mind"'])

    def test_forbidden_by_admission(self) -> None:
        """A 401 or 403 is admission's where the cluster says that the server itself may write this Deployment."""
        for code in (401, 403):
            self.refused(AdmissionRefused, refusal(code, "Forbidden", DENIED), verdict(True))
        _, (method, path, _) = self.cluster.requests
        self.assertEqual((method, path), ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"))
        asked = json.loads(self.cluster.bodies[1] or b"")
        attributes = {"group": "apps", "resource": "deployments", "subresource": "scale", "verb": "patch"}
        expected = {**attributes, "namespace": "shop", "name": "web"}
        self.assertEqual((asked["kind"], asked["spec"]), ("SelfSubjectAccessReview", {"resourceAttributes": expected}))

    def test_forbidden_to_the_server(self) -> None:
        """Where it may not, the missing right is named, and nobody's write is to blame."""
        error = self.refused(ClusterRefused, refusal(403, "Forbidden", "cannot patch"), verdict(False))
        self.assertEqual(error.missing_right, "patch deployments/scale")
        self.assertIn("cannot patch", str(error))

    def test_forbidden_and_nobody_knows_why(self) -> None:
        """Where the cluster does not say, nobody is accused."""
        for second in (ClusterTimedOut("Slow."), refusal(403, "Forbidden"), FakeReply(201, [b"<html>"])):
            error = self.refused(ClusterRefused, refusal(403, "Forbidden", DENIED), second)
            self.assertIsNone(error.missing_right)
            self.assertIn(DENIED, str(error))

    def test_throttled(self) -> None:
        """A 429, which the cluster words as a page, is worth repeating when the cluster says, or in a second."""
        page = FakeReply(429, [b"Too many requests, please try again later."], retry_after=7)
        error = self.refused(ClusterThrottled, page)
        assert isinstance(error, ClusterThrottled)
        self.assertEqual((error.status, error.retry_after), (429, 7))
        self.assertEqual(str(error), "The cluster takes no more writes now: it gave no reason")
        self.assertEqual(self.refused(ClusterThrottled, refusal(429, "TooManyRequests")).retry_after, 1)

    def test_what_the_cluster_did_not_say(self) -> None:
        """A page of a proxy's, of whatever status, is neither admission's nor about a Deployment."""
        for status in (400, 401, 403, 404, 409, 422):
            error = self.refused(ClusterRefused, FakeReply(status, [b"<html>no</html>"], retry_after=9))
            assert isinstance(error, ClusterRefused)
            self.assertEqual((error.status, error.retry_after), (status, 9))
            self.assertIn(f"({status}): it gave no reason", str(error))

    def test_unavailable(self) -> None:
        """A 503 is refused before anything was done, and may say when to come again."""
        error = self.refused(ClusterRefused, refusal(503, "ServiceUnavailable", "not yet", retry_after=9))
        assert isinstance(error, ClusterRefused)
        self.assertEqual((error.status, error.retry_after), (503, 9))
        self.assertEqual(str(error), "The cluster refused (503): not yet")

    def test_outcome_unknown(self) -> None:
        """The cluster's own 500, 502 and 504, or a proxy's, leave open whether anything was changed."""
        for status, kind, said in (
            (500, ClusterBroke, "The cluster failed (500): {}."),
            (502, ClusterBroke, "The cluster failed (502): {}."),
            (504, ClusterTimedOut, "The cluster did not answer in time."),
        ):
            for why, answer in (
                ("etcd", refusal(status, "InternalError", "etcd")),
                ("it gave no reason", FakeReply(status, [b"<html>"])),
            ):
                unknown = "Whether the count was changed is unknown: read it back before trying again."
                self.assertEqual(str(self.refused(kind, answer)), f"{said.format(why)} {unknown}")
