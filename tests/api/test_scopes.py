"""What is wrong with one namespace, or with one Deployment, is no matter of the others."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import Unreadable
from sre_server.news import sources_of
from sre_server.security.policy import Rule
from tests.api.test_gate import policy
from tests.fakes import deployment, namespace
from tests.memory_server import MemoryServer

SHOP, BANK = namespace("shop"), namespace("bank")
WEB = "/deployments/shop/web/replicas"


class ScopeTests(SynchronousTestCase):
    """A server of two namespaces, of one of which nothing was read yet; `tests/api/test_lane.py` has its reads."""

    def setUp(self) -> None:
        """Read one of them."""
        self.server = MemoryServer(namespaces=["shop", "bank"])
        self.server.sync(SHOP, deployment(), sources=sources_of(["shop"]))

    def put(self, namespace: str) -> int:
        """Scale a Deployment there; return the status."""
        return self.server.call("PUT", f"/deployments/{namespace}/web/replicas", b'{"replicas":4}').status

    def test_writes(self) -> None:
        """What is written to one rests on nothing that is known of the other."""
        self.assertEqual([self.put(name) for name in ("shop", "bank", "other")], [200, 503, 404])

    def test_what_writes_are_judged_on(self) -> None:
        """What is known of the namespace, if that is fresh, however long the other was silent; else the cluster."""
        self.server.sync(BANK, deployment("web", "bank"), sources=sources_of(["bank"]))
        self.server.clock.advance(121)
        self.server.sync(SHOP, deployment(), sources=sources_of(["shop"]))
        self.assertEqual([self.put(name) for name in ("shop", "bank")], [200, 200])
        self.assertEqual([namespace for namespace, *_ in self.server.looked], ["bank"])

    def test_lists(self) -> None:
        """A part is never told as all of it: not before the rest was read, and not once it is too old."""
        for path in ("/deployments", "/namespaces", "/namespaces/ANY/deployments/ANY/replica_count"):
            self.assertEqual(self.server.get(path).status, 503, path)
        self.server.sync(BANK, sources=sources_of(["bank"]))
        self.assertEqual(self.server.get("/deployments").status, 200)
        self.server.clock.advance(121)
        self.server.sync(SHOP, deployment(), sources=sources_of(["shop"]))
        answer = self.server.get("/deployments")
        self.assertEqual((answer.status, answer.header("Age")), (503, "121"))
        self.assertIn("The namespace 'bank' was last heard from 121 s ago", answer.json()["message"])
        self.assertEqual(self.server.get("/deployments/shop").header("Age"), "0")


class UnreadableTests(SynchronousTestCase):
    """A server of a namespace of which two Deployments cannot be read."""

    def setUp(self) -> None:
        """Let everybody read everything."""
        self.serve(Rule(identities=("*",)))

    def serve(self, *rules: Rule) -> None:
        """Make the server."""
        items = [Unreadable("shop", name, f"uid-{name}", "7", why="it is too large") for name in ("vast", "huge")]
        self.server = MemoryServer(authorizer=policy(*rules)).sync(SHOP, BANK, deployment(), *items)

    def warning(self, path: str) -> str | None:
        """Read a list; return what it says to be missing."""
        answer = self.server.get(path)
        self.assertEqual(answer.status, 200)
        self.assertNotIn(b"huge", answer.body)
        return answer.header("Warning")

    def test_lists(self) -> None:
        """Every list that should hold them says that it does not, and no other does."""
        left_out = '199 sre-server "what cannot be read is left out: shop/huge, shop/vast"'
        for path in (
            "/deployments",
            "/deployments/shop",
            "/namespaces/ANY/deployments",
            "/namespaces/shop/deployments",
            "/namespaces/shop/deployments/ANY/replica_count",
            "/namespaces/ANY/deployments/ANY/replica_count",
        ):
            self.assertEqual(self.warning(path), left_out, path)
        for path in ("/namespaces", "/deployments/bank", "/namespaces/bank/deployments", WEB):
            self.assertIsNone(self.warning(path), path)

    def test_by_name(self) -> None:
        """Each is 503 by its name, with the reason, in either family; one that is not there is still not there."""
        for path in ("/deployments/shop/huge/replicas", "/namespaces/shop/deployments/huge/replica_count"):
            answer = self.server.get(path)
            self.assertEqual((answer.status, answer.header("Retry-After")), (503, "30"))
            self.assertIn("'huge' in the namespace 'shop' cannot be read: it is too large", answer.json()["message"])
        self.assertEqual(self.server.get("/deployments/shop/none/replicas").status, 404)

    def test_names_are_for_those_who_may_know(self) -> None:
        """Whoever may not read a Deployment is not told that it is there."""
        self.serve(Rule(identities=("*",), namespaces=("shop",), names=("web", "vast")))
        self.assertEqual(self.warning("/deployments"), '199 sre-server "what cannot be read is left out: shop/vast"')
        self.serve(Rule(identities=("*",), namespaces=("shop",), names=("web",)))
        self.assertIsNone(self.warning("/deployments"))
        self.assertEqual(self.server.get("/deployments/shop/huge/replicas").status, 403)

    def test_write(self) -> None:
        """What is written to one is the cluster's business; its answer tells the count."""
        path = "/deployments/shop/huge/replicas"
        self.assertEqual(self.server.call("PUT", path, b'{"replicas":4}').status, 200)
        self.assertEqual(self.server.get(path).json()["replicas"], 4)
        self.assertIn("shop/vast", self.server.get("/deployments").header("Warning") or "")
        self.assertNotIn("huge,", self.server.get("/deployments").header("Warning") or "")

    def test_many(self) -> None:
        """A list names a few, and counts the rest."""
        items = [Unreadable("shop", f"d{number}", "", "", why="no") for number in range(500)]
        self.server.sync(SHOP, *items)
        warning = self.server.get("/deployments").header("Warning") or ""
        self.assertIn("shop/d0, shop/d1, shop/d10, shop/d100, shop/d101 and 495 more", warning)
