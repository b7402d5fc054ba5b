"""`GET /deployments/{ns}/{name}/permissions`: what the caller may do, and which rule decided."""

import gc

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.reviews import READ_BOUNDS, WRITE_BOUNDS, Reviews
from sre_server.cluster.workers import ConnectedWorkers
from sre_server.errors import NotIdentified
from sre_server.security.authorization import Verb
from sre_server.security.delegation import KubernetesAuthorizer
from sre_server.security.limits import Rate
from sre_server.security.policy import Rule
from sre_server.security.questions import Question, review_spec
from tests.api.test_gate import LateAuthorizer, policy
from tests.fakes import FakeReactor, FakeReply, FakeTransport, InlinePool, deployment, namespace
from tests.memory_client import Wire
from tests.memory_server import ALICE, MemoryServer

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
        """It needs an identity, counts as a read, too, and knows GET alone; malformed names are refused."""
        server = MemoryServer(limits={Verb.READ: Rate(1, 5)}).sync()
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


class CostTests(SynchronousTestCase):
    """What it is charged."""

    def test_a_read_and_a_write(self) -> None:
        """Each answer costs a token of both buckets, and says what is left of both."""
        server = MemoryServer(limits={Verb.READ: Rate(2, 4), Verb.SCALE: Rate(0.1, 2)})
        server.sync(namespace("shop"), deployment("web", "shop"))
        answer = server.get(PATH)
        self.assertEqual(answer.header("RateLimit-Policy"), '"read";q=4;w=2, "scale";q=2;w=20')
        self.assertEqual(answer.header("RateLimit"), '"read";r=3;t=0, "scale";r=1;t=0')
        write = server.call("PUT", "/deployments/shop/web/replicas", b'{"replicas":4}')
        self.assertEqual((write.status, write.header("RateLimit")), (200, '"scale";r=0;t=0'))
        refused = server.get(PATH)
        self.assertEqual((refused.status, refused.header("Retry-After")), (429, "10"))
        message = "Too many writes, as which this counts, too: 0.1 a second are allowed, 2 at once."
        self.assertEqual(refused.json()["message"], message)
        self.assertEqual(refused.header("RateLimit"), '"read";r=2;t=0, "scale";r=0;t=10')
        self.assertEqual(server.get("/deployments/shop/web/replicas").status, 200)

    def test_who_has_no_reads_left(self) -> None:
        """It is refused as a read would be, and leaves no audit line: it changes nothing."""
        server = MemoryServer(limits={Verb.READ: Rate(1, 1), Verb.SCALE: Rate(1, 9)}).sync()
        self.assertEqual([server.get(PATH).status, server.get(PATH).status], [200, 429])
        self.assertEqual(server.audit.records, [])
        sample = server.metrics.registry.get_sample_value
        self.assertEqual(sample("sre_server_throttled_total", {"kind": "read"}), 1)


class ReviewedTests(SynchronousTestCase):
    """Under the cluster's RBAC, with a cluster that answers when the test says so."""

    def setUp(self) -> None:
        """Serve, for clients that ask as often as they like."""
        self.reactor, self.transport = FakeReactor(), FakeTransport()
        self.pool, self.write_pool = InlinePool(inline=False), InlinePool(inline=False)
        self.workers = ConnectedWorkers(self.reactor, "checks", READ_BOUNDS, lambda: self.transport, self.pool)
        for_writes = ConnectedWorkers(self.reactor, "checks", WRITE_BOUNDS, lambda: self.transport, self.write_pool)
        self.workers.startService()
        for_writes.startService()
        reviews = Reviews(self.workers, for_writes)

        def review(question: Question, *, for_write: bool) -> Deferred[bool]:
            return reviews.review(review_spec(question), for_write=for_write)

        self.server = MemoryServer(authorizer=KubernetesAuthorizer(review, self.reactor.seconds))
        self.server.sync(namespace("shop"), deployment("web", "shop"))

    def answer(self, pool: InlinePool, *, allowed: bool = True) -> None:
        """Let the cluster say yes, or no, to the oldest question that has a thread."""
        self.transport.script.append(FakeReply(201, [b'{"status":{"allowed":%s}}' % str(allowed).lower().encode()]))
        pool.run_one()
        self.reactor.advance(0)

    def deny_whole_namespaces(self) -> None:
        """Let it be known that the client may not read all of anything, so that it is asked about each name."""
        wire = self.ask("any")
        for _ in range(2):
            self.answer(self.pool, allowed=False)
        for _ in Verb:
            self.answer(self.pool)
        self.assertEqual([answer.status for answer in wire.answers()], [200])
        self.transport.requests.clear()

    def ask(self, name: str = "web") -> Wire:
        """Ask what one may do."""
        wire = self.server.connect()
        wire.write(f"GET /deployments/shop/{name}/permissions HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return wire

    def test_equal_questions_at_the_same_time(self) -> None:
        """However many ask, the cluster is asked once for each verb, and everybody is answered."""
        wires = [self.ask() for _ in range(50)]
        for _ in Verb:
            self.assertEqual(len(self.pool.pending), 1)
            self.answer(self.pool)
        self.assertEqual([answer.status for wire in wires for answer in wire.answers()], [200] * 50)
        self.assertEqual([answer.status for answer in self.ask().answers()], [200])
        self.assertEqual(len(self.transport.requests), 2)

    def test_clients_that_hang_up(self) -> None:
        """They free no place that is still in use: 1,900 of them leave no more work than one client's share."""
        self.deny_whole_namespaces()
        with capturedLogs() as events:
            for number in range(1900):
                self.ask(f"web-{number}").hang_up()
            self.assertEqual(len(self.pool.pending), READ_BOUNDS.running_per_client)
            while self.pool.pending:
                self.answer(self.pool)
            gc.collect()
        self.assertEqual([event for event in events if event["log_level"] >= LogLevel.warn], [])
        most = READ_BOUNDS.running_per_client + READ_BOUNDS.queued_per_client
        self.assertEqual(len(self.transport.requests), most)

    def test_a_client_that_hangs_up_halfway(self) -> None:
        """The same, where it is known already what it may read, but not what it may scale."""
        self.ask()
        self.answer(self.pool)
        with capturedLogs() as events:
            for _ in range(1900):
                self.ask().hang_up()
            self.assertEqual(len(self.pool.pending), 1)
            self.answer(self.pool)
            gc.collect()
        self.assertEqual([event for event in events if event["log_level"] >= LogLevel.warn], [])
        self.assertEqual(len(self.transport.requests), 2)

    def test_stopping_after_they_hung_up(self) -> None:
        """Threads that hang in questions that nobody waits for any more are not waited for either."""
        self.ask().hang_up()
        self.workers.stopService()
        self.assertFalse(self.pool.stopped)
        self.answer(self.pool)
        self.assertTrue(self.pool.stopped)

    def test_writes_have_room(self) -> None:
        """However many ask what they may do, another client's write is decided and made."""
        self.deny_whole_namespaces()
        wires = [self.ask(f"web-{number}") for number in range(400)]
        self.server.clients.who = replace(ALICE, name="bob")
        wire = self.server.connect()
        wire.write(b"PUT /namespaces/shop/deployments/web/replica_count/4 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.answer(self.write_pool)
        self.assertEqual([answer.status for answer in wire.answers()], [200])
        refused = [answer.status for each in wires for answer in each.answers()]
        self.assertEqual(set(refused), {503})
        most = READ_BOUNDS.running_per_client + READ_BOUNDS.queued_per_client
        self.assertEqual(len(refused), 400 - most)
