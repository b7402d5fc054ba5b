"""Watchers, a Redis and followers, step by step, in memory: what readers are promised, whatever happens in between."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import StoreRefused
from sre_server.model import Deployment
from sre_server.news import Change, Changed, Listed, sources_of
from sre_server.store import mirror
from tests.store.memory import KEYS, SEAL, Pod, Watcher, World
from tests.store.test_sharing_properties import Play


class SharingTests(SynchronousTestCase):
    """One watcher, or two, and a pod."""

    def setUp(self) -> None:
        """Have a watcher that leads and has listed, and a pod."""
        self.world = World()
        self.world.change("web", 3)
        self.watcher = Watcher(self.world, zero=5000)
        self.world.leader = self.watcher
        self.watcher.list()
        self.pod = Pod(self.world, zero=100)

    def rounds(self, count: int = 3, *watchers: Watcher) -> None:
        """Let heartbeats pass, and the pod read each."""
        for _ in range(count):
            for watcher in watchers or (self.watcher,):
                watcher.step()
            self.pod.step()
            self.world.advance(1)

    def change(self, name: str, replicas: int | None, *watchers: Watcher) -> None:
        """Change the cluster, and let watchers hear it."""
        change = self.world.change(name, replicas)
        for watcher in watchers or (self.watcher,):
            watcher.hear(*([change] if change else []))

    def standby(self) -> Watcher:
        """Have another watcher list."""
        standby = Watcher(self.world, zero=70)
        standby.list()
        return standby

    def standby_behind(self) -> tuple[Watcher, list[Change]]:
        """Have another one that has yet to hear of changes which are published; return it, and them."""
        standby = self.standby()
        self.rounds()
        late = [change for name, count in (("web", 8), ("new", 1)) if (change := self.world.change(name, count))]
        self.watcher.hear(*late)
        self.rounds(2)
        return standby, late

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

    def reloads(self, *names: str) -> float:
        """How often the pod has loaded everything again, for one of these reasons, or for any."""
        names = names or ("forged", "incomplete")
        value = self.pod.metrics.registry.get_sample_value
        return sum(value("sre_server_store_reloads_total", {"reason": name}) or 0 for name in names)

    def test_a_standby_that_has_heard_less(self) -> None:
        """What it has not heard of yet is not taken back from readers."""
        standby, late = self.standby_behind()
        self.world.leader = standby
        self.rounds(3, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        standby.hear(*late)
        self.rounds(2, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

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

    def test_a_lost_answer(self) -> None:
        """Done or not, an append whose answer was lost is in the log once."""
        self.rounds()
        for done in (True, False):
            self.change("web", 10 + done)
            self.world.redis.lose_answer = done
            self.rounds(3)
            self.assertEqual(self.pod.deployments(), self.world.deployments)
        self.assertEqual(self.reloads(), 0)

    def test_a_failover_that_loses_writes(self) -> None:
        """What Redis confirmed and lost is appended again under its ids: a pod that had it notices nothing."""
        self.rounds()
        kept = self.world.redis.kept()
        self.change("web", 11)
        self.rounds(2)
        self.world.redis.fail_over(kept)
        self.rounds(3)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        self.assertEqual(self.reloads(), 0)

    def test_a_failover_that_loses_too_much(self) -> None:
        """A minute's writes are appended again; rows of what is older are not kept, and all is published anew."""
        self.rounds()
        self.change("web", 11)
        self.rounds(1)
        kept = self.world.redis.kept()
        self.rounds(59)
        self.world.redis.fail_over(kept)
        self.rounds(3)
        self.assertEqual(self.reloads(), 0)
        kept = self.world.redis.kept()
        self.rounds(65)
        self.world.redis.fail_over(kept)
        self.rounds(20)
        self.assertGreater(self.reloads(), 0)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_a_failover_that_the_pod_sees_first(self) -> None:
        """A pod that is back before the watcher waits for what is missing; past ten seconds it loads what there is."""
        self.rounds()
        for late in (False, True):
            kept = self.world.redis.kept()
            self.change("web", 13 + late)
            self.rounds(2)
            self.world.redis.fail_over(kept)
            self.pod.follower.reconnected()
            for _ in range(8 if late else 4):
                self.pod.step()
            self.assertEqual(self.reloads(), late)
            self.assertEqual(self.pod.deployments(), self.world.deployments)
            self.rounds(4)
            self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_flushall(self) -> None:
        """Everything is published anew, and the pod loads it; meanwhile it shows what it knew."""
        self.rounds()
        self.world.redis.flush()
        self.change("web", 12)
        self.pod.step()
        self.assertEqual(self.pod.deployments()["shop", "web"].replicas, 3)
        self.rounds(8)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        self.assertGreater(self.reloads(), 0)

    def test_another_scope(self) -> None:
        """A pod that serves other namespaces than the watcher hears of is refused, and told which."""
        self.rounds()
        pod = Pod(self.world, zero=9, sources=sources_of(["bank", "shop"]))
        with self.assertRaises(StoreRefused) as raised:
            pod.reader.load()
        self.assertEqual(
            str(raised.exception),
            "'sre:1:{cluster:default}:head' in Redis has namespaces, deployments, this server serves namespaces in "
            "bank, deployments in bank, namespaces in shop, deployments in shop: give watchers and api pods the same "
            "--namespace, or another --cache-name.",
        )

    def test_holes_and_forgeries(self) -> None:
        """An entry that is missing or not sealed is found out, and what it said is read from the snapshot."""
        for hurt in ("hole", "forged"):
            self.rounds()
            self.change("web", self.world.version)
            self.watcher.step()
            at, body = self.world.redis.log.pop()
            if hurt == "forged":
                self.world.redis.log.append((at, body[:-1] + b"?"))
            reason = "forged" if hurt == "forged" else "incomplete"
            before = self.reloads(reason)
            for _ in range(70):
                self.rounds(1)
            self.assertGreater(self.reloads(reason), before)
            self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_a_missing_chunk(self) -> None:
        """A pod that follows does not care; one that loads waits for the rotation."""
        self.rounds()
        del self.world.redis.strings[KEYS.chunks[1000]]
        self.rounds(1)
        fresh = Pod(self.world, zero=9)
        self.assertFalse(fresh.step())
        self.rounds(70)
        for _ in range(3):
            fresh.step()
            self.rounds(1)
        self.assertEqual(fresh.deployments(), self.world.deployments)
        self.assertEqual(self.reloads(), 0)

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

    def test_a_restored_cluster(self) -> None:
        """When the cluster itself goes back, so do readers."""
        self.rounds()
        self.change("web", 42)
        self.rounds(1)
        self.world.version = 50
        self.world.deployments["shop", "web"] = Deployment("shop", "web", "uid-101", "49", 1)
        self.watcher.list()
        self.rounds(8)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_the_log_is_trimmed(self) -> None:
        """After five minutes entries go, and a fresh pod still makes a whole of what there is."""
        self.rounds(400)
        self.assertTrue(290 < len(self.world.redis.log) < 320, len(self.world.redis.log))
        fresh = Pod(self.world, zero=9)
        for _ in range(3):
            fresh.step()
            self.rounds(1)
        self.assertEqual(fresh.deployments(), self.world.deployments)

    def test_writes_that_were_lost_bound_no_clock(self) -> None:
        """What is appended again says nothing of when it was appended first: a pod would take itself for younger."""
        self.rounds()
        kept = self.world.redis.kept()
        self.watcher.step()
        self.world.advance(1)
        self.watcher.step()
        self.world.redis.fail_over(kept)
        self.pod.follower.reconnected()
        self.world.advance(60)
        self.pod.step()
        for _ in range(3):
            self.watcher.step()
            self.pod.step()
            self.assertGreaterEqual(self.pod.cache.age(), self.world.time)
            self.world.advance(1)

    def test_all_is_lost_and_the_next_watcher_has_heard_less(self) -> None:
        """What it publishes anew is shown once it has caught up with what readers saw."""
        standby, late = self.standby_behind()
        self.world.redis.flush()
        self.world.leader = standby
        self.rounds(10, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        standby.hear(*late)
        self.rounds(3, standby)
        self.assertEqual(self.pod.deployments(), self.world.deployments)
        self.assertLessEqual(self.pod.cache.age(), 7)

    def test_all_lost_at_once(self) -> None:
        """A reign that begins just after another one was lost is another one: who followed that reads all again."""
        play = Play(1.0)
        for what in ("publish", "change", "read", "delete", "fail_over"):
            play.world.advance(0.1)
            getattr(play, what)(0 if what != "change" else 1)
        for _ in range(20):
            play.publish()
            play.read(0)
            play.wait(1)
        self.assertEqual(play.pods[0].deployments(), play.world.deployments)
