"""How often each client may ask: 429, the headers that tell of it, and a connection that is held back."""

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotIdentified
from sre_server.security.authorization import Verb
from sre_server.security.limits import Rate
from sre_server.web.channel import HOLD_SECONDS, WRITE_SECONDS
from tests.fakes import deployment, namespace
from tests.memory_client import Answer
from tests.memory_server import ALICE, MemoryServer

REPLICAS = "/deployments/shop/web/replicas"
GET = b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n"


class LimitedTests(SynchronousTestCase):
    """Two reads a second and three at once; one write in ten seconds."""

    def setUp(self) -> None:
        """Serve."""
        self.server = MemoryServer(limits={Verb.READ: Rate(2, 3), Verb.SCALE: Rate(0.1, 1)})
        self.server.sync(namespace("shop"), deployment("web", "shop"))

    def put(self) -> Answer:
        """Write."""
        return self.server.call("PUT", REPLICAS, b'{"replicas":4}')

    def reads(self, times: int) -> list[int]:
        """Read so many times."""
        return [self.server.get(REPLICAS).status for _ in range(times)]

    def throttled(self, kind: str) -> float | None:
        """How many were refused."""
        return self.server.metrics.registry.get_sample_value("sre_server_throttled_total", {"kind": kind})


class LimitsTests(LimitedTests):
    """What is answered."""

    def test_every_door(self) -> None:
        """What no route serves, or anybody may have, costs a read, too; health costs nothing."""
        server = self.server
        for path, status in (
            ("/nowhere", 404),
            ("/livez/1", 404),
            ("/deployments/UPPER", 400),
            ("/openapi.json", 200),
            ("/metrics/1", 404),
        ):
            server.clients.who = replace(ALICE, name=path)
            self.assertEqual([server.get(path).status for _ in range(4)], [status] * 3 + [429], path)
            self.assertEqual(server.get(path).header("Retry-After"), "1")
        server.clients.who = NotIdentified("Nobody.")
        self.assertEqual([server.get("/deployments").status for _ in range(4)], [401] * 3 + [429])
        server.clients.who = ALICE
        self.assertEqual({server.get(path).status for path in ("/livez", "/readyz") for _ in range(9)}, {200})
        self.assertEqual(server.get(REPLICAS).status, 200)

    def test_the_headers(self) -> None:
        """Every answer says what is allowed, how much of it is left, and when there is more."""
        seen = []
        for _ in range(4):
            answer = self.server.get(REPLICAS)
            self.assertEqual(answer.header("RateLimit-Policy"), '"read";q=3;w=2')
            seen.append((answer.status, answer.header("RateLimit"), answer.header("Retry-After")))
        left = [(200, f'"read";r={count};t=0', None) for count in (2, 1, 0)]
        self.assertEqual(seen, [*left, (429, '"read";r=0;t=1', "1")])

    def test_the_refusal(self) -> None:
        """It says what is allowed, and Retry-After is long enough, and never zero."""
        self.put()
        answer = self.put()
        self.assertEqual((answer.status, answer.header("Retry-After")), (429, "10"))
        self.assertEqual(answer.json()["message"], "Too many writes: 0.1 a second are allowed, 1 at once.")
        self.assertEqual(answer.header("RateLimit"), '"scale";r=0;t=10')
        self.assertEqual(len(self.server.writes), 1)
        self.reads(3)
        message = self.server.get(REPLICAS).json()["message"]
        self.assertEqual(message, "Too many reads: 2 a second are allowed, 3 at once.")
        self.server.clock.advance(10)
        self.assertEqual(self.put().status, 200)

    def test_reads_and_writes_apart(self) -> None:
        """Whoever has used up the one still has all of the other."""
        self.assertEqual(self.reads(4), [200, 200, 200, 429])
        self.assertEqual([self.put().status, self.put().status], [200, 429])
        self.server.clock.advance(1)
        self.assertEqual(self.reads(3), [200, 200, 429])
        self.assertEqual((self.throttled("read"), self.throttled("scale")), (2, 1))

    def test_each_identity_for_itself(self) -> None:
        """Over all its connections and both families; a new certificate of the same name is the same client."""
        self.reads(3)
        self.server.clients.who = replace(ALICE, certificate_sha256="cd" * 32)
        self.assertEqual(self.server.get("/namespaces").status, 429)
        self.server.clients.who = replace(ALICE, name="bob")
        self.assertEqual(self.reads(4), [200, 200, 200, 429])

    def test_health_is_exempt(self) -> None:
        """Probes are never limited, and say nothing of limits."""
        self.reads(4)
        for _ in range(50):
            answer = self.server.get("/readyz")
            self.assertEqual((answer.status, answer.header("RateLimit")), (200, None))

    def test_refusals_count_as_requests(self) -> None:
        """Asking for what does not exist, or is malformed past the name, uses tokens up as well."""
        for path in ("/deployments/shop/nope/replicas", "/deployments/nope", "/deployments/shop/nope/replicas"):
            self.assertEqual(self.server.get(path).status, 404)
        self.assertEqual(self.reads(1), [429])

    def test_writes_that_come_too_often_are_audited(self) -> None:
        """A write that was refused for its rate is a refusal; a read that was is not worth a line."""
        self.reads(9)
        self.put()
        self.put()
        records = self.server.audit.records
        outcomes = [(record.outcome, record.status, record.action) for record in records]
        self.assertEqual(outcomes, [("changed", 200, "scale"), ("too many requests", 429, "scale")])
        self.assertEqual((records[1].identity, records[1].namespace, records[1].name), (ALICE.name, "shop", "web"))


class HoldBackTests(LimitedTests):
    """A connection whose client asks too often is read from no more, for a second at most."""

    def test_it_is_read_from_again_within_a_second(self) -> None:
        """The bound holds even where the next token is far away."""
        self.assertEqual(HOLD_SECONDS, 1.0)
        wire = self.server.connect()
        put = b"PUT /namespaces/shop/deployments/web/replica_count/4 HTTP/1.1\r\nHost: a\r\n\r\n"
        wire.send(put)
        self.assertFalse(wire.paused)
        self.assertEqual([answer.status for answer in wire.send(put)], [200, 429])
        self.assertTrue(wire.paused)
        self.server.clock.advance(HOLD_SECONDS)
        self.assertFalse(wire.paused)
        self.assertEqual([answer.status for answer in wire.send(GET)], [200, 429, 200])

    def test_a_pipelined_flood(self) -> None:
        """However much is sent at once, it is answered no faster than the rate and the pauses let it."""
        wire = self.server.connect()
        wire.write(GET * 40)
        self.assertEqual([answer.status for answer in wire.answers()], [200, 200, 200, 429])
        self.server.clock.advance(0.4)
        self.assertEqual(len(wire.answers()), 4)
        self.server.clock.pump([0.1] * 200)
        answers = [answer.status for answer in wire.answers()]
        self.assertEqual(len(answers), 40, "everything is answered in the end")
        self.assertGreaterEqual(answers.count(200), 20)
        self.assertFalse(wire.paused)

    def test_others_are_not_held_back(self) -> None:
        """Another client's connection goes on as if nothing were."""
        flooding, other = self.server.connect(), self.server.connect()
        flooding.write(GET * 40)
        self.server.clients.who = replace(ALICE, name="bob")
        self.assertEqual([answer.status for answer in other.send(GET)], [200])
        self.assertEqual((flooding.paused, other.paused), (True, False))

    def test_it_leaves_nothing_behind(self) -> None:
        """A client that hangs up while it is held back leaves no timer."""
        wire = self.server.connect()
        wire.write(GET * 10)
        wire.hang_up()
        self.server.site.access.flush()
        self.assertEqual(self.server.clock.getDelayedCalls(), [])

    def test_a_peer_that_does_not_read_either(self) -> None:
        """The end of the pause is no reason to read on from a client that does not take its answers."""
        wire = self.server.connect()
        wire.write(GET * 20)
        wire.stop_reading()
        answered = len(wire.answers())
        self.server.clock.advance(HOLD_SECONDS)
        self.server.clock.advance(HOLD_SECONDS)
        self.assertEqual((wire.paused, len(wire.answers())), (True, answered))
        wire.read_on()
        self.assertGreater(len(wire.answers()), answered)
        wire.stop_reading()
        self.server.clock.pump([1.0] * int(WRITE_SECONDS))
        self.assertTrue(wire.aborted)
