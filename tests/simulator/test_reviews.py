"""SubjectAccessReviews of the simulated cluster: what is asked, and which rule answers."""

from sre_server.simulator.reviews import Rule
from tests.simulator.memory import Exchange, SimulatorTestCase

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
CART = {"namespace": "shop", "verb": "get", "group": "apps", "resource": "deployments", "name": "cart"}


class ReviewTests(SimulatorTestCase):
    """Asks a cluster in memory."""

    def ask(self, spec: object) -> Exchange:
        """Send a review."""
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        return self.wire.request("POST", REVIEWS, review)

    def allowed(self, *rules: Rule, user: str = "ann", groups: tuple[str, ...] = (), **changed: str) -> bool:
        """Return what these rules answer to the question about getting shop/cart, with some attributes changed."""
        self.cluster.reviews.rules = list(rules)
        spec = {"user": user, "groups": groups, "resourceAttributes": {**CART, **changed}}
        answer: bool = self.ask(spec).json()["status"]["allowed"]
        return answer

    def test_answer(self) -> None:
        """A review comes back with 201 as it was asked, with its answer and a reason in the status."""
        spec = {"user": "ann", "groups": ["sre"], "extra": {"a": ["b"]}, "resourceAttributes": CART}
        answer = self.ask(spec)
        self.assertEqual(answer.status, 201)
        self.assertEqual(
            answer.json(),
            {
                "kind": "SubjectAccessReview",
                "apiVersion": "authorization.k8s.io/v1",
                "metadata": {},
                "spec": spec,
                "status": {"allowed": True, "reason": "the simulator allows everything"},
            },
        )
        self.cluster.reviews.rules = [Rule(user="bob"), Rule(user="ann", allowed=False)]
        self.assertIn("rule 2", self.ask(spec).json()["status"]["reason"])

    def test_first_match(self) -> None:
        """The first rule that meets a question decides, whatever the later ones say; if none does, it is no."""
        rules = (Rule(user="ann", verb="get"), Rule(user="ann", allowed=False), Rule(user="bob"))
        self.assertTrue(self.allowed(*rules))
        self.assertFalse(self.allowed(*rules, verb="patch"))
        self.assertTrue(self.allowed(*rules, user="bob", verb="patch"))
        self.assertFalse(self.allowed(*rules, user="eve"))
        self.assertFalse(self.allowed())

    def test_groups(self) -> None:
        """A rule of a group is about everybody in it; one with a user, too, about that user in it only."""
        self.assertTrue(self.allowed(Rule(group="sre"), groups=("dev", "sre")))
        self.assertFalse(self.allowed(Rule(group="sre"), user="sre"))
        self.assertTrue(self.allowed(Rule(group="sre", user="ann"), groups=("sre",)))
        self.assertFalse(self.allowed(Rule(group="sre", user="bob"), groups=("sre",)))

    def test_resources(self) -> None:
        """A subresource is a resource of its own, and Deployments are those of the apps group."""
        deployments, scale = Rule(resource="deployments"), Rule(resource="deployments/scale")
        self.assertTrue(self.allowed(deployments))
        self.assertFalse(self.allowed(deployments, subresource="scale"))
        self.assertFalse(self.allowed(deployments, group="other.example"))
        self.assertTrue(self.allowed(scale, subresource="scale"))
        self.assertFalse(self.allowed(scale))
        self.assertTrue(self.allowed(Rule(resource="namespaces"), group="", resource="namespaces"))

    def test_names(self) -> None:
        """A rule of one namespace or name is not about all of them, which is how an empty one reads."""
        for value, allowed in (("shop", True), ("payments", False), ("", False)):
            self.assertIs(self.allowed(Rule(namespace="shop"), namespace=value), allowed, value)
        for value, allowed in (("cart", True), ("catalog", False), ("", False)):
            self.assertIs(self.allowed(Rule(name="cart"), name=value), allowed, value)

    def test_malformed(self) -> None:
        """What is no review is refused."""
        wrong: list[object] = [[], "x", {"user": 7, "resourceAttributes": CART}, {"user": "ann"}]
        for spec in wrong:
            self.assertEqual(self.ask(spec).status, 400, spec)
        self.assertEqual(self.wire.request("POST", REVIEWS, b"{").status, 400)
        self.assertEqual(self.wire.get(REVIEWS).status, 404)
