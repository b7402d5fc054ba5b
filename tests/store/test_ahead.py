"""How far another machine's clock is ahead, at most."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.store.ahead import WINDOW_SECONDS, Ahead
from sre_server.store.records import Position


class AheadTests(SynchronousTestCase):
    """What is known of a watcher's clock that shows 1000 more than ours."""

    def setUp(self) -> None:
        """Read the first entry, which no read had missed before."""
        self.ahead = Ahead()
        self.ahead.entry(Position(7, 1), 1001.0)

    def follow(self, seq: int, sent_at: float, answered: float | None, epoch: int = 7) -> float | None:
        """Send a read that finds nothing, and then an entry with the time of the answer to the one before it."""
        self.ahead.read(sent_at)
        self.ahead.entry(Position(epoch, seq), answered)
        return self.ahead.seconds

    def test_two_entries_in_a_row(self) -> None:
        """A bound takes an entry that a read did not find yet, and the time at which its append was answered."""
        self.assertIsNone(self.ahead.seconds)
        self.assertIsNone(self.follow(2, 2.0, 1002.0), "no read had missed the entry before")
        self.assertEqual(self.follow(3, 3.0, 1002.5), 1000.5)

    def test_the_least_counts(self) -> None:
        """A read that was sent later bounds it better; one that was sent earlier changes nothing."""
        for seq, (sent_at, answered, bound) in enumerate(
            [(2.0, 1002.0, None), (3.0, 1002.4, 1000.4), (4.0, 1003.2, 1000.2), (5.0, 1004.9, 1000.2)], 2
        ):
            self.assertEqual(self.follow(seq, sent_at, answered), bound)

    def test_what_says_nothing(self) -> None:
        """An entry with another one missing before it, or whose append was never answered, bounds nothing."""
        self.follow(2, 2.0, 1002.0)
        self.assertIsNone(self.follow(4, 3.0, 1003.0))
        self.assertIsNone(self.follow(5, 4.0, None))
        self.assertEqual(self.follow(6, 5.0, 1004.25), 1000.25)

    def test_another_connection(self) -> None:
        """What a read on another connection did not find may be in the copy that this one reads."""
        self.follow(2, 2.0, 1002.0)
        self.ahead.reconnected()
        self.ahead.entry(Position(7, 3), 1002.5)
        self.assertIsNone(self.ahead.seconds)
        self.ahead.entry(Position(7, 4), 1003.5)
        self.assertIsNone(self.ahead.seconds)

    def test_another_epoch(self) -> None:
        """Another watcher has another clock; the bound of one goes with it, and that of its last entry, too."""
        self.follow(2, 2.0, 1002.0)
        self.assertEqual(self.follow(3, 3.0, 1002.5), 1000.5)
        self.assertIsNone(self.follow(4, 4.0, 9.0, epoch=8))
        self.assertEqual(self.follow(5, 5.0, 9.5, epoch=8), 5.5)

    def test_clocks_drift(self) -> None:
        """The least bound counts for the window in which it was found, and for the next one."""
        self.follow(2, 2.0, 1002.0)
        self.assertEqual(self.follow(3, 2.0 + WINDOW_SECONDS, 1002.1), 1000.1)
        self.assertEqual(self.follow(4, 3.0 + WINDOW_SECONDS, 1002.3 + WINDOW_SECONDS), 1000.1)
        self.assertEqual(self.follow(5, 2.0 + 2 * WINDOW_SECONDS, 1003.4 + WINDOW_SECONDS), 1000.1)
        self.assertEqual(self.follow(6, 3.0 + 2 * WINDOW_SECONDS, 1002.5 + 2 * WINDOW_SECONDS), 1000.3)
