"""The writer of one reign, against a Redis that loses what it has, or has another one's."""

from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import StoreFenced, StoreIncomplete, StoreUnreachable
from sre_server.news import Event
from sre_server.store import publisher, scripts
from sre_server.store.link import Link
from sre_server.store.loading import follow
from sre_server.store.mirror import Batch
from sre_server.store.records import CHUNKS, Entry, Position
from sre_server.store.writer import OPEN_CHUNKS, Writer, claim
from tests.store.memory import KEYS, SEAL, SOURCES, MemoryRedis, Pod, Watcher, World

NOTHING = Batch((), [0.0, 0.0], ["7", "7"], [0, 0])


class CountingRedis(MemoryRedis):
    """A Redis that remembers which chunks each script wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.wrote: list[Sequence[str]] = []
        self.seconds: list[float] = []

    def call(self, *command: Any, seconds: float = 0) -> Any:
        """Run a command."""
        if command[:2] in (("EVAL", scripts.OPEN), ("EVAL", scripts.APPEND)):
            self.wrote.append(command[5 : 3 + command[2]])
            self.seconds.append(seconds)
        return super().call(*command, seconds=seconds)


class WriterTests(SynchronousTestCase):
    """A reign that has appended twice."""

    def setUp(self) -> None:
        """Begin it."""
        self.redis = CountingRedis()
        self.time = 5.0
        epoch = claim(self.redis, KEYS, 1.8e9)
        self.writer = Writer(KEYS, SEAL, SOURCES, epoch, lambda: self.time, lambda: 1.8e9, 0)
        self.writer.open(self.redis, [()] * CHUNKS)
        self.kept = self.redis.kept()
        for _ in range(2):
            self.append()

    def append(self) -> None:
        """Append an entry that tells nothing."""
        self.writer.append(self.redis, NOTHING, {}, self.time)

    def test_pieces(self) -> None:
        """A snapshot is written in pieces, each chunk once, so that no script keeps Redis for long."""
        pieces = self.redis.wrote[:-2]
        self.assertEqual({len(each) for each in pieces}, {OPEN_CHUNKS})
        self.assertEqual([key for each in pieces for key in each], KEYS.chunks)

    def test_found_out_in_time(self) -> None:
        """A Redis that does not answer an entry is found out within 5 s, with the second between two entries."""
        self.assertLessEqual(max(self.redis.seconds[-2:]) + 1, 5)

    def test_another_reign(self) -> None:
        """Once another watcher has begun one, this one can neither append nor go on after a broken connection."""
        epoch = claim(self.redis, KEYS, 1.8e9)
        self.assertEqual(str(self.assertRaises(StoreFenced, self.append)), "Another watcher publishes now.")
        error = self.assertRaises(StoreFenced, self.writer.reconcile, self.redis)
        self.assertEqual(str(error), f"Another watcher publishes now, in epoch {epoch}.")

    def test_nothing_is_left(self) -> None:
        """Where Redis has lost all, that is said, and nobody else is blamed."""
        self.redis.flush()
        for attempt in (self.append, lambda: self.writer.reconcile(self.redis)):
            error = self.assertRaises(StoreIncomplete, attempt)
            self.assertEqual(str(error), "What was published is no longer in Redis: it is published anew.")

    def test_what_was_lost(self) -> None:
        """It is appended again; when the copies before it were answered says nothing of this copy."""
        self.assertEqual(self.answered(), [None, 5.0])
        self.redis.fail_over(self.kept)
        self.writer.reconcile(self.redis)
        self.assertEqual(self.answered(), [None, None])

    def test_too_much_was_lost(self) -> None:
        """What is older than a minute is not kept to be appended again: the message says from where on it is lost."""
        self.time += 61
        self.append()
        self.redis.fail_over(self.kept)
        error = self.assertRaises(StoreIncomplete, self.writer.reconcile, self.redis)
        begun = f"{self.writer.position.epoch}-0"
        self.assertEqual(str(error), f"Redis lost what was published after {begun}: it is published anew.")

    def answered(self) -> list[float | None]:
        """Say when each entry's predecessor was answered, as the log has it."""
        return [SEAL.open(KEYS.entry(at), body, Entry).answered for at, body in self.redis.log]

    def test_what_comes_late(self) -> None:
        """Where Redis does what was given up for lost while it is done again, nobody can tell how things stand."""
        self.redis.fail_over(self.kept)
        whole = self.redis.call

        def late(*command: Any, seconds: float = 0) -> Any:
            return b"MOVED" if command[:2] == ("EVAL", scripts.APPEND) else whole(*command, seconds=seconds)

        self.patch(self.redis, "call", late)
        error = self.assertRaises(StoreIncomplete, self.writer.reconcile, self.redis)
        self.assertEqual(str(error), "What Redis does comes late: it is published anew.")

    def test_a_hole(self) -> None:
        """An entry whose predecessor was not read is refused, and the message says between which two."""
        entry = Entry((7, 2), 5.0, None, [0.0], ["7"], [0])
        error = self.assertRaises(StoreIncomplete, follow, Position(7, 1), Position(7, 3), entry)
        self.assertEqual(str(error), "The log in Redis has a hole between 7-1 and 7-3.")


class CycleTests(SynchronousTestCase):
    """Cycles of a publisher and of a follower, as threads run them."""

    def setUp(self) -> None:
        """Have a watcher that leads and has listed; every connection leads to one Redis."""
        self.world = World()
        self.world.redis = self.redis = CountingRedis()
        self.world.change("web", 3)
        self.world.leader = self.watcher = Watcher(self.world, zero=50)
        self.watcher.list()

        @contextmanager
        def connected(_: Link) -> Any:
            yield self.redis, KEYS, SEAL

        self.patch(Link, "open", connected)
        self.patch(publisher, "TICK_SECONDS", 0)

    def test_publishing(self) -> None:
        """It publishes until it no longer leads, and goes on from there when it leads again."""
        for _ in range(2):
            self.world.leader = self.watcher
            self.leads_for(3)
            self.watcher.publisher.cycle(lambda: None)
        self.assertEqual(len(self.redis.log), 4)

    def test_a_broken_connection(self) -> None:
        """The next cycle finds out what was done, and does the rest; a reign that has ended is given up."""
        self.watcher.step()
        self.redis.lose_answer = True
        self.leads_for(3)
        self.assertRaises(StoreUnreachable, self.watcher.publisher.cycle, lambda: None)
        claim(self.redis, KEYS, 1.8e9)
        self.leads_for(3)
        self.assertRaises(StoreFenced, self.watcher.publisher.cycle, lambda: None)
        self.leads_for(3)
        self.watcher.publisher.cycle(lambda: None)
        self.assertEqual([at.seq for at, _ in self.redis.log], [1, 2, 1, 2])

    def leads_for(self, times: int) -> None:
        """Let the watcher lead for so many steps, a second each."""

        def holds() -> bool:
            nonlocal times
            times -= 1
            self.world.advance(1)
            return times >= 0

        self.patch(self.watcher, "holds", holds)

    def test_following(self) -> None:
        """It follows from where it is until it is told to end."""
        self.watcher.step()
        pod = Pod(self.world, zero=7)

        def wait(_: float) -> None:
            self.watcher.step()
            self.world.advance(1)

        self.redis.waits = wait

        def emit(*events: Event) -> None:
            for event in events:
                pod.cache.apply(event)
            if pod.synced:
                pod.follower.interrupt()

        pod.follower.cycle(emit)
        self.assertEqual(pod.deployments(), self.world.deployments)

    def test_the_rotation(self) -> None:
        """Each chunk is written once in 50 s, in its turn."""
        for _ in range(60):
            self.watcher.step()
            self.world.advance(1)
        written = [key for each in self.redis.wrote if len(each) < OPEN_CHUNKS for key in each]
        self.assertEqual(set(written), set(KEYS.chunks))
        self.assertEqual(len(set(written[:CHUNKS])), CHUNKS)
