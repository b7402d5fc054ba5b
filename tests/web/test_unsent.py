"""Long answers: written as they are read, and no more of them for one client than it may leave unread."""

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.authorization import Verb
from sre_server.security.limits import Rate
from sre_server.web import unsent
from sre_server.web.unsent import LONG_BYTES, Unsent
from tests.fakes import deployment, namespace
from tests.memory_client import Wire
from tests.memory_server import ALICE, MemoryServer

PATH = b"GET /deployments/shop HTTP/1.1\r\nHost: a\r\n\r\n"


class UnsentTests(SynchronousTestCase):
    """A list of some 300 kB, which counts as too long to be written whole."""

    def setUp(self) -> None:
        """Serve it."""
        self.patch(unsent, "UNSENT_BYTES", 700_000)
        self.server = MemoryServer(limits={Verb.READ: Rate(1, 1000)}).sync(
            namespace("shop"), *(deployment(f"{'x' * 200}-{number}", "shop") for number in range(1500))
        )
        self.length = len(self.server.get("/deployments/shop").body)
        self.assertGreater(self.length, 4 * LONG_BYTES)

    def ask(self) -> Wire:
        """Ask for it on a connection that takes no more than a transport has room for."""
        wire = self.server.connect()
        wire.fill_up()
        wire.write(PATH)
        return wire

    def written(self, wire: Wire) -> int:
        """How many bytes have been handed to the transport."""
        return len(wire._transport.value())

    def test_written_as_it_is_read(self) -> None:
        """Of a long answer no more is written than the transport takes; the rest follows as the client reads."""
        self.server.site.lane = None
        wire = self.ask()
        self.assertLess(self.written(wire), 2 * LONG_BYTES)
        wire.read_on()
        self.assertEqual([len(answer.body) for answer in wire.answers()], [self.length])
        self.assertEqual(wire.send(PATH)[1].status, 200)

    def test_a_client_that_reads_nothing(self) -> None:
        """Past its bound it is answered 429 on every further connection, whichever way its lists take."""
        for lane in (self.server.site.lane, None):
            self.server.site.lane = lane
            wires = [self.ask() for _ in range(2)]
            refused = self.ask()
            self.assertEqual([answer.status for answer in refused.answers()], [429])
            self.assertEqual(refused.answers()[0].header("Retry-After"), "1")
            self.assertIsNone(refused.answers()[0].header("ETag"))
            self.server.clients.who = replace(ALICE, name="bob")
            self.assertEqual(self.server.get("/deployments/shop").status, 200)
            self.server.clients.who = ALICE
            wires[0].read_on()
            self.assertEqual(self.server.get("/deployments/shop").status, 200)
            for wire in (*wires, refused):
                wire.hang_up()

    def test_what_a_refusal_costs(self) -> None:
        """It is charged for once, whichever way the list would have taken."""
        self.server.site.unsent.add(ALICE.name, 700_000)
        cost, left = 1 + self.length // LONG_BYTES, []
        for lane in (self.server.site.lane, None):
            self.server.site.lane = lane
            (answer,) = self.server.connect().send(PATH)
            left.append((answer.header("RateLimit") or "").split(";")[1])
        self.assertEqual(left, [f"r={1000 - 2 * cost}", f"r={1000 - 3 * cost}"])

    def test_nothing_is_left(self) -> None:
        """However a long answer ends, it counts no more."""
        for lane in (self.server.site.lane, None):
            self.server.site.lane = lane
            for _ in range(5):
                for wire in (self.ask(), self.ask()):
                    wire.hang_up()
            for wire in (self.ask(), self.ask()):
                wire.read_on()
                self.assertEqual([answer.status for answer in wire.answers()], [200])
        self.assertTrue(self.server.site.unsent.has_room(ALICE.name, 700_000))

    def test_one_answer_may_be_longer(self) -> None:
        """A list that is longer than the bound is answered, one at a time; what is short always is."""
        counted = Unsent()
        self.assertTrue(counted.has_room("alice", 10**9))
        counted.add("alice", 10**9)
        self.assertFalse(counted.has_room("alice", LONG_BYTES + 1))
        self.assertTrue(counted.has_room("alice", LONG_BYTES))
        self.assertTrue(counted.has_room("bob", 10**9))
        counted.remove("alice", 10**9)
        self.assertTrue(counted.has_room("alice", 10**9))
