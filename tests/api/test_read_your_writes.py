"""A write that was answered is visible at once, and nothing older undoes it, in whatever order the news comes."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cache import ClusterCache
from sre_server.errors import NotFound
from sre_server.model import Deployment
from sre_server.news import Change, Changed, Deleted, Listed, Put, Resource, Source
from tests.fakes import deployment
from tests.wire import by_name

SOURCE = Source(Resource.DEPLOYMENTS)


class WrittenTestCase(SynchronousTestCase):
    """A cache in which `web` has 3 replicas at version 10, until a write sets 7 at version 20."""

    def setUp(self) -> None:
        """List one Deployment."""
        self.clock = Clock()
        self.cache = ClusterCache(self.clock.seconds, [SOURCE], max_staleness=120)
        self.list_begun(0, deployment(version="10"), version="10")
        self.clock.advance(100)

    def write(self, replicas: int = 7, version: str = "20", uid: str = "") -> None:
        """Answer a write."""
        self.cache.written(deployment(replicas=replicas, version=version, uid=uid))

    def change(self, *changes: Change) -> None:
        """Deliver events of the watch."""
        self.cache.apply(Changed(SOURCE, 0, changes))

    def list_begun(self, at: float, *items: Deployment, version: str) -> None:
        """Deliver a list that was asked for at a time."""
        self.cache.apply(Listed(SOURCE, version, at, deployments=by_name(items)))

    def replicas(self) -> int:
        """Read the count."""
        return self.cache.deployment("shop", "web").replicas


class EventTests(WrittenTestCase):
    """Events against a write."""

    def test_write_is_visible_at_once(self) -> None:
        """The count that a write was answered with is what the next read sees."""
        self.write()
        self.assertEqual(self.replicas(), 7)

    def test_write_of_the_unknown_is_visible_at_once(self) -> None:
        """A Deployment that the watch has yet to tell of is there once it was written, and so is its namespace."""
        self.cache.written(deployment("new", "elsewhere", replicas=5, version="20"))
        self.assertEqual(self.cache.deployment("elsewhere", "new").replicas, 5)
        self.assertTrue("elsewhere" in self.cache.tree())

    def test_older_event_does_not_undo_it(self) -> None:
        """An event from before the write that arrives late is ignored, and so is the next one."""
        self.write()
        self.change(Put(deployment(replicas=4, version="11")), Put(deployment(replicas=5, version="19")))
        self.assertEqual(self.replicas(), 7)

    def test_versions_are_compared_as_numbers(self) -> None:
        """An event of version 9 is older than a write of version 20."""
        self.write()
        self.change(Put(deployment(replicas=4, version="9")))
        self.assertEqual(self.replicas(), 7)

    def test_own_event_ends_the_guard(self) -> None:
        """Once the write's own event has come, events count again, whatever their version is."""
        self.write()
        self.change(Put(deployment(replicas=7, version="20")))
        self.assertEqual(self.replicas(), 7)
        self.change(Put(deployment(replicas=4, version="11")))
        self.assertEqual(self.replicas(), 4)

    def test_newer_event_wins(self) -> None:
        """What somebody else wrote after us is what is read."""
        self.write()
        self.change(Put(deployment(replicas=1, version="21")))
        self.assertEqual(self.replicas(), 1)

    def test_event_before_the_answer(self) -> None:
        """An answer that arrives after newer events is old news itself."""
        self.change(Put(deployment(replicas=7, version="20")), Put(deployment(replicas=1, version="21")))
        self.write()
        self.assertEqual(self.replicas(), 1)

    def test_answers_out_of_order(self) -> None:
        """Of two writes the later one counts, even if its answer came first."""
        self.write(replicas=8, version="21")
        self.write(replicas=7, version="20")
        self.assertEqual(self.replicas(), 8)
        self.change(Put(deployment(replicas=7, version="20")))
        self.assertEqual(self.replicas(), 8)


class DeletionTests(WrittenTestCase):
    """Deletions and recreations against a write."""

    def test_delete_wins(self) -> None:
        """A Deployment that is deleted after the write is gone."""
        self.write()
        self.change(Deleted(deployment(version="21")))
        self.assertRaises(NotFound, self.replicas)

    def test_recreated_after_a_delete(self) -> None:
        """The guard ends with the Deployment: what is created in its place is seen at once, whatever its version is."""
        self.write()
        self.change(Deleted(deployment(version="21")), Put(deployment(replicas=2, version="12", uid="second")))
        self.assertEqual(self.replicas(), 2)

    def test_delete_of_the_older_incarnation(self) -> None:
        """A write to the second incarnation outlives the late deletion of the first one, and its creation."""
        self.write(uid="second")
        self.change(Deleted(deployment(version="11")))
        self.assertEqual(self.replicas(), 7)
        self.change(Put(deployment(replicas=2, version="12", uid="second")))
        self.assertEqual(self.replicas(), 7)

    def test_delete_before_the_answer(self) -> None:
        """An answer that arrives after the deletion of its Deployment does not bring that back."""
        self.change(Put(deployment(replicas=7, version="20")), Deleted(deployment(version="21")))
        self.write()
        self.assertRaises(NotFound, self.replicas)

    def test_delete_listed_before_the_answer(self) -> None:
        """An answer that arrives after a list from which its Deployment is already gone does not bring it back."""
        self.list_begun(99, version="21")
        self.write()
        self.assertRaises(NotFound, self.replicas)


class ListTests(WrittenTestCase):
    """Lists against a write."""

    def test_list_from_before_the_write(self) -> None:
        """A list whose snapshot is older than the write keeps the write, and the guard stays."""
        self.write()
        self.list_begun(99, deployment(replicas=4, version="15"), deployment("api"), version="16")
        self.assertEqual(self.replicas(), 7)
        self.assertIn("api", self.cache.tree("shop")["shop"])
        self.change(Put(deployment(replicas=5, version="18")))
        self.assertEqual(self.replicas(), 7)

    def test_list_that_does_not_know_it_yet(self) -> None:
        """A list from before the creation of what was then written does not make it vanish."""
        self.cache.written(deployment("new", "elsewhere", version="20"))
        self.list_begun(99, deployment(), version="15")
        self.assertIn("new", self.cache.tree("elsewhere")["elsewhere"])

    def test_list_from_after_the_write(self) -> None:
        """A list with a later state of the Deployment replaces the write, and the guard ends."""
        self.write()
        self.list_begun(99, deployment(replicas=1, version="25"), version="30")
        self.assertEqual(self.replicas(), 1)
        self.change(Put(deployment(replicas=2, version="5")))
        self.assertEqual(self.replicas(), 2)

    def test_list_of_the_write_itself(self) -> None:
        """A list with the very state that was written ends the guard."""
        self.write()
        self.list_begun(99, deployment(replicas=7, version="20"), version="30")
        self.assertEqual(self.replicas(), 7)
        self.change(Put(deployment(replicas=2, version="5")))
        self.assertEqual(self.replicas(), 2)

    def test_list_from_after_a_deletion(self) -> None:
        """A list that is later than the write and does not hold the Deployment means that it was deleted."""
        self.write()
        self.list_begun(99, version="30")
        self.assertRaises(NotFound, self.replicas)

    def test_restored_cluster(self) -> None:
        """A list that was asked for after the write counts, even if the cluster's versions went back."""
        self.write()
        self.list_begun(101, deployment(replicas=2, version="5"), version="6")
        self.assertEqual(self.replicas(), 2)
        self.change(Put(deployment(replicas=3, version="7")))
        self.assertEqual(self.replicas(), 3)

    def test_restored_cluster_without_the_deployment(self) -> None:
        """What a restored cluster no longer has is gone with the next list that is asked for."""
        self.write()
        self.list_begun(101, version="6")
        self.assertRaises(NotFound, self.replicas)

    def test_list_asked_for_at_the_same_instant(self) -> None:
        """Where a clock cannot tell which came first, the write is kept."""
        self.write()
        self.list_begun(100, deployment(replicas=4, version="15"), version="16")
        self.assertEqual(self.replicas(), 7)
