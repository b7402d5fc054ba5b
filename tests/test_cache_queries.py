"""What handlers ask of the cache: which namespaces exist, what is where, and why something is not."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cache import ClusterCache
from sre_server.errors import NotFound
from sre_server.model import Deployment, Namespace
from sre_server.news import Changed, Deleted, Listed, Put, Resource, Source, sources_of
from tests.fakes import deployment, namespace, populated
from tests.wire import by_name

NAMESPACES = Source(Resource.NAMESPACES)


class ExistenceTests(SynchronousTestCase):
    """A namespace exists if its own watch says so, or if a Deployment in it does."""

    def setUp(self) -> None:
        """Fill a cache whose two watches are not equally far."""
        self.source = Source(Resource.DEPLOYMENTS)
        self.cache = ClusterCache(Clock().seconds, [NAMESPACES, self.source], max_staleness=120)
        named = {"zoo": namespace("zoo"), "empty": namespace("empty")}
        self.cache.apply(Listed(NAMESPACES, "1", 0, namespaces=named))
        items = [deployment("web", "zoo"), deployment("api", "zoo"), deployment("early", "ahead")]
        self.cache.apply(Listed(self.source, "1", 0, deployments=by_name(items)))

    def test_namespaces_are_the_sorted_union(self) -> None:
        """A namespace of which only a Deployment is known yet counts, and all are sorted."""
        self.assertEqual(sorted(self.cache.tree()), ["ahead", "empty", "zoo"])
        self.assertTrue("ahead" in self.cache.tree())
        self.assertTrue("empty" in self.cache.tree())
        self.assertFalse("other" in self.cache.tree())

    def test_namespace_of_a_deployment_ends_with_it(self) -> None:
        """A namespace that is known only by its Deployment ends when the last of these does."""
        self.cache.apply(Changed(self.source, 0, [Deleted(deployment("early", "ahead"))]))
        self.assertFalse("ahead" in self.cache.tree())
        self.assertEqual(sorted(self.cache.tree()), ["empty", "zoo"])

    def test_deployments_without_namespaces_are_left_out(self) -> None:
        """The whole view has no namespace without Deployments."""
        self.assertEqual(sorted(populated(self.cache)), ["ahead", "zoo"])
        self.cache.apply(Changed(self.source, 0, [Deleted(deployment("early", "ahead"))]))
        self.assertEqual(sorted(populated(self.cache)), ["zoo"])

    def test_empty_namespace_has_no_deployments(self) -> None:
        """An existing namespace without Deployments is an empty answer, no error."""
        self.assertEqual(self.cache.tree("empty")["empty"], {})

    def test_missing_namespace_is_named(self) -> None:
        """A namespace that does not exist is what the error names, even when a Deployment was asked for."""
        for ask in (lambda: self.cache.check_namespace("nowhere"), lambda: self.cache.deployment("nowhere", "web")):
            with self.assertRaises(NotFound) as raised:
                ask()
            self.assertEqual(str(raised.exception), "The namespace 'nowhere' does not exist.")

    def test_missing_deployment_is_named(self) -> None:
        """A Deployment that does not exist in an existing namespace, empty or not, is what the error names."""
        for where in ("zoo", "empty"):
            with self.assertRaises(NotFound) as raised:
                self.cache.deployment(where, "nothing")
            message = f"The Deployment 'nothing' does not exist in the namespace '{where}'."
            self.assertEqual(str(raised.exception), message)

    def test_whole_cluster_serves_every_namespace(self) -> None:
        """Without limits no namespace is refused for being outside of them."""
        self.cache.check_served("anything")


class LimitedTests(SynchronousTestCase):
    """A server that was started for some namespaces has a source for each."""

    def setUp(self) -> None:
        """Make a cache for two namespaces."""
        self.shop, self.bank = Source(Resource.DEPLOYMENTS, "shop"), Source(Resource.DEPLOYMENTS, "bank")
        self.cache = ClusterCache(Clock().seconds, sources_of(["shop", "bank"]), max_staleness=120)
        for name in ("shop", "bank"):
            self.list_namespace(name, namespace(name))

    def list_namespace(self, name: str, *items: Namespace) -> None:
        """Apply a list of the one namespace that its source tells of, or of nothing."""
        named = {item.name: item for item in items}
        self.cache.apply(Listed(Source(Resource.NAMESPACES, name), "0", 0, namespaces=named))

    def list_one(self, source: Source, *items: Deployment) -> None:
        """Apply a list of one namespace."""
        self.cache.apply(Listed(source, "100", 0, deployments=by_name(items)))

    def test_unsynced_until_each_namespace_was_listed(self) -> None:
        """One namespace's list does not stand for another's."""
        self.list_one(self.shop, deployment())
        self.assertEqual(self.cache.unsynced, [self.bank])

    def test_list_replaces_its_own_namespace_only(self) -> None:
        """A list of one namespace leaves the Deployments of the others as they are."""
        self.list_one(self.shop, deployment("a", "shop"))
        self.list_one(self.bank, deployment("b", "bank"))
        self.list_one(self.shop, deployment("c", "shop"))
        self.assertEqual(list(self.cache.tree("shop")["shop"]), ["c"])
        self.assertEqual(list(self.cache.tree("bank")["bank"]), ["b"])

    def test_a_namespace_that_there_is_none_of(self) -> None:
        """One that was chosen and does not exist is a warning, once that is known: its name may be mistyped."""
        self.assertEqual(len(self.cache.warnings()), 2)
        self.list_one(self.shop)
        self.list_one(self.bank)
        self.assertEqual(self.cache.warnings(), [])
        self.list_namespace("bank")
        self.assertEqual(self.cache.warnings(), ["the namespace 'bank' does not exist"])

    def test_namespace_that_is_as_it_was(self) -> None:
        """Looking a namespace up over and over leaves what was made of it as it is; that it is gone does not."""
        self.list_one(self.shop, deployment("a", "shop"))
        tree, revision = self.cache.tree(), self.cache.revision()
        self.list_namespace("shop", namespace("shop", version="2"))
        self.assertIs(self.cache.tree(), tree)
        self.assertEqual(self.cache.revision(), revision)
        bank = self.cache.revision("bank")
        self.list_namespace("bank")
        self.assertNotEqual(self.cache.revision("bank"), bank)
        self.assertEqual(list(self.cache.tree()), ["shop"])
        self.assertNotEqual(self.cache.revision(), revision)

    def test_namespace_that_comes_and_goes(self) -> None:
        """Its own revision is another one then, too, whether it has Deployments or none."""
        namespaces = Source(Resource.NAMESPACES, "bank")
        for change in (Deleted(namespace("bank")), Put(namespace("bank")), Deleted(namespace("bank"))):
            of_all, of_one = self.cache.revision(), self.cache.revision("bank")
            self.cache.apply(Changed(namespaces, 0.0, [change]))
            self.assertNotEqual(self.cache.revision(), of_all)
            self.assertNotEqual(self.cache.revision("bank"), of_one)

    def test_what_a_list_changes(self) -> None:
        """A list with the first Deployment of a namespace, another count, or none any more makes another revision."""
        seen = [self.cache.revision("shop")]
        for items in ([deployment("a", "shop")], [deployment("a", "shop", replicas=7)], [], [deployment("b", "shop")]):
            self.list_one(self.shop, *items)
            self.assertNotIn(self.cache.revision("shop"), seen)
            seen.append(self.cache.revision("shop"))
        self.list_one(self.shop, deployment("b", "shop"))
        self.assertEqual(self.cache.revision("shop"), seen[-1])

    def test_lists_that_are_older_than_writes(self) -> None:
        """A write stays until there is a list that is newer: of its own namespace, whatever was written elsewhere."""
        for name in ("bank", "shop"):
            self.cache.written(deployment("a", name, replicas=7, version="101"))
        self.list_one(self.shop, deployment("a", "shop"))
        self.assertEqual([self.cache.deployment(name, "a").replicas for name in ("bank", "shop")], [7, 7])
        self.cache.apply(Listed(self.shop, "102", 0, deployments=by_name([deployment("a", "shop", version="102")])))
        self.assertEqual([self.cache.deployment(name, "a").replicas for name in ("bank", "shop")], [7, 3])

    def test_names_of_the_namespaces(self) -> None:
        """They are one object until they are others, whatever happens in the namespaces."""
        self.list_one(self.shop, deployment("a", "shop"))
        self.list_namespace("bank", namespace("bank"))
        names = self.cache.names()
        self.assertEqual(names, {"shop", "bank"})
        self.list_one(self.shop, deployment("b", "shop"))
        self.cache.apply(Changed(self.shop, 0.0, [Put(deployment("c", "shop"))]))
        self.assertIs(self.cache.names(), names)
        self.list_namespace("bank")
        self.assertEqual(self.cache.names(), {"shop"})

    def test_unserved_namespace_says_so(self) -> None:
        """A namespace outside of the limits is refused as such, not as one that does not exist."""
        self.cache.check_served("shop")
        for ask in (
            self.cache.check_served,
            self.cache.check_namespace,
            lambda name: self.cache.deployment(name, "web"),
        ):
            with self.assertRaises(NotFound) as raised:
                ask("kube-system")
            self.assertIn("not one that this server was started for", str(raised.exception))

    def test_empty_list_does_not_make_a_namespace(self) -> None:
        """Kubernetes lists a namespace that does not exist as empty; that does not make it exist."""
        self.list_namespace("bank")
        self.list_one(self.shop)
        self.list_one(self.bank)
        self.assertEqual(sorted(self.cache.tree()), ["shop"])
        self.assertFalse("bank" in self.cache.tree())
        self.assertRaises(NotFound, self.cache.check_namespace, "bank")

    def test_emptied_namespace_is_left_out(self) -> None:
        """A namespace whose last Deployment a list no longer holds is left out of the whole view."""
        self.list_one(self.shop, deployment("a", "shop"))
        self.list_one(self.shop)
        self.assertEqual(populated(self.cache), {})

    def test_write_survives_the_list_of_another_namespace(self) -> None:
        """A write that its own watch has yet to tell of is not undone by a list of another namespace."""
        self.list_one(self.shop, deployment("a", "shop"))
        self.list_one(self.bank)
        self.cache.written(deployment("a", "shop", replicas=9, version="500"))
        self.cache.apply(Listed(self.bank, "600", 99, deployments=by_name([deployment("b", "bank")])))
        self.cache.apply(Changed(self.shop, 0, [Put(deployment("a", "shop", version="11"))]))
        self.assertEqual(self.cache.deployment("shop", "a").replicas, 9)
