"""What happens to watchers, pods and Redis, in any order: readers never see what is older, or what nobody said."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import Deployment
from sre_server.news import Change
from sre_server.texts import at_least_as_new
from tests.store.memory import KEYS, Pod, Watcher, World


class Play:
    """Two watchers, two pods, and what may happen to them."""

    def __init__(self, rate: float) -> None:
        self.world = World()
        self.world.change("web0", 1)
        self.watchers = [Watcher(self.world, zero=5000, rate=rate), Watcher(self.world, zero=3)]
        self.world.leader = self.watchers[0]
        self.pods = [Pod(self.world, zero=100), Pod(self.world, zero=77777, rate=1.001)]
        self.seen: list[dict[str, Deployment]] = [{}, {}]
        self.reached = ["0", "0"]
        self.kept = self.world.redis.kept()
        self.list()

    def change(self, number: int = 0) -> None:
        """Scale or make a Deployment."""
        self._hear(self.world.change(f"web{number}", self.world.version))

    def delete(self, number: int) -> None:
        """Delete a Deployment."""
        self._hear(self.world.change(f"web{number}", None))

    def _hear(self, change: Change | None) -> None:
        for watcher in self.watchers:
            watcher.hear(*([change] if change else []))
        self.told = self.world.time

    def list(self, _: int = 0) -> None:
        """Let both watchers list."""
        for watcher in self.watchers:
            watcher.list()
        self.told = self.world.time

    def bookmark(self, number: int) -> None:
        """Let one watcher hear that it knows all."""
        self.world.version += 1
        self.watchers[number % 2].hear(bookmark=str(self.world.version))
        self.told = self.world.time

    def publish(self, _: int = 0) -> None:
        """Let both watchers publish, if they may."""
        for watcher in self.watchers:
            watcher.step()

    def read(self, number: int) -> None:
        """Let a pod read."""
        self.pods[number % 2].step()

    def lose(self, number: int) -> None:
        """Lose the next answer, of a script that ran or did not."""
        self.world.redis.lose_answer = bool(number % 2)

    def keep(self, _: int) -> None:
        """Have a replica receive all there is."""
        self.kept = self.world.redis.kept()

    def fail_over(self, _: int) -> None:
        """Go on with what the replica had."""
        self.world.redis.fail_over(self.kept)
        for pod in self.pods:
            pod.follower.reconnected()

    def take_over(self, number: int) -> None:
        """Let a watcher lead."""
        self.world.leader = self.watchers[number % 2]

    def flush(self, _: int) -> None:
        """Lose everything."""
        self.world.redis.flush()

    def unchunk(self, number: int) -> None:
        """Lose a chunk."""
        self.world.redis.strings.pop(KEYS.chunks[number], None)

    def wait(self, number: int) -> None:
        """Let time pass."""
        self.world.advance(float(number))

    def check(self, test: SynchronousTestCase) -> None:
        """Check that no pod understates its age or goes back."""
        for number, (pod, seen) in enumerate(zip(self.pods, self.seen, strict=True)):
            if not pod.synced:
                continue
            test.assertTrue(pod.cache.has_reached(self.reached[number]))
            if pod.cache.has_reached(str(self.world.version)):
                self.reached[number] = str(self.world.version)
            # The clocks' rates differ by a thousandth, and a bound counts for two minutes.
            test.assertGreaterEqual(pod.cache.age() + 0.3, self.world.time - self.told)
            shown = {item.uid: item for item in pod.deployments().values()}
            for uid in shown.keys() & seen.keys():
                test.assertTrue(at_least_as_new(shown[uid].resource_version, seen[uid].resource_version))
            seen.update(shown)


OFTEN = ["change", "publish", "read"]
SELDOM = ["delete", "list", "bookmark", "lose", "keep", "fail_over", "take_over", "flush", "unchunk", "wait"]


class PropertyTests(SynchronousTestCase):
    """Any order of what may happen."""

    @given(
        st.lists(st.tuples(st.sampled_from([*OFTEN, *OFTEN, *SELDOM]), st.integers(0, 3)), max_size=60),
        st.sampled_from([0.999, 1.0, 1.001]),
    )
    @settings(max_examples=150, deadline=None)
    def test_any_interleaving(self, steps: list[tuple[str, int]], rate: float) -> None:
        """No pod understates its age or goes back, and in the end every pod is as the cluster is."""
        play = Play(rate)
        for what, number in steps:
            play.world.advance(0.1)
            getattr(play, what)(number)
            play.check(self)
        play.world.redis.lose_answer = None
        for _ in range(75):
            play.publish()
            for number in range(2):
                play.read(number)
            play.wait(1)
            play.check(self)
        for pod in play.pods:
            self.assertTrue(pod.synced)
            self.assertEqual(pod.deployments(), play.world.deployments)
