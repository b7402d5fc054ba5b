"""Permission that has to be fetched: what waits for it, and what happens when it cannot be had."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotIdentified
from sre_server.security.authorization import EVERYTHING, Verb
from tests.api.test_gate import BODY, PUT_A, PUT_B, READS_A, READS_B, FailingAuthorizer, LateAuthorizer, filled, policy
from tests.fakes import deployment
from tests.memory_server import ALICE, MemoryServer


class LateTests(SynchronousTestCase):
    """Answers that have to be fetched."""

    def setUp(self) -> None:
        """Serve."""
        self.authorizer = LateAuthorizer()
        self.server = filled(MemoryServer(authorizer=self.authorizer))
        self.wire = self.server.connect()

    def send(self, method: str, path: str, body: bytes = b"") -> None:
        """Send a request."""
        self.wire.write(f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    def statuses(self) -> list[int]:
        """What has been answered."""
        return [answer.status for answer in self.wire.answers()]

    def test_reads(self) -> None:
        """A read is answered once the answer is there, and not before."""
        for allowed, expected in ((True, [200]), (False, [200, 403])):
            self.send("GET", READS_A[2])
            self.assertEqual(len(self.statuses()), len(expected) - 1)
            self.authorizer.answer(allowed=allowed)
            self.assertEqual(self.statuses(), expected)
        self.assertEqual(self.authorizer.asked, [(Verb.READ, "shop", "web")] * 2)

    def test_reads_that_waited(self) -> None:
        """A read that waited for news is asked about again before it is answered."""
        self.wire.write(f"GET {READS_A[2]} HTTP/1.1\r\nHost: a\r\nX-Min-Resource-Version: 150\r\n\r\n".encode())
        self.authorizer.answer(allowed=True)
        self.server.tell(deployment(version="150"))
        self.assertEqual(self.statuses(), [])
        self.authorizer.answer(allowed=False)
        self.assertEqual(self.statuses(), [403])

    def test_writes(self) -> None:
        """Nothing reaches the cluster before the yes, and nothing after a no."""
        for allowed, expected in ((False, [403]), (True, [403, 200])):
            self.send("PUT", PUT_A, BODY)
            self.assertEqual(self.server.writes, [])
            self.authorizer.answer(allowed=allowed)
            self.assertEqual(self.statuses(), expected)
        self.assertEqual(self.server.writes, [("shop", "web", 20)])

    def test_lists(self) -> None:
        """Lists wait too."""
        self.send("GET", "/deployments/shop")
        self.authorizer.views.pop().callback(EVERYTHING)
        self.send("GET", "/deployments/shop")
        self.authorizer.views.pop().callback(policy().view(ALICE, []))
        self.assertEqual(self.statuses(), [200, 403])

    def test_nobody_any_more(self) -> None:
        """Who has lost its identity while it waited is refused whatever was decided; audited is what it asked for."""
        permissions = "/deployments/shop/web/permissions"
        for method, path, asked in (
            ("GET", READS_A[2], ("read", "shop", "web")),
            ("PUT", PUT_A, ("scale", "shop", "web")),
            ("GET", permissions, ("read", "shop", "web")),
            ("GET", "/deployments/shop", ("read", "shop", None)),
            ("GET", "/metrics", ("read", None, None)),
        ):
            with self.subTest(path):
                self.server.audit.records.clear()
                self.server.clients.who = ALICE
                self.wire = self.server.connect()
                self.send(method, path, BODY if method == "PUT" else b"")
                self.server.clients.who = NotIdentified("The client certificate has expired.")
                if self.authorizer.views:
                    self.authorizer.views.pop().callback(EVERYTHING)
                else:
                    self.authorizer.answer(allowed=True)
                self.assertEqual((self.statuses(), self.wire.closing), ([401], True))
                (line,) = self.server.audit.records
                self.assertEqual((line.action, line.namespace, line.name), asked)
                self.assertEqual((line.outcome, line.identity, line.status), ("not identified", None, 401))
        self.assertEqual(self.server.writes, [])

    def test_a_client_that_leaves_before_the_yes(self) -> None:
        """Its write is not made, and nothing is logged as an error."""
        self.send("PUT", PUT_A, BODY)
        self.wire.hang_up()
        self.authorizer.answer(allowed=True)
        self.assertEqual((self.server.writes, self.server.audit.begun, self.flushLoggedErrors()), ([], [], []))

    def test_a_cluster_that_cannot_say(self) -> None:
        """Reads, lists and writes are 503 with Retry-After, in both families; nothing is allowed on an error."""
        server = filled(MemoryServer(authorizer=FailingAuthorizer()))
        for path in (*READS_A, *READS_B, "/deployments/shop/web/permissions"):
            answer = server.get(path)
            self.assertEqual((answer.status, answer.header("Retry-After")), (503, "2"), path)
        self.assertEqual((server.call("PUT", PUT_A, BODY).status, server.call("PUT", PUT_B).status), (503, 503))
        self.assertEqual((server.writes, self.flushLoggedErrors()), ([], []))
