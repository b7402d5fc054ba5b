"""SubjectAccessReviews of the simulated cluster: what is asked, which rule answers, what goes wrong."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator.faults import Fault
from sre_server.simulator.kinds import Object
from sre_server.simulator.reviews import Rule
from sre_server.simulator.testtools import Exchange, Wire

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def attributes(**changed: str) -> Object:
    """Return the question about getting one Deployment, with some attributes changed."""
    asked = {"namespace": "shop", "verb": "get", "group": "apps", "resource": "deployments", "name": "cart"}
    return {**asked, **changed}


class ReviewTestCase(SynchronousTestCase):
    """Asks a cluster in memory."""

    def setUp(self) -> None:
        """Start a cluster."""
        self.wire = Wire()
        self.reviews = self.wire.cluster.reviews

    def ask(self, spec: object, **fields: object) -> Exchange:
        """Send a review."""
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec, **fields}
        return self.wire.request("POST", REVIEWS, review)

    def allowed(self, user: str = "ann", groups: tuple[str, ...] = (), **changed: str) -> bool:
        """Tell what the answer is."""
        spec = {"user": user, "groups": groups, "resourceAttributes": attributes(**changed)}
        answer: bool = self.ask(spec).json()["status"]["allowed"]
        return answer


class RuleTests(ReviewTestCase):
    """Which rule decides."""

    def test_everything(self) -> None:
        """Without rules everything is allowed; with rules, even none, only what one allows; cleared, all again."""
        self.assertTrue(self.allowed())
        self.reviews.replace([])
        self.assertFalse(self.allowed())
        self.reviews.replace([Rule(user="bob")])
        self.assertEqual((self.allowed("ann"), self.allowed("bob")), (False, True))
        self.reviews.clear()
        self.assertTrue(self.allowed())

    def test_first_match(self) -> None:
        """The first rule that meets a question decides, whatever the later ones say."""
        self.reviews.replace([Rule(user="ann", verb="get"), Rule(user="ann", allowed=False), Rule()])
        self.assertTrue(self.allowed("ann"))
        self.assertFalse(self.allowed("ann", verb="patch"))
        self.assertTrue(self.allowed("bob", verb="patch"))

    def test_groups(self) -> None:
        """A rule of a group is about everybody in it; one with a user, too, about that user in it only."""
        self.reviews.replace([Rule(group="sre")])
        self.assertEqual((self.allowed(groups=("dev", "sre")), self.allowed(groups=("dev",))), (True, False))
        self.assertFalse(self.allowed("sre"))
        self.reviews.replace([Rule(group="sre", user="bob")])
        self.assertEqual((self.allowed("bob", ("sre",)), self.allowed("ann", ("sre",))), (True, False))
        self.assertFalse(self.allowed("bob"))

    def test_verbs(self) -> None:
        """A rule of one verb is about no other."""
        self.reviews.replace([Rule(verb="patch")])
        self.assertEqual((self.allowed(verb="patch"), self.allowed(), self.allowed(verb="*")), (True, False, False))

    def test_resources(self) -> None:
        """A subresource is a resource of its own, and Deployments are those of the apps group."""
        self.reviews.replace([Rule(resource="deployments")])
        self.assertTrue(self.allowed())
        self.assertFalse(self.allowed(subresource="scale"))
        self.assertFalse(self.allowed(group=""))
        self.assertFalse(self.allowed(group="other.example"))
        self.reviews.replace([Rule(resource="deployments/scale")])
        self.assertEqual((self.allowed(subresource="scale"), self.allowed()), (True, False))
        self.reviews.replace([Rule(resource="namespaces"), Rule(resource="jobs.batch")])
        self.assertTrue(self.allowed(group="", resource="namespaces"))
        self.assertTrue(self.allowed(group="batch", resource="jobs"))
        self.reviews.replace([Rule(resource="*")])
        self.assertTrue(self.allowed(group="batch", resource="jobs", subresource="status"))

    def test_namespaces(self) -> None:
        """A rule of one namespace is not about all of them, which is how an empty namespace reads."""
        self.reviews.replace([Rule(namespace="shop")])
        self.assertEqual([self.allowed(namespace=name) for name in ("shop", "payments", "")], [True, False, False])
        self.reviews.replace([Rule(namespace="*")])
        self.assertEqual([self.allowed(namespace=name) for name in ("shop", "")], [True, True])

    def test_names(self) -> None:
        """A rule of one name is not about any, which is how an empty name reads."""
        self.reviews.replace([Rule(name="cart")])
        self.assertEqual([self.allowed(name=name) for name in ("cart", "catalog", "")], [True, False, False])

    def test_paths(self) -> None:
        """A question about a path is met by rules about everything, or about that path."""
        spec = {"user": "ann", "nonResourceAttributes": {"path": "/healthz", "verb": "get"}}
        for rule, allowed in ((Rule(), True), (Rule(resource="/healthz"), True), (Rule(namespace="shop"), False)):
            self.reviews.replace([rule])
            self.assertIs(self.ask(spec).json()["status"]["allowed"], allowed, rule)

    def test_rules_are_copied(self) -> None:
        """What a test does to the list afterwards decides nothing."""
        rules = [Rule(user="ann")]
        self.reviews.replace(rules)
        rules.clear()
        (self.reviews.rules or []).clear()
        self.assertTrue(self.allowed("ann"))


class AnswerTests(ReviewTestCase):
    """What comes back."""

    def test_answer(self) -> None:
        """The review comes back with 201 as it was asked, with its answer and a reason in the status."""
        spec = {"user": "ann", "groups": ["sre"], "extra": {"a": ["b"]}, "resourceAttributes": attributes()}
        answer = self.ask(spec, metadata={"creationTimestamp": None})
        reason = answer.json()["status"]["reason"]
        self.assertEqual(answer.status, 201)
        self.assertEqual(
            answer.json(),
            {
                "kind": "SubjectAccessReview",
                "apiVersion": "authorization.k8s.io/v1",
                "metadata": {},
                "spec": spec,
                "status": {"allowed": True, "reason": reason},
            },
        )
        self.reviews.replace([Rule(user="bob"), Rule(user="ann", allowed=False)])
        self.assertIn("rule 2", self.ask(spec).json()["status"]["reason"])

    def test_incomplete(self) -> None:
        """A review without a subject, without a question or with two is invalid."""
        resource, path = attributes(), {"path": "/healthz", "verb": "get"}
        for spec in (
            {"resourceAttributes": resource},
            {"user": "ann"},
            {},
            {"user": "ann", "resourceAttributes": resource, "nonResourceAttributes": path},
        ):
            answer = self.ask(spec)
            self.assertEqual((answer.status, answer.json()["reason"]), (422, "Invalid"), spec)
        self.assertEqual(self.ask({"groups": ["sre"], "resourceAttributes": resource}).status, 201)
        named = {"user": "ann", "resourceAttributes": resource}
        self.assertEqual(self.ask(named, metadata={"name": "x"}).status, 422)

    def test_malformed(self) -> None:
        """What is no review is refused."""
        wrong: list[object] = [[], "x", {"user": 7}, {"user": "a", "groups": "b"}, {"resourceAttributes": []}]
        for spec in wrong:
            self.assertEqual(self.ask(spec).status, 400, spec)
        self.assertEqual(self.ask({}, kind="SelfSubjectAccessReview").status, 400)
        self.assertEqual(self.wire.request("POST", REVIEWS, b"{").status, 400)
        self.assertEqual(self.wire.get(REVIEWS).status, 405)

    def test_nothing_else_is_decided(self) -> None:
        """Rules answer reviews; what the API itself allows does not depend on them."""
        self.reviews.replace([])
        self.assertEqual(self.wire.get("/apis/apps/v1/deployments").status, 200)

    def test_token(self) -> None:
        """Where a token is wanted, reviews want it, too."""
        self.wire = Wire(token="sesame")
        self.assertEqual(self.ask({"user": "ann", "resourceAttributes": attributes()}).status, 401)


class FaultTests(ReviewTestCase):
    """What can go wrong with reviews."""

    def test_faults(self) -> None:
        """A fault of reviews meets them and nothing else; every review is counted."""
        self.wire.go_wrong(Fault(kind="status", verb="create", resource="subjectaccessreviews", code=503, times=1))
        self.assertEqual(self.wire.request("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}}).status, 201)
        spec = {"user": "ann", "resourceAttributes": attributes()}
        self.assertEqual([self.ask(spec).status for _ in range(2)], [503, 201])
        self.assertEqual(self.wire.faults.count(verb="create", resource="subjectaccessreviews"), 2)

    def test_hang(self) -> None:
        """A review can be left without an answer."""
        self.wire.go_wrong(Fault(kind="hang", resource="subjectaccessreviews"))
        answer = self.ask({"user": "ann", "resourceAttributes": attributes()})
        self.wire.clock.advance(3600)
        self.assertEqual(answer.raw, b"")
        answer.hang_up()
