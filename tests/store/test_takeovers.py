"""Watchers that end, and others that go on, step by step, in memory: what readers are promised."""

from msgspec.structs import replace
from twisted.logger import LogLevel, capturedLogs, formatEvent

from sre_server.errors import StoreError
from sre_server.news import Changed, Listed
from sre_server.store import mirror
from sre_server.store.records import Head
from tests.store.memory import KEYS, SEAL, SOURCES, Pod, Watcher
from tests.store.sharing import SharingTestCase


class TakeoverTests(SharingTestCase):
    """A watcher takes over from one that is gone, or was thought so."""

    def test_a_fresh_pod_of_a_dead_watcher(self) -> None:
        """It loads, and is not synced: nobody can tell how old that is."""
        self.rounds()
        self.world.leader = None
        self.world.advance(100)
        pod = Pod(self.world, zero=0)
        for _ in range(5):
            pod.step()
        self.assertFalse(pod.synced)

    def test_takeover(self) -> None:
        """The next watcher goes on from where the last one ended: followers load nothing again."""
        standby = self.standby()
        self.rounds()
        self.change("web", 5, self.watcher, standby)
        self.world.leader = standby
        self.change("api", 1, standby)
        self.rounds(4, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        self.assertEqual(self.reloads(), 0)
        self.world.leader = self.watcher

    def test_takeover_with_much_to_tell(self) -> None:
        """What has no room in one entry is shown once all of it is read: until then pods are as old as they were."""
        self.patch(mirror, "ROWS_AT_ONCE", 1)
        self.rounds(5)
        standby, shown = self.standby(), self.pod.deployments()
        self.world.leader = None
        self.world.advance(30)
        for name in ("web", "api", "more", "last"):
            self.change(name, 9, standby)
        self.world.leader = standby
        version, rounds = str(self.world.version), 0
        self.pod.events.clear()
        while not self.pod.cache.has_reached(version):
            self.assertEqual(self.pod.deployments(), shown)
            self.assertGreaterEqual(self.pod.cache.age(), 30)
            self.rounds(1, standby)
            rounds += 1
            self.assertLess(rounds, 20)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        told = [event for event in self.pod.events if event.source is SOURCES[1]]
        self.assertEqual([event for event in told if isinstance(event, Changed) and event.changes], [])
        self.assertEqual(len([event for event in told if isinstance(event, Listed)]), 1)

    def test_takeover_amid_much_to_tell(self) -> None:
        """A watcher that ends so leaves the versions of what is told: the next one, having heard less, says no more."""
        self.patch(mirror, "ROWS_AT_ONCE", 1)
        self.rounds(5)
        standby = self.standby()
        self.change("web", 9, self.watcher, standby)
        self.change("api", 9, self.watcher, standby)
        late = self.world.change("more", 9)
        assert late is not None
        self.watcher.hear(late)
        version = str(self.world.version)
        self.watcher.step()
        self.world.leader = standby
        self.rounds(5, standby)
        self.assertFalse(self.pod.cache.has_reached(version))
        standby.hear(late)
        self.rounds(2, standby)
        self.assertTrue(self.pod.cache.has_reached(version))
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_takeover_amid_much_by_who_has_heard_less(self) -> None:
        """What is half told is not shown before the next watcher has heard it all, nor taken back by what it knows."""
        self.patch(mirror, "ROWS_AT_ONCE", 1)
        standby = self.standby()
        first = self.world.change("api", 5)
        assert first is not None
        self.watcher.hear(first)
        self.rounds(5)
        late = [self.world.change(name, 9) for name in ("web", "api")]
        for change in late:
            assert change is not None
            self.watcher.hear(change)
        self.watcher.step()
        self.world.leader = standby
        for heard, web in ((None, 3), (first, 3), (late[0], 9), (late[1], 9)):
            if heard is not None:
                standby.hear(heard)
            self.rounds(3, standby)
            self.assertEqual(self.pod.deployments()["shop", "web"].replicas, web)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_takeover_amid_much_in_silence(self) -> None:
        """What was told in half is told whole at once, however long a source is silent in which nothing differs."""
        self.patch(mirror, "ROWS_AT_ONCE", 1)
        standby = self.standby()
        self.rounds(5)
        self.watcher.publisher.applied(Changed(SOURCES[0], self.watcher.now(), version="150"))
        self.rounds(2)
        for change in [self.world.change(name, 9) for name in ("web", "api")]:
            assert change is not None
            for watcher in (self.watcher, standby):
                watcher.publisher.applied(Changed(SOURCES[1], watcher.now(), [change]))
        self.watcher.step()
        self.world.leader = standby
        self.rounds(5, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_a_standby_that_has_heard_less(self) -> None:
        """What it has not heard of yet is not taken back from readers."""
        standby, late = self.standby_behind()
        self.world.leader = standby
        self.rounds(3, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        standby.hear(*late)
        self.rounds(2, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_a_standby_that_never_hears_more(self) -> None:
        """Past a hundred seconds, as when the cluster went back, what it hears counts, and not what was published."""
        standby, _ = self.standby_behind()
        published = self.pod.deployments()
        self.world.leader = standby
        for second in range(110):
            standby.hear()
            self.rounds(1, standby)
            if second == 95:
                self.assertEqual(self.pod.deployments(), published)
        counts = {place: item.replicas for place, item in self.pod.deployments().items()}
        self.assertEqual(counts, {("shop", "web"): 3})

    def test_a_standby_that_has_listed_earlier(self) -> None:
        """What it has not heard of one source, where nothing happened, does not keep back what it hears of another."""
        standby = self.standby()
        self.world.version += 50
        self.watcher.list()
        self.rounds()
        self.world.leader = standby
        self.change("web", 9, standby)
        self.rounds(2, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_wall_clocks(self) -> None:
        """Whatever they say, nothing counts as younger than it is after a takeover, nor as much older."""
        for self.skew in (0.0, 30.0, -30.0, 3600.0, -3600.0):
            self.setUp()
            standby = self.standby()
            self.rounds(10)
            self.watcher.hear(bookmark=str(self.world.version))
            heard_at = self.world.time
            self.rounds(5)
            self.world.leader = standby
            for _ in range(50):
                self.rounds(1, standby)
                overstated = self.pod.cache.age() - (self.world.time - heard_at)
                self.assertTrue(0 <= overstated <= 3, (self.skew, overstated))
            standby.hear(bookmark=str(self.world.version))
            self.rounds(2, standby)
            self.assertLessEqual(self.pod.cache.age(), 4)

    def test_after_an_earlier_release(self) -> None:
        """It did not say when it had heard what: who comes waits for what nobody can vouch for, and no longer."""
        standby = self.standby()
        self.change("web", 9)
        self.rounds()
        head = self.world.redis.hashes[KEYS.head]
        known = SEAL.open(KEYS.head, head["body"], Head)
        self.assertEqual([at is not None for at in known.heard], [True, True, False, False])
        head["body"] = SEAL.close(KEYS.head, replace(known, heard=()))
        self.world.leader = standby
        self.pod = Pod(self.world, zero=900)
        self.rounds(10, standby)
        self.assertFalse(self.pod.synced)
        standby.list()
        self.rounds(3, standby)
        self.assertTrue(self.pod.synced)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_nobody_leads(self) -> None:
        """What pods cannot tell from their reads is told in the log, each time and each 5 minutes: nobody publishes.

        It is told when asked what the trouble is, too, until somebody publishes again, which is a line of its own.
        """
        said: list[list[str]] = []
        for _ in range(2):
            self.world.leader = self.watcher
            with capturedLogs() as events:
                self.rounds()
            texts = [formatEvent(event) for event in events]
            self.assertEqual(texts.count("A watcher publishes again."), 1 if said else 0)
            self.assertEqual(self.pod.follower.troubles, [])
            self.world.leader = None
            with capturedLogs() as events:
                self.rounds(60)
            (trouble,) = self.pod.follower.troubles
            self.assertRegex(trouble, "^Redis answers, and nothing was published for 1?[0-9]+ s: is a watcher up?")
            said.append([formatEvent(event) for event in events if event["log_level"] is LogLevel.warn])
        with capturedLogs() as events:
            self.rounds(90)
        said.append([formatEvent(event) for event in events if event["log_level"] is LogLevel.warn])
        for (line,) in said:
            self.assertRegex(line, "^Redis answers, and nothing was published for 3[0-9]+ s: is a watcher up?")
        self.world.leader = self.watcher

    def test_redis_was_away(self) -> None:
        """It is no watcher's fault what a pod did not hear while it was cut off, nor what it says of one then stays."""
        self.rounds()
        self.world.leader = None
        self.rounds(60)
        self.assertEqual(len(self.pod.follower.troubles), 1)
        self.pod.follower.interrupt()
        self.assertRaises(StoreError, self.pod.follower.cycle, self.pod.events.append)
        self.assertEqual(self.pod.follower.troubles, [])
        self.pod.follower.reconnected()
        with capturedLogs() as events:
            self.rounds(8)
        self.assertEqual(self.pod.follower.troubles, [])
        self.assertEqual([formatEvent(event) for event in events if event["log_level"] is LogLevel.warn], [])
        self.rounds(10)
        self.assertEqual(len(self.pod.follower.troubles), 1)
        self.world.leader = self.watcher

    def test_a_watcher_that_was_paused(self) -> None:
        """Whoever wakes up after another has begun is fenced, and publishes no more."""
        self.rounds()
        standby = Watcher(self.world, zero=70)
        standby.list()
        self.world.leader = standby
        standby.step()
        self.change("web", 99, standby)
        standby.step()
        self.world.leader = self.watcher  # it has yet to look at its Lease
        self.assertFalse(self.watcher.step())
        self.world.leader = standby
        self.rounds(3, standby, self.watcher)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
