"""What is remembered of clients' rights: bounded, and shared fairly."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.verdicts import REMEMBERED, Verdict, Verdicts

YES = Verdict(allowed=True, asked_at=1.0)


class VerdictsTests(SynchronousTestCase):
    """A hundred answers at most."""

    def setUp(self) -> None:
        """Make the memory."""
        self.verdicts = Verdicts(100)

    def test_the_last_answer(self) -> None:
        """Each client's own, by what was asked; a newer one takes its place."""
        self.verdicts.keep("alice", "web", YES)
        self.verdicts.keep("alice", "web", Verdict(allowed=False, asked_at=2.0))
        self.assertEqual(self.verdicts.find("alice", "web"), Verdict(allowed=False, asked_at=2.0))
        self.assertIsNone(self.verdicts.find("alice", "api"))
        self.assertIsNone(self.verdicts.find("bob", "web"))
        self.assertEqual(len(self.verdicts), 1)

    def test_bounds(self) -> None:
        """However many there are, so many are kept: the newest."""
        for number in range(1000):
            self.verdicts.keep("alice", number, YES)
            self.assertLessEqual(len(self.verdicts), 100)
        self.assertGreater(len(self.verdicts), 80)
        self.assertEqual(self.verdicts.find("alice", 999), YES)
        self.assertIsNone(self.verdicts.find("alice", 0))
        self.assertEqual(REMEMBERED, 65_536)

    def test_nobody_takes_anothers_place(self) -> None:
        """Whoever asks without end forgets answers of its own; those of clients that ask little stay."""
        for number in range(10):
            self.verdicts.keep(f"client-{number}", "web", YES)
        for number in range(1000):
            self.verdicts.keep("mallory", number, YES)
        for number in range(10):
            self.assertEqual(self.verdicts.find(f"client-{number}", "web"), YES)

    def test_many_clients(self) -> None:
        """However many clients there are, the bound holds, and nothing is left of those that are forgotten."""
        for number in range(1000):
            self.verdicts.keep(f"client-{number}", "web", YES)
        self.assertLessEqual(len(self.verdicts), 100)
        self.assertLessEqual(len(self.verdicts._of), 100)

    def test_as_many_clients_as_there_is_room(self) -> None:
        """Room is made for several clients at once, by those who have been there for the longest."""
        verdicts = Verdicts(at_most=128)
        for number in range(129):
            verdicts.keep(number, "everything", YES)
        self.assertEqual(len(verdicts), 126)
        self.assertEqual([verdicts.find(number, "everything") is None for number in range(4)], [True] * 3 + [False])
