"""Watchers, a Redis and followers, step by step, in memory: what readers are promised, whatever happens in between."""

from sre_server.errors import StoreForged, StoreIncomplete, StoreRefused
from sre_server.news import sources_of
from sre_server.store import mirror
from sre_server.store.loading import check_counts, check_top
from sre_server.store.records import Position
from tests.store.memory import KEYS, Pod
from tests.store.sharing import SharingTestCase
from tests.store.test_sharing_properties import Play


class LossTests(SharingTestCase):
    """Data that are lost, and come back as something else."""

    def test_own_writes(self) -> None:
        """What a pod has written stays until the watch has come to it, however its watcher tells of what was before."""
        for lost in (False, True):
            self.setUp()
            self.patch(mirror, "ROWS_AT_ONCE", 1)
            self.rounds(5)
            before = [self.world.change(name, 9) for name in ("api", "more", "last")]
            mine = self.write("web", 7)
            self.world.advance(5)
            if lost:
                self.world.redis.flush()
            for change in before:
                assert change is not None
                self.watcher.hear(change)
            for _ in range(40):
                self.rounds(1)
                self.assertEqual(self.pod.deployments()["shop", "web"].replicas, 7)
            self.assertEqual(self.pod.deployments()["shop", "last"].replicas, 9)
            self.watcher.hear(mine)
            self.rounds(3)
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

    def test_a_head_that_is_wrong(self) -> None:
        """A pod that hears nothing for long looks at it, and says of which kind the fault is."""
        for body, reason in ((b"?", "forged"), (None, "incomplete")):
            self.rounds()
            before = self.reloads(reason), self.reloads()
            head = self.world.redis.hashes[KEYS.head]
            head.pop("body")
            if body is not None:
                head["body"] = body
            for _ in range(20):
                self.pod.step()
                self.world.advance(1)
            self.assertEqual((self.reloads(reason), self.reloads()), (before[0] + 1, before[1] + 1))
            self.rounds(10)
            self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_whole_sentences(self) -> None:
        """What keeps a pod from following says where in Redis it is, and what was found there."""
        where = "sre:1:{cluster:default}:head"
        error = self.assertRaises(StoreIncomplete, self.pod.reader.load)
        self.assertEqual(str(error), f"Nothing is published at '{where}': is a watcher up?")
        self.rounds()
        redis, (position, _) = self.world.redis, self.world.redis.log[-1]
        sealed = redis.hashes[KEYS.head]["body"]
        head = self.pod.reader.head()
        error = self.assertRaises(StoreIncomplete, check_top, head, Position(position.epoch, position.seq + 1))
        after = f"{position.epoch}-{position.seq + 1}"
        self.assertEqual(str(error), f"The log in Redis now ends before {after}: something was lost.")
        contents = self.pod.reader.load().contents
        error = self.assertRaises(StoreIncomplete, check_counts, contents, [1, 2])
        self.assertEqual(str(error), "There are [1, 1, 0, 0] objects, and the watcher has [1, 2].")
        redis.log.pop()
        before = f"{position.epoch}-{position.seq - 1}"
        error = self.assertRaises(StoreIncomplete, self.pod.reader.load)
        self.assertEqual(str(error), f"The log in Redis ends at {before}, before its head: something was lost.")
        redis.hashes[KEYS.head]["body"] = sealed[:-1]
        error = self.assertRaises(StoreForged, self.pod.reader.head)
        not_ours = f"'{where}' in Redis is not sealed with a key of --cache-seal: give watchers and api pods the same."
        self.assertEqual(str(error), not_ours)

    def test_a_missing_chunk(self) -> None:
        """A pod that follows does not care; one that loads waits for the rotation."""
        self.rounds()
        del self.world.redis.strings[KEYS.chunks[1000]]
        self.rounds(1)
        fresh = Pod(self.world, zero=9)
        self.assertFalse(fresh.step())
        missing = str(self.assertRaises(StoreIncomplete, fresh.reader.load))
        self.assertIn(f"'{KEYS.chunks[1000]}' is not in Redis: the watcher writes it again", missing)
        self.rounds(70)
        for _ in range(3):
            fresh.step()
            self.rounds(1)
        self.assertEqual(fresh.deployments(), self.world.deployments)
        self.assertEqual(self.reloads(), 0)

    def test_an_id_that_nothing_comes_after(self) -> None:
        """A log in which somebody else had an entry of the latest id, which is gone, is made anew."""
        self.rounds()
        self.world.redis.last_deleted = Position(2**64 - 1, 2**64 - 1)
        self.change("web", 9)
        self.rounds(40)
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
        for what in ("publish", "change", "hear", "read", "delete", "hear", "fail_over"):
            play.world.advance(0.1)
            getattr(play, what)(0 if what != "change" else 1)
        for _ in range(20):
            play.publish()
            play.read(0)
            play.wait(1)
        self.assertEqual(play.pods[0].deployments(), play.world.deployments)
