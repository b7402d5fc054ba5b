"""A shared cache of several namespaces, of which a watcher cannot read all: step by step, in memory."""

import math

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cache import ClusterCache
from sre_server.errors import Unavailable
from sre_server.news import Changed, Listed, Put, sources_of
from sre_server.store import mirror
from tests.fakes import deployment, namespace
from tests.store.memory import Pod, Watcher, World

NAMES = ("shop", "staff")
SOURCES = sources_of(NAMES)
FOREVER = math.inf


class SeveralScopesTests(SynchronousTestCase):
    """A watcher of two namespaces that leads, and a pod."""

    def setUp(self) -> None:
        """Have them, and nothing listed."""
        self.world = World()
        self.watcher = self.watcher_of(5000)
        self.pod = Pod(self.world, zero=100, sources=SOURCES)
        self.pod.cache = ClusterCache(self.pod.now, SOURCES, 60)

    def watcher_of(self, zero: float) -> Watcher:
        """Have a watcher that leads from now on."""
        self.world.leader = watcher = Watcher(self.world, zero, sources=SOURCES)
        return watcher

    def list(self, watcher: Watcher, *names: str, version: str = "100") -> None:
        """Have these namespaces listed, with a Deployment in each."""
        for name in names:
            found, running = sources_of([name])
            now = watcher.now()
            watcher.publisher.applied(Listed(found, "0", now, namespaces={name: namespace(name)}))
            item = deployment("web", name, version=version)
            watcher.publisher.applied(Listed(running, version, now, deployments={name: {"web": item}}))

    def rounds(self, watcher: Watcher, *hears: str, count: int = 3) -> None:
        """Let heartbeats pass, and the pod read each; of these namespaces the watcher hears that there is no news."""
        for _ in range(count):
            for source in sources_of(hears):
                watcher.publisher.applied(Changed(source, watcher.now()))
            watcher.step()
            self.pod.step()
            self.world.advance(1)

    def test_one_that_is_refused(self) -> None:
        """What may still be listed is waited for; what is refused keeps nobody from the others, and may come later."""
        self.list(self.watcher, "shop")
        self.rounds(self.watcher, "shop")
        self.assertRaises(Unavailable, self.pod.cache.check_fresh, "shop")
        self.watcher.awaited = ()
        self.rounds(self.watcher, "shop")
        self.pod.cache.check_fresh("shop")
        self.pod.cache.check_ready()
        self.assertRaises(Unavailable, self.pod.cache.check_fresh, "staff", FOREVER)
        self.list(self.watcher, "staff")
        self.rounds(self.watcher, *NAMES)
        self.assertEqual(self.pod.cache.unsynced, [])
        self.assertEqual(set(self.pod.deployments()), {("shop", "web"), ("staff", "web")})

    def test_nothing_is_not_published(self) -> None:
        """A watcher that is refused everything leaves the log to whoever can tell more."""
        self.watcher.awaited = ()
        self.rounds(self.watcher)
        self.assertEqual(self.world.redis.log, [])

    def test_next_watcher_is_refused_one(self) -> None:
        """What was published of it stays, and grows old, until a watcher can read it again."""
        self.list(self.watcher, *NAMES)
        self.rounds(self.watcher, *NAMES)
        self.assertEqual([event.source for event in self.pod.steps[0]], SOURCES)
        following = self.watcher_of(70)
        following.awaited = ()
        self.list(following, "shop")
        self.rounds(following, "shop", count=130)
        self.pod.cache.check_fresh("shop")
        with self.assertRaises(Unavailable) as raised:
            self.pod.cache.check_fresh("staff")
        self.assertIn("The namespace 'staff' was last heard from 13", str(raised.exception))
        self.pod.cache.check_fresh("staff", FOREVER)
        self.assertIn(("staff", "web"), self.pod.deployments())
        self.assertTrue(self.pod.cache.has_reached("100"))
        self.list(following, "staff", version="120")
        self.rounds(following, *NAMES)
        self.pod.cache.check_fresh("staff")
        self.assertEqual(self.pod.deployments()["staff", "web"].resource_version, "120")
        listed = [event for event in self.pod.events if isinstance(event, Listed)]
        self.assertEqual(len(listed), len(SOURCES))

    def test_redis_is_emptied_while_one_is_refused(self) -> None:
        """The others go on at once, for who was there and for who comes; of the refused one nothing is taken back."""
        self.list(self.watcher, *NAMES)
        self.rounds(self.watcher, *NAMES)
        following = self.watcher_of(70)
        following.awaited = ()
        self.list(following, "shop")
        self.rounds(following, "shop")
        self.world.redis.flush()
        self.rounds(following, "shop", count=15)
        self.assertLess(self.pod.cache.age("shop"), 3)
        self.assertIn(("staff", "web"), self.pod.deployments())
        self.pod = Pod(self.world, zero=900, sources=SOURCES)
        self.pod.cache = ClusterCache(self.pod.now, SOURCES, 60)
        self.rounds(following, "shop")
        self.pod.cache.check_fresh("shop")
        self.assertRaises(Unavailable, self.pod.cache.check_fresh, "staff", FOREVER)

    def test_the_next_one_has_heard_less(self) -> None:
        """One that is refused a namespace hands on how far that was told: nobody behind that takes readers back."""
        for starts_anew in (False, True):
            self.setUp()
            behind = self.watcher_of(300)
            self.world.leader = self.watcher
            self.list(self.watcher, *NAMES)
            self.list(behind, *NAMES)
            self.rounds(self.watcher, *NAMES)
            self.list(self.watcher, "staff", version="200")
            self.rounds(self.watcher, *NAMES)
            refused = self.watcher_of(70)
            refused.awaited = ()
            self.list(refused, "shop")
            self.rounds(refused, "shop")
            if starts_anew:
                self.world.redis.flush()
                self.rounds(refused, "shop", count=15)
            self.world.leader = behind
            self.rounds(behind, "shop")
            self.assertEqual(self.pod.deployments()["staff", "web"].resource_version, "200")

    def take_over_behind(self) -> Watcher:
        """Have a watcher lead that was forbidden `staff` before the last change there, of which the pod has heard."""
        behind = self.watcher_of(300)
        self.world.leader = self.watcher
        self.list(self.watcher, *NAMES)
        self.list(behind, *NAMES)
        self.list(self.watcher, "staff", version="200")
        self.rounds(self.watcher, *NAMES)
        self.world.leader = behind
        return behind

    def shown(self) -> str:
        """Return which version of the Deployment in `staff` the pod shows."""
        return self.pod.deployments()["staff", "web"].resource_version

    def test_behind_in_one_that_is_forbidden(self) -> None:
        """However long that lasts, nobody is taken back; what it hears once that is permitted has to catch up."""
        for starts_anew in (False, True):
            self.setUp()
            behind = self.take_over_behind()
            if starts_anew:
                self.world.redis.flush()
            self.rounds(behind, "shop", count=230)
            self.pod.cache.check_fresh("shop")
            self.assertEqual(self.shown(), "200")
            staff, heard = sources_of(["staff"])[1], deployment("web", "staff", version="150")
            behind.publisher.applied(Changed(staff, behind.now(), [Put(heard)]))
            self.rounds(behind, *NAMES)
            self.assertEqual(self.shown(), "200")
            heard = deployment("web", "staff", version="210")
            behind.publisher.applied(Changed(staff, behind.now(), [Put(heard)]))
            self.rounds(behind, *NAMES)
            self.assertEqual(self.shown(), "210")

    def test_listed_since(self) -> None:
        """What the next watcher lists after it took over is not behind: a version before what was told is a restore."""
        self.take_over_behind()
        late = self.watcher_of(70)
        late.awaited = ()
        self.list(late, "shop")
        self.rounds(late, "shop")
        for version in ("250", "150"):
            self.list(late, "staff", version=version)
            self.rounds(late, *NAMES, count=5)
            self.assertEqual(self.shown(), version)

    def test_restored_before_it_took_over(self) -> None:
        """Of a watcher that knows no other version its next list proves it, without a wait."""
        behind = self.take_over_behind()
        self.rounds(behind, *NAMES, count=10)
        self.assertEqual(self.shown(), "200")
        self.list(behind, *NAMES, version="100")
        self.rounds(behind, *NAMES, count=5)
        self.assertEqual(self.shown(), "100")

    def test_a_pod_that_comes_meanwhile(self) -> None:
        """It has no namespace of which nobody can say how old it is; what is forbidden for long is as old as that."""
        behind = self.take_over_behind()
        self.pod = Pod(self.world, zero=900, sources=SOURCES)
        self.pod.cache = ClusterCache(self.pod.now, SOURCES, 60)
        self.rounds(behind, *NAMES, count=50)
        self.assertEqual(set(self.pod.deployments()), {("shop", "web")})
        self.rounds(behind, "shop", count=110)
        self.assertEqual(self.shown(), "200")
        self.assertGreaterEqual(self.pod.cache.age("staff"), 110)

    def test_behind_for_too_long(self) -> None:
        """One that goes on hearing of a namespace, and comes to no later version, has a cluster that went back."""
        for starts_anew in (False, True):
            self.setUp()
            behind = self.take_over_behind()
            if starts_anew:
                self.world.redis.flush()
            self.rounds(behind, *NAMES, count=95)
            self.assertEqual(self.shown(), "200")
            self.rounds(behind, *NAMES, count=15)
            self.assertEqual(self.shown(), "100")

    def test_what_is_held_back_costs_nothing(self) -> None:
        """For as long as a namespace is forbidden, there is one entry a second, as if there were nothing to tell."""
        behind = self.take_over_behind()
        self.rounds(behind, "shop", count=30)
        before = len(self.world.redis.log)
        for _ in range(100):
            behind.step()
            self.world.advance(0.1)
        self.assertLessEqual(len(self.world.redis.log) - before, 11)

    def test_behind_in_one_of_two(self) -> None:
        """Where the pod has to wait for one namespace, another is shown at once."""
        behind = self.take_over_behind()
        self.world.redis.flush()
        self.list(behind, "shop", version="300")
        self.rounds(behind, "shop", count=15)
        self.assertEqual(self.pod.deployments()["shop", "web"].resource_version, "300")
        self.assertEqual(self.shown(), "200")

    def test_age_of_what_is_held_back(self) -> None:
        """A watcher that differs from what was told cannot say how that is by now; one that does not differ can."""
        behind = self.take_over_behind()
        self.rounds(behind, *NAMES, count=40)
        self.assertGreaterEqual(self.pod.cache.age("staff"), 40)
        self.assertLess(self.pod.cache.age("shop"), 3)
        self.setUp()
        behind = self.take_over_behind()
        self.world.leader = self.watcher
        staff = sources_of(["staff"])[1]
        behind.publisher.applied(Changed(staff, behind.now(), [Put(deployment("web", "staff", version="200"))]))
        self.watcher.publisher.applied(Changed(staff, self.watcher.now(), version="300"))
        self.rounds(self.watcher, *NAMES)
        self.world.leader = behind
        self.rounds(behind, *NAMES, count=40)
        self.assertLess(self.pod.cache.age("staff"), 3)
        self.assertTrue(self.pod.cache.has_reached("300", "staff"))

    def test_what_was_reached_stays_so(self) -> None:
        """Of a watcher that knows the same objects at an earlier version their age is told, and no earlier version."""
        behind = self.watcher_of(300)
        self.world.leader = self.watcher
        staff = sources_of(["staff"])[1]
        for watcher in (behind, self.watcher):
            self.list(watcher, *NAMES, version="150")
        self.watcher.publisher.applied(Changed(staff, self.watcher.now(), version="200"))
        self.rounds(self.watcher, *NAMES)
        self.world.redis.flush()
        self.world.leader = behind
        for _ in range(40):
            self.rounds(behind, *NAMES, count=1)
            self.assertTrue(self.pod.cache.has_reached("200", "staff"))
        self.assertLess(self.pod.cache.age("staff"), 3)
        late = deployment("new", "staff", version="180")
        behind.publisher.applied(Changed(staff, behind.now(), [Put(late)]))
        self.rounds(behind, *NAMES)
        self.assertNotIn(("staff", "new"), self.pod.deployments())

    def test_amid_much_and_forbidden(self) -> None:
        """Half of what was to be told of a forbidden namespace holds others up for a minute, and is not taken back."""
        behind, late = self.watcher_of(300), self.watcher_of(900)
        self.world.leader = self.watcher
        for watcher in (self.watcher, behind, late):
            self.list(watcher, *NAMES)
        self.rounds(self.watcher, *NAMES)
        staff = sources_of(["staff"])[1]
        self.patch(mirror, "ROWS_AT_ONCE", 2)
        news = [
            Put(deployment(name, "staff", version=str(200 + number))) for number, name in enumerate(("web", "a", "b"))
        ]
        self.watcher.publisher.applied(Changed(staff, self.watcher.now(), news))
        self.watcher.step()
        self.world.leader = behind
        self.rounds(behind, "shop", count=62)
        self.assertLess(self.pod.cache.age("shop"), 3)
        self.assertEqual(self.shown(), "200")
        self.assertFalse(self.pod.cache.has_reached("200", "staff"))
        late.publisher.applied(Changed(staff, late.now(), [Put(deployment("web", "staff", version="150"))]))
        self.world.leader = late
        self.rounds(late, *NAMES)
        self.assertEqual(self.shown(), "200")
        late.publisher.applied(Changed(staff, late.now(), news))
        self.rounds(late, *NAMES, count=5)
        self.assertEqual(len(self.pod.deployments()), 4)
