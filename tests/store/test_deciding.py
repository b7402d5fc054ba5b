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
    """A count of 3 was shown, as of a resourceVersion, of a cluster that was restored once."""

    def setUp(self) -> None:
        """Show it."""
        self.shown = Shown(1, contents(3).by_source()[1], "20", 1)

    def may(self, version: str, restored: int = 1, after: float = 0.0) -> bool:
        """Ask whether this may be shown instead, so long after it was found to be there."""
        return self.shown.gives_way(version, restored, 500.0 + after)

    def undone(self, version: str, restored: int = 1) -> bool:
        """Ask whether the cluster went back."""
        return self.shown.is_undone(version, restored)

    def test_behind(self) -> None:
        """What is older would take readers back."""
        self.assertFalse(self.may("19"))
        self.assertFalse(self.may("9", restored=0))

    def test_caught_up(self) -> None:
        """What is as new may be shown, and undoes no write that was not heard of yet."""
        for version in ("20", "100"):
            self.assertTrue(self.may(version))
            self.assertFalse(self.undone(version))

    def test_the_same(self) -> None:
        """The very same objects at an older version are as good as heard; one more, less, or another are not."""
        self.assertFalse(self.may("19"))
        more = contents(3)
        more.set(place_of(deployment("api")), deployment("api"))
        for other, is_in in ((contents(3), True), (contents(4), False), (more, False), (Contents(SOURCES), False)):
            self.assertEqual(self.shown.is_in(other), is_in)

    def test_the_same_for_now(self) -> None:
        """Contents are compared again once something in them has changed."""
        other = contents(3)
        self.assertTrue(self.shown.is_in(other))
        other.set(place_of(deployment()), deployment(replicas=4))
        self.shown.changed()
        self.assertFalse(self.shown.is_in(other))

    def test_half_of_a_batch(self) -> None:
        """What was shown is as new as its newest object, where a version is known at all."""
        for version, may in (("20", False), ("0", True)):
            item = deployment(version="25")
            self.shown = Shown(1, {place_of(item): item}, version, 1)
            self.assertEqual(self.may("24"), may)
            self.assertTrue(self.may("25"))

    def test_restored(self) -> None:
        """A cluster that was restored since goes back, and readers with it."""
        self.assertTrue(self.may("1", restored=2))
        self.assertTrue(self.undone("1", restored=2))
        self.assertTrue(self.undone("30", restored=2))

    def test_behind_for_too_long(self) -> None:
        """Whoever stays behind for so long is not behind: the cluster itself went back. Nobody who catches up did."""
        self.assertFalse(self.may("19"))
        self.assertFalse(self.may("19", after=60))
        self.assertFalse(self.may("19", after=BEHIND_SECONDS - 0.1))
        self.assertFalse(self.undone("19"))
        self.assertTrue(self.may("19", after=BEHIND_SECONDS))
        self.assertTrue(self.undone("19"))
        self.assertFalse(self.undone("20"))

    def test_behind_after_a_silence(self) -> None:
        """Who heard nothing for so long, as it was forbidden, has yet to hear what was missed."""
        self.assertFalse(self.may("18"))
        for after, is_shown in ((3600, False), (3600.1, False), (3639, False), (3640, True)):
            self.assertEqual(self.may("19", after=after), is_shown, after)

    def test_behind_where_lists_alone_are_heard(self) -> None:
        """A watch that brings nothing is a list every 90 s: two of them, after the first one, are enough."""
        for after, is_shown in ((0, False), (91, False), (182, True)):
            self.assertEqual(self.may("19", after=after), is_shown, after)


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
