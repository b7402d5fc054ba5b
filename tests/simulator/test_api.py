"""The simulated API's answers to plain requests, read from the bytes on the wire."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator.testtools import Wire
from tests.simulating import CART, DEPLOYMENTS, NAMESPACES, SHOP, APITestCase


class GetTests(APITestCase):
    """Single objects, discovery, health."""

    def test_objects(self) -> None:
        """A single object carries its kind and version first."""
        cart = self.wire.get(CART)
        self.assertTrue(cart.body.startswith(b'{"kind":"Deployment","apiVersion":"apps/v1",'))
        self.assertEqual(
            cart.json(), {"kind": "Deployment", "apiVersion": "apps/v1", **self.cluster.deployment("shop", "cart")}
        )
        self.assertEqual(self.wire.get(f"{CART}/status").json(), cart.json())
        self.assertEqual(self.wire.get(f"{NAMESPACES}/shop").json()["kind"], "Namespace")

    def test_missing(self) -> None:
        """What does not exist is a 404 that says what is missing."""
        told = self.assert_status(self.wire.get(f"{SHOP}/nothing"), 404, "NotFound")
        self.assertEqual(told["message"], 'deployments.apps "nothing" not found')
        self.assertEqual(told["details"], {"name": "nothing", "group": "apps", "kind": "deployments"})
        told = self.assert_status(self.wire.get(f"{NAMESPACES}/nothing"), 404, "NotFound")
        self.assertEqual(told["details"], {"name": "nothing", "kind": "namespaces"})

    def test_unroutable(self) -> None:
        """Unknown paths and methods are answered by a Status, too."""
        self.assert_status(self.wire.get("/api/v1/pods"), 404, "NotFound")
        self.assert_status(self.wire.get("/"), 404, "NotFound")
        self.assert_status(self.wire.request("POST", CART), 405, "MethodNotAllowed")
        self.assert_status(self.wire.request("DELETE", DEPLOYMENTS), 405, "MethodNotAllowed")

    def test_head(self) -> None:
        """HEAD is GET without the body."""
        answer = self.wire.request("HEAD", CART)
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.headers["content-length"], str(len(self.wire.get(CART).body)))

    def test_discovery(self) -> None:
        """Clients find the groups, the resources and the scale subresource."""
        self.assertEqual(self.wire.get("/api").json()["versions"], ["v1"])
        groups = [group["name"] for group in self.wire.get("/apis").json()["groups"]]
        self.assertEqual(groups, ["apps", "authorization.k8s.io"])
        for path in ("/apis/apps", "/apis/autoscaling", "/apis/autoscaling/v1", "/api/v1", "/version", "/openapi/v3"):
            self.assertEqual(self.wire.get(path).status, 200)
        resources = {item["name"]: item for item in self.wire.get("/apis/apps/v1").json()["resources"]}
        self.assertEqual(resources["deployments"]["kind"], "Deployment")
        self.assertEqual(self.verbs("/api/v1")["events"], ["create", "delete", "get", "list", "watch"])
        self.assertEqual(self.verbs("/apis/authorization.k8s.io/v1"), {"subjectaccessreviews": ["create"]})
        self.assertEqual(self.wire.get("/apis/authorization.k8s.io").json()["name"], "authorization.k8s.io")
        scale = resources["deployments/scale"]
        self.assertEqual((scale["group"], scale["version"], scale["kind"]), ("autoscaling", "v1", "Scale"))

    def verbs(self, path: str) -> dict[str, list[str]]:
        """Return what can be done to each resource of a group."""
        return {item["name"]: item["verbs"] for item in self.wire.get(path).json()["resources"]}

    def test_health(self) -> None:
        """The health paths answer ok, in plain text."""
        for path in ("/healthz", "/livez", "/readyz"):
            answer = self.wire.get(path)
            self.assertEqual((answer.status, answer.body), (200, b"ok"))
            self.assertTrue(answer.headers["content-type"].startswith("text/plain"))

    def test_unacceptable(self) -> None:
        """A client that takes only protobuf gets a 406."""
        self.assert_status(self.wire.get(CART, Accept="application/vnd.kubernetes.protobuf"), 406, "NotAcceptable")


class TokenTests(SynchronousTestCase):
    """A cluster that wants a token."""

    def test_token(self) -> None:
        """Only requests with the right bearer token are served, on known and unknown paths alike."""
        wire = Wire(token="sesame")
        self.assertEqual(wire.get(CART, Authorization="Bearer sesame").status, 200)
        self.assertEqual(wire.get(CART, Authorization="bearer sesame").status, 200)
        for path in (CART, "/nowhere", "/version", f"{DEPLOYMENTS}?watch=1"):
            for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "sesame"}):
                answer = wire.get(path, **headers)
                self.assertEqual((answer.status, answer.json()["reason"]), (401, "Unauthorized"))
