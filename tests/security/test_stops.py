"""How many Deployments each client has stopped lately."""

from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security import stops
from sre_server.security.guardrails import Mass
from sre_server.security.stops import Stops

MASS = Mass(count=3, minutes=1)


class StopsTests(SynchronousTestCase):
    """The count, and what is forgotten."""

    def setUp(self) -> None:
        """Remember nothing yet."""
        self.clock = Clock()
        self.stops = Stops(self.clock.seconds)

    def test_each_client_for_itself(self) -> None:
        """One client's do not count for another."""
        for _ in range(2):
            self.stops.note("alice", MASS)
        self.assertEqual([self.stops.lately(who, MASS) for who in ("alice", "bob")], [2, 0])

    def test_a_minute_later(self) -> None:
        """Each counts for as many minutes as the rule says, and not longer."""
        self.stops.note("alice", MASS)
        self.clock.advance(40)
        self.stops.note("alice", MASS)
        self.clock.advance(19.9)
        self.assertEqual(self.stops.lately("alice", MASS), 2)
        self.clock.advance(0.1)
        self.assertEqual(self.stops.lately("alice", MASS), 1)
        self.clock.advance(40)
        self.assertEqual(self.stops.lately("alice", MASS), 0)

    def test_no_more_than_matters(self) -> None:
        """Of more than the rule counts the latest are remembered, and of more clients than fit, too."""
        for _ in range(10):
            self.clock.advance(1)
            self.stops.note("alice", MASS)
        self.assertEqual(self.stops.lately("alice", MASS), 3)
        self.clock.advance(57.5)
        self.assertEqual(self.stops.lately("alice", MASS), 3)
        with patch.object(stops, "MAX_CLIENTS", 2):
            for who in ("bob", "alice", "carol"):
                self.stops.note(who, MASS)
        self.assertEqual([self.stops.lately(who, MASS) for who in ("bob", "alice", "carol")], [0, 3, 1])

    def test_who_stopped_nothing_lately(self) -> None:
        """Clients take up no memory once theirs counts no longer."""
        for number in range(100):
            self.stops.note(f"client-{number}", MASS)
        self.clock.advance(60)
        self.stops.note("alice", MASS)
        self.assertEqual(list(self.stops._times), ["alice"])
