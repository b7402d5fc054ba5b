"""What clients see, as far as it is known: bounded, shared where it is equal, and never kept for too long."""

import gc
import weakref

from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.known_views import KnownViews, WholeNamespaces
from sre_server.security.verdicts import REMEMBERED

NAMESPACES = ("shop", "pay")


def view(*names: str) -> WholeNamespaces:
    """A view of these namespaces."""
    return WholeNamespaces(frozenset(names))


class KnownViewsTests(SynchronousTestCase):
    """A hundred at most, of clients and namespaces together."""

    def setUp(self) -> None:
        """Know none."""
        self.views = KnownViews(100)

    def test_until_when(self) -> None:
        """A view is found until its time, by its own client, and for the very namespaces that it was made of."""
        shop = view("shop")
        self.assertIs(self.views.keep("alice", NAMESPACES, shop, 0, 10), shop)
        self.assertIs(self.views.find("alice", NAMESPACES, 9.9), shop)
        self.assertIsNone(self.views.find("alice", NAMESPACES, 10))
        self.assertIsNone(self.views.find("bob", NAMESPACES, 0))
        self.assertIsNone(self.views.find("alice", ("shop",), 0))

    def test_the_last_one(self) -> None:
        """Another one takes its place; one that is too old already is not kept, nor the one before it."""
        self.views.keep("alice", NAMESPACES, view("shop"), 0, 10)
        self.views.keep("alice", NAMESPACES, view("pay"), 1, 11)
        self.assertEqual(self.views.find("alice", NAMESPACES, 2), view("pay"))
        self.views.keep("alice", NAMESPACES, view("shop"), 3, 3)
        self.assertIsNone(self.views.find("alice", NAMESPACES, 3))
        self.assertEqual(len(self.views), 0)

    def test_equal_ones_are_shared(self) -> None:
        """As long as somebody has one of them; then nothing is left of it."""
        first = self.views.keep("alice", NAMESPACES, view("shop"), 0, 10)
        self.assertIs(self.views.keep("bob", NAMESPACES, view("shop"), 0, 10), first)
        gone = weakref.ref(first)
        del first
        for client in ("alice", "bob"):
            self.views.drop(client)
        gc.collect()
        self.assertIsNone(gone())

    def test_bounds(self) -> None:
        """However many clients there are, and however much they see, those go that were found first."""
        for number in range(1000):
            self.views.keep(number, NAMESPACES, view(*map(str, range(number % 7))), 0, 10)
            self.assertLessEqual(self.views._size, 100)
            self.assertEqual(self.views._size, sum(1 + len(known.view.allowed) for known in self.views._of.values()))
        self.assertGreater(len(self.views), 10)
        self.assertIsNotNone(self.views.find(999, NAMESPACES, 0))
        self.assertIsNone(self.views.find(0, NAMESPACES, 0))
        self.views.keep("alice", NAMESPACES, view(*map(str, range(100))), 0, 10)
        self.assertEqual(len(self.views), 0, "one that is too large")
        self.assertEqual(KnownViews()._at_most, REMEMBERED)

    def test_what_is_too_old_goes(self) -> None:
        """It does not wait until there is too much."""
        for number in range(10):
            self.views.keep(number, NAMESPACES, view("shop"), 0, 10)
        self.views.keep("alice", NAMESPACES, view("shop"), 10, 20)
        self.assertEqual(len(self.views), 1)
