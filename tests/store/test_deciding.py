"""Whether a state that was loaded may replace the one that readers were shown."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.store.contents import Contents
from sre_server.store.deciding import BEHIND_SECONDS, Shown
from sre_server.store.records import place_of
from tests.fakes import deployment
from tests.store.memory import SOURCES


def contents(replicas: int) -> Contents:
    """Make contents of one Deployment."""
    made, item = Contents(SOURCES), deployment(replicas=replicas)
    made.set(place_of(item), item)
    return made


class ShownTests(SynchronousTestCase):
    """A count of 3 was shown, as of two resourceVersions, of a cluster that was restored once."""

    def setUp(self) -> None:
        """Show it."""
        self.shown = Shown(contents(3), ["10", "20"], 1, 500.0)

    def may(self, replicas: int, versions: list[str], restored: int = 1, after: float = 1.0) -> bool:
        """Ask whether this may be shown instead, so long after it was found to be there."""
        return self.shown.may_give_way(contents(replicas), versions, restored, 500.0 + after)

    def test_behind(self) -> None:
        """What is older in any respect would take readers back."""
        self.assertFalse(self.may(4, ["9", "20"]))
        self.assertFalse(self.may(4, ["10", "19"]))
        self.assertFalse(self.may(4, ["9", "21"], restored=0))

    def test_caught_up(self) -> None:
        """What is as new in every respect may be shown."""
        self.assertTrue(self.may(4, ["10", "20"]))
        self.assertTrue(self.may(4, ["11", "100"]))

    def test_the_same(self) -> None:
        """Older versions of the very same objects take nobody back."""
        self.assertTrue(self.may(3, ["9", "19"]))

    def test_restored(self) -> None:
        """A cluster that was restored since goes back, and readers with it."""
        self.assertTrue(self.may(4, ["1", "1"], restored=2))

    def test_behind_for_too_long(self) -> None:
        """Whoever stays behind for so long is not behind: the cluster itself went back."""
        self.assertFalse(self.may(4, ["9", "19"], after=BEHIND_SECONDS - 0.1))
        self.assertTrue(self.may(4, ["9", "19"], after=BEHIND_SECONDS))


class ReuseTests(SynchronousTestCase):
    """What is loaded again is not kept twice."""

    def test_equal_objects_are_one(self) -> None:
        """An object that is as it was is the same one; a changed, a new and a missing one are as they are loaded."""
        known, loaded = Contents(SOURCES), Contents(SOURCES)
        for name, replicas in (("same", 3), ("changed", 3), ("gone", 3)):
            item = deployment(name, replicas=replicas)
            known.set(place_of(item), item)
        items = [deployment(name, replicas=replicas) for name, replicas in (("same", 3), ("changed", 4), ("new", 3))]
        for item in items:
            loaded.set(place_of(item), item)
        loaded.reuse(known)
        self.assertEqual(sorted(place[1] for place, _ in loaded), ["changed", "new", "same"])
        same, changed, new = (loaded.get(place_of(item)) for item in items)
        self.assertIs(same, known.get(place_of(items[0])))
        self.assertIs(changed, items[1])
        self.assertIs(new, items[2])
