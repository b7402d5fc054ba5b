"""The control API, through which tests reach a simulator in another process."""

from sre_server.simulator.reviews import Rule
from tests.simulator.memory import ALL, SimulatorTestCase


class ControlTests(SimulatorTestCase):
    """Speaks to it in memory."""

    def test_faults(self) -> None:
        """Faults are put as JSON in camel case and replace what was on."""
        fault = {"kind": "status", "verb": "list", "times": 1, "code": 429, "retryAfter": 3}
        for faults in ([{"kind": "hang"}], [fault]):
            self.assertEqual(self.wire.request("PUT", "/simulator/faults", {"faults": faults}).status, 200)
        answer = self.wire.get(ALL)
        self.assertEqual((answer.status, answer.headers["retry-after"]), (429, "3"))
        self.assertEqual(self.wire.get(ALL).status, 200)

    def test_malformed(self) -> None:
        """Faults that are not known are refused, and what was on stays on."""
        self.wire.request("PUT", "/simulator/faults", {"faults": [{"kind": "status"}]})
        for body in (b"{", b"[]", b'{"faults":[{"kind":"odd"}]}', b'{"faults":[{"kind":"hang","typo":1}]}', b""):
            self.assertEqual(self.wire.request("PUT", "/simulator/faults", body).status, 400)
        self.assertEqual(self.wire.get(ALL).status, 500)

    def test_reviews(self) -> None:
        """The rules of reviews are put as JSON; null allows everything again."""
        rules = [{"user": "ann", "verb": "get", "allowed": False}, {"group": "sre", "name": "cart"}]
        self.assertEqual(self.wire.request("PUT", "/simulator/reviews", {"rules": rules}).status, 200)
        expected = [Rule(user="ann", verb="get", allowed=False), Rule(group="sre", name="cart")]
        self.assertEqual(self.cluster.reviews.rules, expected)
        self.assertEqual(self.wire.request("PUT", "/simulator/reviews", {"rules": [{"typo": "x"}]}).status, 400)
        self.assertEqual(self.cluster.reviews.rules, expected)
        self.wire.request("PUT", "/simulator/reviews", {"rules": None})
        self.assertIsNone(self.cluster.reviews.rules)

    def test_requests(self) -> None:
        """Requests to the API are counted by verb and resource, those to the control API are not."""
        for path in (ALL, ALL, "/version"):
            self.wire.get(path)
        self.assertEqual(
            self.wire.get("/simulator/requests").json(), {"counts": {"list deployments": 2, "discover": 1}}
        )

    def test_history(self) -> None:
        """The past can be forgotten and restored."""
        version = {"resourceVersion": str(self.cluster.version)}
        self.wire.scale("shop", "cart", 9)
        self.assertEqual(self.wire.request("POST", "/simulator/restore", version).status, 200)
        self.assertEqual(self.wire.deployment("shop", "cart")["spec"]["replicas"], 3)
        self.wire.scale("shop", "cart", 9)
        self.assertEqual(self.wire.request("POST", "/simulator/compact").status, 200)
        self.assertEqual(self.wire.request("POST", "/simulator/restore", version).status, 410)

    def test_unplug(self) -> None:
        """The API is taken off the network after the answer is out."""
        self.assertEqual(self.wire.request("POST", "/simulator/unplug", {"seconds": 3}).status, 200)
        self.assertEqual(self.wire.unplugged, [])
        self.wire.clock.advance(1)
        self.assertEqual(self.wire.unplugged, [3.0])
