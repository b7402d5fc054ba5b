"""The fast lane in time: reads that come when a client has used up its slice of a turn, or that come now and then."""

from itertools import count

from msgspec.structs import replace
from twisted.internet.defer import Deferred, succeed

from sre_server.security.asking import REMEMBER_SECONDS
from sre_server.security.delegation import KubernetesAuthorizer
from sre_server.security.questions import Question
from sre_server.web.site import IDLE_SECONDS
from sre_server.web.turns import SLICE_SECONDS
from tests.api.lanes import READS, LaneTests, get
from tests.memory_server import ALICE


class IdleTests(LaneTests):
    """Connections on which nothing is asked for a while."""

    def test_reads_keep_a_connection_open(self) -> None:
        """A connection is idle for as long as nothing was asked on it; once it closes, nothing is answered any more."""
        self.serve()
        wire = self.fast.connect()
        for _ in range(2):
            wire.write(get(READS[0]))
            self.fast.clock.advance(IDLE_SECONDS - 1)
        self.assertEqual((self.served, wire.closing), (2, False))
        self.fast.clock.advance(1)
        self.assertTrue(wire.closing)
        self.assertEqual((len(wire.send(get(READS[0]))), self.served), (2, 2))


class RememberedTests(LaneTests):
    """What the cluster has said of a client is remembered for a while."""

    def test_under_the_clusters_rbac(self) -> None:
        """The lane serves what the cluster is known to allow, and nothing that it refused or has yet to say again."""
        self.now, self.allowed = 0.0, "shop"

        def review(question: Question, *, for_write: bool) -> Deferred[bool]:
            return succeed(question.namespace == self.allowed)

        self.serve(KubernetesAuthorizer(review, lambda: self.now, 120))
        for _ in range(2):
            for path in READS:
                self.assert_same(get(path))
        self.assertEqual(self.served, 2 * sum("shop" in path for path in READS))
        self.now, self.allowed, self.served = REMEMBER_SECONDS, "elsewhere", 0
        for path in READS:
            self.assert_same(get(path))
            status = self.both(get(path))[1][0].status
            self.assertEqual(status != 200, "shop" in path or "empty" in path, path)
        self.assertEqual(self.served, 0)


class TurnTests(LaneTests):
    """Reads that come when a client has used up its slice of a turn."""

    def setUp(self) -> None:
        """Use it up."""
        self.serve()
        self.wire = self.fast.connect()
        self.turns = self.fast.site.turns
        self.turns.spend("alice", 1.0)

    def test_they_wait(self) -> None:
        """They are served in the next turn, by the lane."""
        self.assertEqual(self.wire.send(get(READS[3])), [])
        self.fast.clock.advance(0)
        self.assertEqual(([answer.status for answer in self.wire.answers()], self.served), ([200], 1))

    def test_what_comes_meanwhile(self) -> None:
        """What else the client sends waits behind them, and no more is read from it until then."""
        self.wire.write(get(READS[3]))
        self.wire.write(get(READS[0]) + get(READS[1])[:9])
        self.assertTrue(self.wire.paused)
        self.fast.clock.advance(0)
        self.assertEqual(([answer.status for answer in self.wire.answers()], self.wire.paused), ([200, 200], False))
        self.assertEqual(len(self.wire.send(get(READS[1])[9:])), 3)

    def test_the_rest_of_a_request(self) -> None:
        """A request that came in pieces meanwhile is served whole, and the client is read from again."""
        self.wire.write(get(READS[3])[:9])
        self.wire.write(get(READS[3])[9:])
        self.assertTrue(self.wire.paused)
        self.fast.clock.advance(0)
        self.assertEqual((len(self.wire.answers()), self.wire.paused, self.served), (1, False, 1))

    def test_what_reads_take(self) -> None:
        """What the lane takes for a read is of the client's slice."""
        self.fast.clock.advance(0)
        self.turns.now = count(step=SLICE_SECONDS / 2).__next__
        self.assertEqual([len(self.wire.send(get(READS[3]))) for _ in range(4)], [1, 2, 2, 2])

    def test_a_client_that_leaves(self) -> None:
        """Nothing is done for a client that has gone."""
        self.wire.write(get(READS[3]))
        self.wire.hang_up()
        self.fast.clock.advance(0)
        self.assertEqual((self.wire.answers(), self.served), ([], 0))

    def test_a_server_that_stops(self) -> None:
        """A drain answers what has waited, and then closes."""
        self.wire.write(get(READS[3]))
        drained = self.fast.site.drain()
        self.fast.clock.advance(0)
        self.assertEqual([answer.header("Connection") for answer in self.wire.answers()], ["close"])
        self.wire.hang_up()
        self.successResultOf(drained)

    def test_others_do_not_wait(self) -> None:
        """Another client is served at once."""
        self.fast.clients.who = replace(ALICE, name="bob")
        self.assertEqual([answer.status for answer in self.fast.connect().send(get(READS[3]))], [200])
