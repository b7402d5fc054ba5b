"""What the cache answers after lists and events; a Clock is its time, and nothing else moves."""

from collections.abc import Sequence

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cache import ClusterCache
from sre_server.errors import Unavailable
from sre_server.model import Deployment, Guards, Namespace, Owners, Unreadable
from sre_server.news import Change, Changed, Deleted, Event, Listed, Put, Resource, Source
from tests.fakes import deployment, namespace, populated
from tests.wire import by_name

NAMESPACES = Source(Resource.NAMESPACES)
DEPLOYMENTS = Source(Resource.DEPLOYMENTS)


class CacheTestCase(SynchronousTestCase):
    """A cache of the whole cluster that has heard nothing yet."""

    def setUp(self) -> None:
        """Make the cache and its clock."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.cache = ClusterCache(self.clock.seconds, [NAMESPACES, DEPLOYMENTS], max_staleness=120)

    def list_deployments(self, *items: Deployment, version: str = "100", source: Source = DEPLOYMENTS) -> None:
        """Apply a list that was asked for now."""
        self.cache.apply(Listed(source, version, self.clock.seconds(), deployments=by_name(items)))

    def list_namespaces(self, *items: Namespace) -> None:
        """Apply a list that was asked for now."""
        named = {item.name: item for item in items}
        self.cache.apply(Listed(NAMESPACES, "100", self.clock.seconds(), namespaces=named))

    def change(self, *changes: Change, source: Source = DEPLOYMENTS) -> None:
        """Apply events of a watch."""
        self.cache.apply(Changed(source, self.clock.seconds(), changes))

    def names(self) -> dict[str, Sequence[str]]:
        """Tell which Deployments there are, by namespace."""
        return {namespace: sorted(deployments) for namespace, deployments in populated(self.cache).items()}


class FirstSyncTests(CacheTestCase):
    """Nothing is answered before a complete list of every source."""

    def test_unsynced_until_every_source_was_listed(self) -> None:
        """Each source counts as unsynced until its own first list."""
        self.assertEqual(self.cache.unsynced, [NAMESPACES, DEPLOYMENTS])
        self.list_deployments()
        self.assertEqual(self.cache.unsynced, [NAMESPACES])
        with self.assertRaises(Unavailable) as raised:
            self.cache.check_synced()
        self.assertIn("namespaces", str(raised.exception))
        self.assertEqual(raised.exception.retry_after, 2)
        self.list_namespaces()
        self.assertEqual(self.cache.unsynced, [])
        self.cache.check_synced()

    def test_empty_list_is_a_sync(self) -> None:
        """A cluster without anything in it is known completely: readiness is no matter of being non-empty."""
        self.list_namespaces()
        self.list_deployments()
        self.cache.check_fresh()
        self.assertEqual(sorted(self.cache.tree()), [])
        self.assertEqual(self.names(), {})

    def test_changes_before_the_first_list_are_ignored(self) -> None:
        """An event that comes before its source's first list leaves nothing behind, and is no sign of a sync."""
        self.change(Put(deployment()))
        self.change(Put(namespace()), source=NAMESPACES)
        self.assertEqual(self.cache.unsynced, [NAMESPACES, DEPLOYMENTS])
        self.assertEqual(self.names(), {})
        self.assertEqual(sorted(self.cache.tree()), [])

    def test_freshness_needs_a_sync_first(self) -> None:
        """An unsynced cache is not fresh, whatever staleness a client would tolerate."""
        self.assertRaises(Unavailable, self.cache.check_fresh, float("inf"))


class AgeTests(CacheTestCase):
    """The cache is as old as what was heard last of its slowest source, and says so."""

    def setUp(self) -> None:
        """Sync both sources."""
        super().setUp()
        self.list_namespaces()
        self.list_deployments()

    def test_age_is_that_of_the_slowest_source(self) -> None:
        """A source that goes silent makes the whole cache old, however lively the others are."""
        self.assertEqual(self.cache.age(), 0)
        self.clock.advance(7)
        self.change()
        self.assertEqual(self.cache.age(), 7)
        self.clock.advance(3)
        self.change(source=NAMESPACES)
        self.assertEqual(self.cache.age(), 3)

    def test_age_counts_from_what_was_heard(self) -> None:
        """What counts is when the cluster said it, not when that arrived; a list is as old as the question for it."""
        self.clock.advance(50)
        self.cache.apply(Changed(DEPLOYMENTS, self.clock.seconds() - 5))
        self.cache.apply(Listed(NAMESPACES, "100", self.clock.seconds() - 40))
        self.assertEqual(self.cache.age(), 40)
        self.cache.apply(Changed(NAMESPACES, self.clock.seconds()))
        self.assertEqual(self.cache.age(), 5)

    def test_sign_of_life_refreshes(self) -> None:
        """A batch without changes, as a bookmark makes, is news enough."""
        self.clock.advance(500)
        self.assertRaises(Unavailable, self.cache.check_fresh)
        self.change()
        self.change(source=NAMESPACES)
        self.cache.check_fresh()

    def test_staleness_bound(self) -> None:
        """Exactly at the bound the cache is fresh, past it it is not, and the refusal says how old it is."""
        self.clock.advance(120)
        self.cache.check_fresh()
        self.clock.advance(0.5)
        with self.assertRaises(Unavailable) as raised:
            self.cache.check_fresh()
        self.assertIn("The cluster was last heard from 121 s ago", str(raised.exception))
        self.assertIn("max-stale", str(raised.exception))
        self.assertEqual(raised.exception.retry_after, 5)

    def test_tolerance_widens_the_bound(self) -> None:
        """A client that tolerates more staleness is answered for so much longer."""
        self.clock.advance(150)
        self.cache.check_fresh(tolerance=30)
        self.assertRaises(Unavailable, self.cache.check_fresh, 29)
        self.cache.check_fresh(tolerance=float("inf"))

    def test_write_is_no_news_of_the_cluster(self) -> None:
        """A write of ours does not make what is known of everything else younger."""
        self.clock.advance(9)
        self.cache.written(deployment())
        self.assertEqual(self.cache.age(), 9)


class ListTests(CacheTestCase):
    """A list replaces what its source told before."""

    def test_list_replaces_atomically(self) -> None:
        """What a list does not hold is gone, and what it holds is there."""
        self.list_deployments(deployment("a"), deployment("b"), deployment("c", "other"))
        self.list_deployments(deployment("b", replicas=9, version="20"), deployment("d"))
        self.assertEqual(self.names(), {"shop": ["b", "d"]})
        self.assertEqual(self.cache.deployment("shop", "b").replicas, 9)

    def test_reader_keeps_its_world(self) -> None:
        """What a reader holds is not changed by the next list: it is the old world, never a mix."""
        self.list_deployments(deployment("a"), deployment("b"))
        held = populated(self.cache)
        self.list_deployments(deployment("c"))
        self.assertEqual(sorted(held["shop"]), ["a", "b"])

    def test_list_is_copied(self) -> None:
        """Events that follow a list do not change the list itself, which a thread may still hold."""
        listed = Listed(DEPLOYMENTS, "100", 0, deployments=by_name([deployment("a")]))
        self.cache.apply(listed)
        self.change(Put(deployment("b")), Deleted(deployment("a")))
        self.assertEqual(listed.deployments, by_name([deployment("a")]))

    def test_namespaces_and_deployments_replace_apart(self) -> None:
        """A list of namespaces leaves the Deployments alone, and the other way round."""
        self.list_deployments(deployment("a"))
        self.list_namespaces(namespace("shop"), namespace("empty"))
        self.assertEqual(self.names(), {"shop": ["a"]})
        self.list_deployments()
        self.assertEqual(sorted(self.cache.tree()), ["empty", "shop"])


class EventTests(CacheTestCase):
    """Events apply in order; the UID is an object's identity."""

    def setUp(self) -> None:
        """Start with one Deployment in one namespace."""
        super().setUp()
        self.list_namespaces(namespace("shop"))
        self.list_deployments(deployment("web", version="10"))

    def test_added_and_modified(self) -> None:
        """The last state that was told of a Deployment is the one that is answered."""
        self.change(Put(deployment("api", version="11")), Put(deployment("web", replicas=8, version="12")))
        self.assertEqual(self.names(), {"shop": ["api", "web"]})
        self.assertEqual(self.cache.deployment("shop", "web").replicas, 8)

    def test_deleted(self) -> None:
        """A deleted Deployment is gone; its namespace stays."""
        self.change(Deleted(deployment("web", version="11")))
        self.assertEqual(self.names(), {})
        self.assertEqual(self.cache.tree("shop")["shop"], {})

    def test_same_state_again(self) -> None:
        """What tells nothing new changes nothing: the object that was known is the one that stays."""
        known = self.cache.find("shop", "web")
        self.change(Put(deployment()))
        self.assertIs(self.cache.find("shop", "web"), known)
        self.cache.written(deployment(replicas=7, version="500"))
        written = self.cache.find("shop", "web")
        self.change(Put(deployment(replicas=7, version="500")))
        self.assertIs(self.cache.find("shop", "web"), written)

    def test_what_a_write_does_not_say(self) -> None:
        """A Scale has neither annotations nor owners: what is known of them stays."""
        known = replace(deployment(version="11"), guards=Guards("2", "9", "true"), owners=Owners("kubectl"))
        self.change(Put(known))
        self.cache.written(deployment(replicas=7, version="500"))
        left = self.cache.deployment("shop", "web")
        self.assertEqual((left.replicas, left.guards, left.owners), (7, known.guards, known.owners))

    def test_delete_of_another_incarnation_is_ignored(self) -> None:
        """A DELETED event with another UID does not touch the Deployment that bears the name now."""
        self.change(Deleted(deployment("web", version="11", uid="an older one")))
        self.assertEqual(self.names(), {"shop": ["web"]})

    def test_recreated(self) -> None:
        """A Deployment deleted and recreated is the new one, whether or not the deletion was told."""
        self.change(Put(deployment("web", version="12", uid="second", replicas=1)))
        self.change(Deleted(deployment("web", version="11")))
        self.assertEqual(self.cache.deployment("shop", "web").uid, "second")
        self.change(Deleted(deployment("web", version="13", uid="second")), Put(deployment("web", uid="third")))
        self.assertEqual(self.cache.deployment("shop", "web").uid, "third")

    def test_delete_of_the_unknown_is_ignored(self) -> None:
        """A DELETED event for what was never told of changes nothing."""
        self.change(Deleted(deployment("ghost")), Deleted(deployment("web", "elsewhere")))
        self.assertEqual(self.names(), {"shop": ["web"]})

    def test_namespace_comes_and_goes(self) -> None:
        """A namespace appears with its event and goes with its deletion, by UID like everything else."""
        self.change(Put(namespace("new", uid="2")), source=NAMESPACES)
        self.assertEqual(sorted(self.cache.tree()), ["new", "shop"])
        self.change(Deleted(namespace("new", uid="1")), source=NAMESPACES)
        self.assertTrue("new" in self.cache.tree())
        self.change(Deleted(namespace("new", uid="2")), Deleted(namespace("never")), source=NAMESPACES)
        self.assertEqual(sorted(self.cache.tree()), ["shop"])


class LostWriteTests(CacheTestCase):
    """Writes of ours that the cluster does not know of any more: it was restored from a backup, and went on."""

    def setUp(self) -> None:
        """Have heard of a Deployment."""
        super().setUp()
        self.list_deployments(deployment(replicas=3, version="90"))
        self.heard: list[Event] = []
        self.cache.subscribe(self)

    def applied(self, event: Event) -> None:
        """Remember it."""
        self.heard.append(event)

    def bookmark(self, version: str) -> None:
        """Be told that all is known by a version."""
        self.cache.apply(Changed(DEPLOYMENTS, self.clock.seconds(), version=version))

    def test_passed_without_a_word(self) -> None:
        """What the cluster told before counts again, or what it told since, and listeners are told; the rest stays."""
        for told in (None, deployment(replicas=4, version="95")):
            self.list_deployments(deployment(replicas=3, version="90"))
            self.cache.written(deployment(replicas=7, version="100"))
            self.cache.written(deployment(replicas=9, version="102"))
            if told:
                self.change(Put(told))
            self.bookmark("102")
            self.assertEqual(self.cache.deployment("shop", "web").replicas, 9)
            self.heard.clear()
            self.bookmark("103")
            expected = told or deployment(replicas=3, version="90")
            self.assertEqual(self.cache.deployment("shop", "web"), expected)
            (event,) = self.heard
            self.assertEqual(event, Changed(DEPLOYMENTS, self.clock.seconds(), [Put(expected, gap=True)], "103"))
            self.assertTrue(self.cache.is_heard("shop", "web"))

    def test_listed_meanwhile(self) -> None:
        """What a list had that was made before the write counts as told, and so does that it had nothing."""
        for items, count in (([deployment(replicas=5, version="96")], 5), ([], None)):
            self.clock.advance(1)
            self.list_deployments(deployment(replicas=3, version="90"))
            self.clock.advance(1)
            self.cache.written(deployment(replicas=7, version="102"))
            asked_at = self.clock.seconds() - 0.5
            self.cache.apply(Listed(DEPLOYMENTS, "101", asked_at, deployments=by_name(items)))
            self.assertEqual(self.cache.deployment("shop", "web").replicas, 7)
            self.bookmark("103")
            found = self.cache.find("shop", "web")
            self.assertEqual(found and found.replicas, count)

    def test_deleted_meanwhile(self) -> None:
        """What was told before the write of a successor, and was deleted, does not come back."""
        self.cache.written(deployment(replicas=7, version="102", uid="successor"))
        self.change(Deleted(deployment(replicas=3, version="95")))
        self.assertEqual(self.cache.deployment("shop", "web").replicas, 7)
        self.bookmark("103")
        self.assertIsNone(self.cache.find("shop", "web"))

    def test_never_heard_of(self) -> None:
        """A Deployment that was known by the write alone is not there."""
        self.cache.written(deployment("new", version="101"))
        self.bookmark("102")
        self.assertIsNone(self.cache.find("shop", "new"))

    def test_told_along_with_it(self) -> None:
        """A write is not lost that comes in the same news as what is newer; nor one of another namespace's scope."""
        self.cache.written(deployment(replicas=7, version="100"))
        newer = deployment(replicas=7, version="100")
        self.change(Put(newer), Put(deployment("other", version="101")))
        self.assertEqual(self.cache.deployment("shop", "web"), newer)

    def test_versions_that_cannot_be_compared(self) -> None:
        """Nothing is concluded from them."""
        self.cache.written(deployment(replicas=7, version="abc"))
        self.bookmark("xyz")
        self.assertEqual(self.cache.deployment("shop", "web").replicas, 7)


class UnreadableTests(CacheTestCase):
    """A Deployment that is there, and cannot be read."""

    def setUp(self) -> None:
        """Know one Deployment."""
        super().setUp()
        self.list_namespaces(namespace("shop"))
        self.list_deployments(deployment())

    def unreadable(self, version: str = "20") -> Unreadable:
        """Make the Deployment one that cannot be read."""
        return Unreadable("shop", "web", "uid-shop-web", version, why="it is too large.")

    def check_unreadable(self) -> None:
        """Check that it is neither a count nor missing."""
        with self.assertRaises(Unavailable) as raised:
            self.cache.deployment("shop", "web")
        self.assertEqual(
            str(raised.exception), "The Deployment 'web' in the namespace 'shop' cannot be read: it is too large."
        )
        self.assertIsNone(self.cache.find("shop", "web"))
        self.assertIn("web", self.cache.tree("shop")["shop"])

    def test_becomes_unreadable(self) -> None:
        """By an event or in a list, and lists of its namespace are others then."""
        before = self.cache.revision("shop")
        self.change(Put(self.unreadable()))
        self.check_unreadable()
        self.assertNotEqual(self.cache.revision("shop"), before)
        self.setUp()
        self.list_deployments(self.unreadable())
        self.check_unreadable()

    def test_becomes_readable(self) -> None:
        """With the next event that can be read; and it may be deleted like any other."""
        self.change(Put(self.unreadable()))
        self.change(Put(deployment(replicas=9, version="21")))
        self.assertEqual(self.cache.deployment("shop", "web").replicas, 9)
        self.change(Put(self.unreadable("22")), Deleted(self.unreadable("23")))
        self.assertEqual(self.names(), {})

    def test_write_tells_its_count(self) -> None:
        """A write that the cluster answered says what the count is, until the watch tells of a later state."""
        self.change(Put(self.unreadable()))
        self.cache.written(deployment(replicas=7, version="30"))
        self.assertEqual(self.cache.deployment("shop", "web").replicas, 7)
        self.change(Put(self.unreadable("30")))
        self.assertEqual(self.cache.deployment("shop", "web").replicas, 7)
        self.change(Put(self.unreadable("31")))
        self.check_unreadable()
