"""Watchers, a Redis and followers, step by step, in memory: what readers are promised."""

from msgspec.structs import replace

from sre_server.model import Deployment
from sre_server.news import Changed, Listed, Put
from sre_server.store import mirror
from sre_server.store.loading import CHUNKS_AT_ONCE
from sre_server.store.records import CHUNKS
from tests.store.memory import KEYS, SEAL, Watcher
from tests.store.sharing import SharingTestCase


class SharingTests(SharingTestCase):
    """While nothing is lost."""

    def test_what_is_heard_is_read(self) -> None:
        """A pod has what the watcher listed, then each change; deleted means gone."""
        self.rounds()
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        self.change("api", 1)
        self.change("web", 7)
        self.rounds(1)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        self.change("web", None)
        self.rounds(1)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_what_they_are_called(self) -> None:
        """Log lines and troubles say which of the two it is, and of which Redis."""
        names = self.watcher.publisher.source, self.pod.follower.source
        self.assertEqual(names, ("publishing to redis://redis:6379/0", "following redis://redis:6379/0"))

    def test_by_which_version_all_is_known(self) -> None:
        """That of the last change, once all are read: not in between, though changes may come in another order."""
        self.patch(mirror, "ROWS_AT_ONCE", 1)
        self.rounds()
        for name, replicas in (("web", 4), ("api", 1), ("web", 5)):
            self.change(name, replicas)
        version = str(self.world.version)
        for reached in (False, True):
            self.assertFalse(self.pod.cache.has_reached(version))
            self.rounds(1)
            self.assertEqual(self.pod.cache.has_reached(version), reached)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        self.assertFalse(self.pod.cache.has_reached(str(self.world.version + 1)))

    def test_a_bookmark(self) -> None:
        """All is known by its version, and stays so when a watcher takes over that has not heard of it yet."""
        standby = self.standby()
        self.watcher.hear(bookmark="500")
        self.rounds()
        self.assertTrue(self.pod.cache.has_reached("500"))
        self.world.leader = standby
        self.rounds(3, standby)
        self.assertTrue(self.pod.cache.has_reached("500"))

    def test_a_bookmark_for_who_follows(self) -> None:
        """All is known by its version, alone or with changes beside it, also to a pod that loads nothing any more."""
        self.rounds()
        self.watcher.hear(bookmark="600")
        self.rounds(2)
        self.assertTrue(self.pod.cache.has_reached("600"))
        change = self.world.change("web", 8)
        assert change is not None
        self.watcher.hear(change, bookmark="700")
        self.rounds(2)
        self.assertTrue(self.pod.cache.has_reached("700"))
        self.assertFalse(self.pod.cache.has_reached("701"))

    def test_what_redis_is_asked_for(self) -> None:
        """A pod that starts reads each chunk once; one that hears of the watcher reads on, and looks at no head."""
        redis = self.world.redis
        self.rounds()
        self.assertEqual(redis.commands.count("MGET"), CHUNKS / CHUNKS_AT_ONCE)
        redis.commands.clear()
        self.rounds(10)
        self.assertEqual(set(redis.commands), {"EVAL", "XREAD"})
        for _ in range(10):
            self.pod.step()
        self.assertEqual(redis.commands.count("HMGET"), 3, "what is silent is looked at every 6 s")

    def test_news_are_no_lists(self) -> None:
        """Each source is listed once; all that follows are changes, or that there are none."""
        self.rounds()
        self.change("web", 7)
        self.rounds(3)
        kinds = [type(event) for event in self.pod.events]
        self.assertEqual((kinds.count(Listed), kinds[-1]), (len({event.source for event in self.pod.events}), Changed))

    def test_a_lease_that_is_not_fresh(self) -> None:
        """A watcher that leads, and is not certain of that, does not begin to publish; it does once it is."""
        self.watcher.fresh = lambda: False  # type: ignore[method-assign]
        self.assertTrue(self.watcher.publisher.step(self.world.redis, KEYS, SEAL))
        self.assertEqual(self.world.redis.log, [])
        self.watcher.fresh = lambda: True  # type: ignore[method-assign]
        self.assertTrue(self.watcher.publisher.step(self.world.redis, KEYS, SEAL))
        self.assertNotEqual(self.world.redis.log, [])

    def test_how_long_an_append_takes(self) -> None:
        """It is measured from when it begins; here it takes no time."""
        self.rounds(3)
        sample = self.watcher.metrics.registry.get_sample_value
        self.assertGreater(sample("sre_server_store_append_duration_seconds_count") or 0, 0)
        self.assertEqual(sample("sre_server_store_append_duration_seconds_sum"), 0)

    def test_standing_by_is_no_lag(self) -> None:
        """A watcher that stands by shows no lag and no pending changes; one that cannot publish shows both."""

        def shown(watcher: Watcher) -> tuple[float | None, ...]:
            sample = watcher.metrics.registry.get_sample_value
            return sample("sre_server_store_lag_seconds"), sample("sre_server_store_pending_changes")

        def leads(watcher: Watcher) -> float | None:
            return watcher.metrics.registry.get_sample_value("sre_server_store_leader")

        standby = self.standby()
        self.rounds(10, self.watcher)
        self.change("web", 4, self.watcher, standby)
        self.assertEqual((shown(standby), leads(standby)), ((0, 0), 0))
        self.assertEqual((shown(self.watcher), leads(self.watcher)), ((1, 1), 1))
        self.world.advance(9)
        self.assertEqual(shown(self.watcher), (10, 1))
        self.world.leader = standby
        standby.step()
        self.assertEqual(shown(standby), (0, 0))

    def test_a_list_is_published_as_a_difference(self) -> None:
        """A list that says nothing new is a heartbeat; one that does is a row for each difference."""
        self.rounds()
        length = len(self.world.redis.log[-1][1])
        self.watcher.list()
        self.rounds(1)
        self.assertEqual(len(self.world.redis.log[-1][1]), length)
        self.world.change("web", None)
        self.world.change("late", 2)
        self.watcher.list()
        self.rounds(1)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_steps_in_between(self) -> None:
        """A count that was there for no entry is a gap in what is told, as is what a list finds; no other change is."""
        self.rounds()
        for counts, gap in (([9], False), ([5, 6], True), ([7], False)):
            for count in counts:
                self.change("web", count)
            self.rounds(1)
            self.assertEqual(self.puts(), [(counts[-1], gap)])
        change = self.world.change("web", 7)
        assert isinstance(change, Put)
        self.watcher.hear(change, Put(replace(change.object, resource_version=str(self.world.version))))
        self.rounds(1)
        self.assertEqual(self.puts(), [(7, False)])
        self.world.change("web", 8)
        self.watcher.list()
        self.rounds(1)
        self.assertEqual(self.puts(), [(8, True)])
        standby = self.standby()
        self.change("web", 2, standby)
        self.world.leader = standby
        self.rounds(1, standby)
        self.assertEqual(self.puts(), [(2, True)])

    def puts(self) -> list[tuple[int, bool]]:
        """The counts that the pod has told of since this was last asked, and whether with a gap."""
        events, self.pod.events = self.pod.events, []
        changed = (change for event in events if isinstance(event, Changed) for change in event.changes)
        return [
            (change.object.replicas, change.gap)
            for change in changed
            if isinstance(change, Put) and isinstance(change.object, Deployment)
        ]

    def test_age_over_time(self) -> None:
        """The age is at least the time since the cluster was heard, and at most two heartbeats more."""
        self.rounds()
        self.watcher.hear()
        self.rounds(3)
        self.assertGreaterEqual(self.pod.cache.age(), 3)
        self.assertLessEqual(self.pod.cache.age(), 7)
        self.world.leader = None
        self.world.advance(60)
        self.assertGreaterEqual(self.pod.cache.age(), 63)

    def test_age_of_what_is_told_in_part(self) -> None:
        """While changes wait for room in the log, what is told is as old as the last moment of which all is told."""
        self.patch(mirror, "ROWS_AT_ONCE", 1)
        self.rounds(10)
        self.watcher.hear()
        self.rounds(1)
        heard_at = self.world.time - 1
        self.world.advance(30)
        for name in ("web", "api", "more"):
            self.change(name, 9)
        for _ in range(2):
            self.rounds(1)
            self.assertGreaterEqual(self.pod.cache.age(), self.world.time - heard_at)
        self.rounds(1)
        self.assertLess(self.pod.cache.age(), 30)

    def test_age_while_nothing_changes(self) -> None:
        """A pod knows its age to a fifth of a second, though it hears of the watcher once a second only."""

        def wait(seconds: float) -> None:
            end, length = self.world.time + seconds, len(self.world.redis.log)
            while self.world.time < end and len(self.world.redis.log) == length:
                self.world.advance(0.01)
                self.watcher.step()

        self.world.redis.waits = wait
        self.watcher.step()
        for _ in range(100):
            self.pod.step()
        self.assertTrue(0 <= self.pod.cache.age() - self.world.time <= 0.2)  # it has heard nothing since it listed
