"""Turns: nobody's requests wait for more of another client's than one slice."""

from functools import partial

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.web.turns import MAX_CLIENTS, SLICE_SECONDS, Turns


class TurnsTests(SynchronousTestCase):
    """Requests that each take half a slice."""

    def setUp(self) -> None:
        """Note who is served."""
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.served: list[str] = []

    def take(self, *clients: str) -> None:
        """Ask once for each of the clients."""
        for client in clients:
            self.turns.take(client, partial(self._serve, client))

    def _serve(self, client: str) -> None:
        self.served.append(client)
        self.clock.rightNow += SLICE_SECONDS / 2

    def test_served_at_once(self) -> None:
        """A client within its slice is served when it asks."""
        self.take("alice", "bob")
        self.assertEqual(self.served, ["alice", "bob"])

    def test_a_flood_waits_and_others_do_not(self) -> None:
        """What a client asks beyond its slice waits for the next turn; another client is served before it."""
        self.take(*["mallory"] * 5, "alice")
        self.assertEqual(self.served, ["mallory", "mallory", "alice"])
        self.clock.advance(0)
        self.assertEqual(self.served[3:], ["mallory"] * 3)

    def test_a_turn_that_begins(self) -> None:
        """Where it is known when, a client has its slice anew, whatever it used of those before."""
        for _ in range(5):
            self.take("alice")
            self.turns.begin()
        self.assertEqual((self.served, self.clock.getDelayedCalls()), (["alice"] * 5, []))

    def test_a_turn_that_begins_while_some_wait(self) -> None:
        """They are served first: nothing overtakes what the same client has asked before."""
        self.take(*["mallory"] * 3)
        self.turns.begin()
        self.assertFalse(self.turns.has_time("mallory"))
        self.clock.advance(0)
        self.assertEqual((self.served, self.turns.has_time("mallory")), (["mallory"] * 3, True))

    def test_order_is_kept(self) -> None:
        """A client's requests are served in the order in which it asked, even when its slice is new."""
        done: list[int] = []

        def serve(number: int) -> None:
            done.append(number)
            self.clock.rightNow += SLICE_SECONDS

        for number in range(4):
            self.turns.take("alice", partial(serve, number))
        self.clock.pump([0] * 5)
        self.assertEqual(done, [0, 1, 2, 3])

    def test_one_that_fails(self) -> None:
        """One that cannot be served when its turn comes is logged, and nobody else misses a turn for it."""
        self.take("mallory", "mallory")
        self.turns.take("mallory", lambda: 1 // 0)
        self.take("mallory", "alice", "alice", "alice")
        self.clock.pump([0] * 5)
        self.assertEqual((self.served.count("mallory"), self.served.count("alice")), (3, 3))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nothing_stays_scheduled(self) -> None:
        """Once everybody was served no timer is left."""
        self.take(*["mallory"] * 5)
        self.clock.pump([0] * 5)
        self.assertEqual((len(self.served), self.clock.getDelayedCalls()), (5, []))

    def test_many_clients_that_ask_for_little(self) -> None:
        """Clients are forgotten in time, even where none of them ever uses up its slice."""
        for number in range(MAX_CLIENTS * 3):
            self.turns.spend(f"client {number}", SLICE_SECONDS / 9)
            if number % 10 == 0:
                self.clock.advance(0)
        self.assertLessEqual(len(self.turns._used), MAX_CLIENTS + 10)
