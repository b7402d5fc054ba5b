"""A cluster that is restored from a backup, step by step, in memory: readers go back with it, once, and all of them."""

from sre_server.store import mirror, scripts
from tests.store.memory import Watcher
from tests.store.sharing import SharingTestCase


class RestoreTests(SharingTestCase):
    """A count that was overwritten after the backup."""

    def test_readers_go_back(self) -> None:
        """When the cluster itself goes back, so do readers."""
        self.rounds()
        self.change("web", 42)
        self.rounds(1)
        self.restore()
        self.watcher.list()
        self.rounds(8)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_a_lease_that_is_not_fresh(self) -> None:
        """That the cluster went back is published once that may be, and undoes what pods had written before."""
        self.rounds()
        self.write("web", 42)
        self.world.advance(5)
        self.restore()
        self.watcher.list()
        self.watcher.fresh = lambda: False  # type: ignore[method-assign]
        self.rounds(2)
        self.watcher.fresh = lambda: True  # type: ignore[method-assign]
        self.rounds(8)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_a_redis_that_breaks(self) -> None:
        """That the cluster went back is not forgotten where it could not be published at first, or was told in part."""
        for lost in (None, False, True):
            self.setUp()
            self.rounds()
            self.write("web", 42)
            self.world.advance(5)
            self.restore()
            if lost is None:  # it comes amid a step
                take = self.watcher.publisher._mirror.take

                def late(now: float) -> mirror.Batch:
                    self.watcher.publisher._mirror.take = take  # type: ignore[method-assign]  # noqa: B023
                    self.watcher.list()
                    return take(now)  # noqa: B023

                self.watcher.publisher._mirror.take = late  # type: ignore[method-assign]
            else:
                self.watcher.list()
                self.world.redis.lose_script = scripts.OPEN, lost
            self.rounds(20)
            self.assertEqual(self.pod.deployments(), self.world.deployments, lost)

    def stood_by(self) -> Watcher:
        """Let the cluster go back, the leader publish that, and return a watcher that stood by and heard of it, too."""
        standby = self.standby()
        self.rounds()
        self.restore()
        for watcher in (self.watcher, standby):
            watcher.list()
        self.rounds(20)
        return standby

    def test_the_next_watcher(self) -> None:
        """One that stood by when the cluster went back, which was published then, has nobody load again for that."""
        standby = self.stood_by()
        reloads = self.reloads()
        self.change("web", 3, self.watcher, standby)
        self.world.leader = standby
        self.rounds(20, standby)
        self.assertEqual((self.pod.deployments(), self.reloads()), (self.world.deployments, reloads))

    def test_the_next_watcher_has_heard_less(self) -> None:
        """Long after it stood by when the cluster went back, one that is just behind takes nobody back for that."""
        standby = self.stood_by()
        for _ in range(25):
            self.world.advance(9)
            standby.step()
            self.rounds(1)
        late, reloads = self.world.change("web", 8), self.reloads()
        assert late is not None
        self.watcher.hear(late)
        self.rounds(2)
        self.world.leader = standby
        self.rounds(20, standby)
        self.assertEqual((self.pod.deployments(), self.reloads()), (self.world.deployments, reloads))

    def test_the_next_watcher_tells(self) -> None:
        """Where the one that led has ended before it noticed, the next one publishes it, and undoes what pods wrote."""
        standby = self.standby()
        self.rounds()
        self.write("web", 42)
        self.world.advance(5)
        self.restore()
        self.world.leader = None
        standby.list()
        for _ in range(15):
            standby.step()
            self.rounds(1)
        self.world.leader = standby
        self.rounds(20, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_the_next_watcher_has_yet_to_notice(self) -> None:
        """One whose watch hangs since before that takes nobody back to then: it publishes what it hears from now on."""
        self.change("web", 40)
        self.world.version = 500
        standby = self.standby()
        self.watcher.hear(bookmark="500")
        self.rounds()
        self.restore()
        self.watcher.list()
        self.rounds(20)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        self.world.leader = standby
        self.rounds(50, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        self.change("web", 7, standby)
        standby.list()
        self.rounds(20, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_the_next_watcher_has_heard_just_before(self) -> None:
        """What it heard in the instant before the cluster went back is of that time, as near as clocks can tell."""
        for self.skew in (0.0, 4.0, -4.0):
            self.setUp()
            self.change("web", 40)
            self.world.version = 500
            standby = self.standby()
            self.rounds()
            standby.hear(bookmark="500")
            self.world.advance(0.5)
            self.restore()
            self.world.advance(1)
            self.watcher.list()
            self.rounds(20)
            self.world.leader = standby
            for _ in range(60):
                self.rounds(1, standby)
                self.assertEqual(self.pod.deployments(), self.world.deployments, self.skew)
            standby.list()
            self.rounds(5, standby)
            self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_the_next_watcher_is_an_instant_behind(self) -> None:
        """So soon after that, too, it takes nobody back, nor has it them load again."""
        standby = self.stood_by()
        late, reloads = self.world.change("web", 8), self.reloads()
        assert late is not None
        self.watcher.hear(late)
        self.rounds(2)
        self.world.leader = standby
        self.rounds(5, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        standby.hear(late)
        self.rounds(5, standby)
        self.assertEqual((self.pod.deployments(), self.reloads()), (self.world.deployments, reloads))

    def test_what_was_the_same(self) -> None:
        """Pods that wait for a watcher to catch up take its age while its objects are theirs, and no longer."""
        self.world.version = 200
        self.watcher.hear(bookmark="200")
        self.rounds()
        self.world.version = 105
        first, second = self.standby(), Watcher(self.world, zero=9000)
        second.list()
        self.world.redis.flush()
        self.world.leader = first
        for _ in range(10):
            first.hear()
            self.rounds(1, first)
        self.assertLess(self.pod.cache.age(), 3)
        self.change("web", 9, second)
        self.world.leader = second
        for _ in range(50):
            second.hear()
            self.rounds(1, second)
        self.assertGreater(self.pod.cache.age(), 45)

    def test_a_new_watcher(self) -> None:
        """One that was started since knows no later version: in two minutes it publishes what others will see, too."""
        self.rounds()
        self.write("web", 42)
        self.restore()
        new = Watcher(self.world, zero=70)
        new.list()
        self.world.leader = new
        for _ in range(125):
            new.hear()
            self.rounds(1, new)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        self.assertTrue(self.pod.cache.is_heard("shop", "web"))

    def test_a_redis_that_forgets(self) -> None:
        """If it is emptied just after it was told that the cluster went back, the next snapshot tells that again."""
        self.rounds()
        self.change("web", 42)
        self.rounds()
        self.restore()
        self.watcher.list()
        self.watcher.step()
        self.world.redis.flush()
        self.rounds(20)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_events_in_a_store_of_their_own(self) -> None:
        """That the Events are at an earlier version says nothing of Deployments."""
        self.watcher.list_scalings()
        standby, _ = self.standby_behind()
        standby.list_scalings()
        self.world.leader = standby
        self.rounds(3, standby)
        reloads, self.world.version = self.reloads(), 50
        standby.list_scalings()
        self.rounds(20, standby)
        self.assertEqual((self.pod.deployments(), self.reloads()), (self.world.deployments, reloads))

    def test_a_write_that_nobody_heard_of(self) -> None:
        """Where the cluster goes on past it before anybody lists, no watcher notices: the pod itself lets go of it."""
        self.rounds()
        before, version = self.world.deployments["shop", "web"], self.world.version
        self.write("web", 42)
        self.world.deployments["shop", "web"], self.world.version = before, version
        self.change("other", 1)
        self.rounds(2)
        self.assertEqual(self.pod.cache.deployment("shop", "web").replicas, 42)
        self.change("other", 2)
        self.rounds(2)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
