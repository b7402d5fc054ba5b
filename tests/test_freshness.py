"""How old and how complete what is known is, for each of the namespaces that a server was started for."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotFound, Unavailable
from sre_server.freshness import Freshness, Known
from sre_server.news import Resource, Source, sources_of

FOREVER = float("inf")


class ScopesTests(SynchronousTestCase):
    """What is known of three namespaces, with a source for the Deployments of each and one for itself."""

    def setUp(self) -> None:
        """Know nothing yet."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.freshness = Freshness(self.clock.seconds, sources_of(["a", "b", "c"]), max_staleness=120)

    def heard(self, *namespaces: str) -> None:
        """Hear all there is to be known of some namespaces."""
        for source in sources_of(namespaces):
            self.freshness.heard(source, self.clock.seconds())

    def refused(self, namespace: str | None = None, tolerance: float = 0.0) -> str:
        """Check that a question is refused; return the message."""
        with self.assertRaises(Unavailable) as raised:
            self.freshness.check_fresh(namespace, tolerance)
        return str(raised.exception)

    def test_each_is_complete_on_its_own(self) -> None:
        """One namespace can be read as soon as all is known of it, whatever is known of the others."""
        self.heard("b")
        self.assertEqual(self.freshness.check_fresh("b"), Known(0))
        self.assertIn("(namespaces in a, deployments in a)", self.refused("a"))
        self.freshness.heard(Source(Resource.DEPLOYMENTS, "a"), self.clock.seconds())
        self.assertIn("(namespaces in a)", self.refused("a"))

    def test_whole_sentences(self) -> None:
        """A refusal says what is missing or too old, and how it is read all the same, where that can be."""
        said = "The first list from the cluster is not complete yet (namespaces in a, deployments in a)"
        self.assertEqual(self.refused("a"), f"{said}.")
        self.heard("b", "c")
        self.assertEqual(self.refused(), f"{said}; to read what is known, send 'Cache-Control: max-stale'.")
        self.clock.advance(121)
        self.assertEqual(
            self.refused("b"),
            "The namespace 'b' was last heard from 121 s ago, and the bound is 120 s; to read what was known then, "
            "send 'Cache-Control: max-stale'.",
        )

    def test_each_has_an_age_of_its_own(self) -> None:
        """What was not heard of one namespace lately is no matter of another; of all of them the oldest counts."""
        self.heard("a", "b", "c")
        self.clock.advance(100)
        self.heard("b", "c")
        self.clock.advance(50)
        self.assertEqual([self.freshness.age(name) for name in ("a", "b", None)], [150, 50, 150])
        self.assertEqual(self.freshness.ages(), {"a": 150, "b": 50, "c": 50})
        self.assertEqual(self.freshness.check_fresh("b"), Known(50))
        self.assertIn("The namespace 'a' was last heard from 150 s ago", self.refused("a"))

    def test_all_of_them_are_as_good_as_the_worst(self) -> None:
        """Who asks for all is refused, and told which are too old; who accepts any age gets everything."""
        self.heard("a", "b", "c")
        self.clock.advance(1)
        self.heard("c")
        self.clock.advance(120)
        self.assertIn("The namespaces 'a', 'b' were last heard from 121 s ago", self.refused())
        self.assertIn("The namespace 'b' was last heard from", self.refused("b"))
        self.clock.advance(0.5)
        self.heard("b")
        self.clock.advance(0.5)
        self.assertIn("The namespace 'a' was last heard from 122 s", self.refused(None, 1))
        for tolerance in (2, FOREVER):
            known = self.freshness.check_fresh(None, tolerance)
            self.assertEqual((known.age, list(known.missing)), (122, []))

    def test_a_part_is_never_all(self) -> None:
        """What was never read is missing: told to who accepts that, and a refusal for everybody else."""
        self.heard("b")
        self.clock.advance(7)
        for tolerance in (0, 10_000):
            message = self.refused(None, tolerance)
            self.assertIn("namespaces in a, deployments in a, namespaces in c", message)
            self.assertIn("max-stale", message)
        known = self.freshness.check_fresh(None, FOREVER)
        self.assertEqual((known.age, list(known.missing)), (7, ["a", "c"]))
        self.assertNotIn("max-stale", self.refused("a", FOREVER))

    def test_nothing_is_no_part(self) -> None:
        """Before the first complete list of any of them there is nothing to accept."""
        self.assertNotIn("max-stale", self.refused(None, FOREVER))

    def test_ready_while_one_can_be_read(self) -> None:
        """The server is of use as long as one namespace is fresh; which ones are not is a warning."""
        self.assertRaises(Unavailable, self.freshness.check_ready)
        self.heard("a", "b")
        self.freshness.check_ready()
        self.assertEqual(self.freshness.warnings(), ["the namespace 'c' has not been read yet"])
        self.clock.advance(120.5)
        self.heard("b")
        self.freshness.check_ready()
        self.assertIn("the namespace 'a' was last heard from 121 s ago", self.freshness.warnings())
        self.clock.advance(121)
        self.assertRaises(Unavailable, self.freshness.check_ready)

    def test_others_are_not_served(self) -> None:
        """A namespace that the server was not started for does not exist here, however old everything else is."""
        for tolerance in (0, FOREVER):
            self.assertRaises(NotFound, self.freshness.check_fresh, "kube-system", tolerance)

    def test_many_names_are_cut(self) -> None:
        """Messages name a few, and count the rest."""
        names = [f"n{number}" for number in range(50)]
        freshness = Freshness(self.clock.seconds, sources_of(names), 120)
        for source in sources_of(names):
            freshness.heard(source, self.clock.seconds() - 121)
        with self.assertRaises(Unavailable) as raised:
            freshness.check_fresh()
        self.assertIn("'n0', 'n1', 'n2' and 47 more were", str(raised.exception))
        self.heard("a", "b", "c")
        self.clock.advance(121)
        self.assertIn("The namespaces 'a', 'b', 'c' were", self.refused())


class WholeTests(SynchronousTestCase):
    """A server of the whole cluster has one scope, which every namespace is in."""

    def test_every_namespace_is_in_it(self) -> None:
        """Whatever is asked of has the age of the source that has been silent the longest."""
        clock = Clock()
        freshness = Freshness(clock.seconds, sources_of([]), 120)
        namespaces, deployments = sources_of([])
        freshness.heard(namespaces, 0)
        self.assertRaises(Unavailable, freshness.check_fresh, "shop", FOREVER)
        freshness.heard(deployments, 0)
        clock.advance(9)
        freshness.heard(deployments, 9)
        for namespace in ("shop", None):
            self.assertEqual(freshness.check_fresh(namespace), Known(9))
        self.assertEqual((freshness.ages(), freshness.warnings()), ({None: 9}, []))
        clock.advance(120)
        self.assertRaises(Unavailable, freshness.check_ready)
        self.assertEqual(freshness.warnings(), [])
