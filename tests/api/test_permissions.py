"""`GET /deployments/{ns}/{name}/permissions`: what the caller may do, and which rule decided."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotIdentified
from sre_server.security.authorization import Verb
from sre_server.security.limits import Rate
from sre_server.security.policy import Rule
from tests.api.test_gate import LateAuthorizer, policy
from tests.fakes import deployment, namespace
from tests.memory_server import MemoryServer

PATH = "/deployments/shop/web/permissions"


class PermissionsTests(SynchronousTestCase):
    """The answer to who asks."""

    def test_the_answer(self) -> None:
        """Both verbs, each with its yes or no and the rule; whom the server takes the caller for."""
        rules = Rule(groups=("sre",), verbs=("read",)), Rule(identities=("*",), effect="deny")
        server = MemoryServer(authorizer=policy(*rules)).sync(namespace("shop"), deployment("web", "shop"))
        answer = server.get(PATH)
        self.assertEqual(answer.status, 200)
        expected = {
            "namespace": "shop",
            "deployment": "web",
            "identity": "alice",
            "read": {"allowed": True, "rule": "rule 1 of the policy (allow)"},
            "scale": {"allowed": False, "rule": "rule 2 of the policy (deny)"},
        }
        self.assertEqual(answer.json(), expected)

    def test_it_agrees_with_what_happens(self) -> None:
        """What it says is what a read and a write then get."""
        for verbs in (("read",), ("scale",), ("read", "scale"), ()):
            rules = [Rule(identities=("alice",), verbs=verbs)] if verbs else []
            server = MemoryServer(authorizer=policy(*rules)).sync(namespace("shop"), deployment("web", "shop"))
            said = server.get(PATH).json()
            read = server.get("/deployments/shop/web/replicas").status
            write = server.call("PUT", "/deployments/shop/web/replicas", b'{"replicas":4}').status
            self.assertEqual(said["read"]["allowed"], read == 200, verbs)
            self.assertEqual(said["scale"]["allowed"], write == 200, verbs)

    def test_it_tells_nothing_of_what_exists(self) -> None:
        """The answer is the same for what does not exist, and before the first sync: it is about the rules alone."""
        server = MemoryServer(authorizer=policy(Rule(identities=("*",), namespaces=("shop",))))
        before = server.get(PATH).json()
        server.sync(namespace("shop"), deployment("web", "shop"))
        self.assertEqual(server.get(PATH).json(), before)
        nowhere = server.get("/deployments/shop/nope/permissions").json()
        self.assertEqual(nowhere | {"deployment": "web"}, before)
        self.assertEqual(server.audit.records, [], "asking is no refusal")

    def test_it_is_no_way_around(self) -> None:
        """It needs an identity, counts as a read, and knows GET alone; malformed names are refused."""
        server = MemoryServer(limits={Verb.READ: Rate(1, 3)}).sync()
        self.assertEqual(server.get("/deployments/shop/UPPER/permissions").status, 400)
        self.assertEqual(server.call("PUT", PATH, b"{}").status, 405)
        self.assertEqual([server.get(PATH).status for _ in range(4)], [200, 200, 200, 429])
        server.clients.who = NotIdentified("Nobody.")
        self.assertEqual(server.get(PATH).status, 401)

    def test_answers_that_have_to_be_fetched(self) -> None:
        """Both verbs are asked for this very Deployment."""
        authorizer = LateAuthorizer()
        server = MemoryServer(authorizer=authorizer).sync()
        wire = server.connect()
        wire.write(f"GET {PATH} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        for allowed in (True, False):
            self.assertEqual(wire.answers(), [])
            authorizer.answer(allowed=allowed)
        (answer,) = wire.answers()
        self.assertEqual((answer.json()["read"]["allowed"], answer.json()["scale"]["allowed"]), (True, False))
        self.assertEqual(authorizer.asked, [(Verb.READ, "shop", "web"), (Verb.SCALE, "shop", "web")])
