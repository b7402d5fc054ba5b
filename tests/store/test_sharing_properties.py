"""What happens to watchers, pods and Redis, in any order: readers never see what is older, or what nobody said."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import Deployment
from sre_server.news import Change, Put
from sre_server.store import mirror
from sre_server.store.mirror import ROWS_AT_ONCE
from sre_server.texts import at_least_as_new
from tests.store.accidents import Accidents
from tests.store.memory import KEYS, Pod, Watcher, World


class Play(Accidents[Watcher]):
    """Two watchers, two pods, and what may happen to them."""

    def __init__(self, rate: float) -> None:
        world = World()
        world.change("web0", 1)
        watchers = [Watcher(world, zero=5000, rate=rate), Watcher(world, zero=3)]
        super().__init__(world, watchers, [Pod(world, zero=100), Pod(world, zero=77777, rate=1.001)])
        self.seen: list[dict[str, Deployment]] = [{}, {}]
        self.reached = ["0", "0"]
        self.unheard: list[list[Change]] = [[], []]
        """What each watcher has yet to hear."""
        self.list()

    def change(self, number: int = 0) -> None:
        """Scale or make a Deployment."""
        self._change(f"web{number}", self.world.version)

    def delete(self, number: int) -> None:
        """Delete a Deployment."""
        self._change(f"web{number}", None)

    def write(self, number: int) -> None:
        """Scale one through a pod, which knows that at once."""
        written = self._change(f"web{number // 2}", self.world.version)
        pod = self.pods[number % 2]
        if pod.synced and isinstance(written, Put) and isinstance(written.object, Deployment):
            pod.cache.written(written.object)

    def _change(self, name: str, replicas: int | None) -> Change | None:
        change = self.world.change(name, replicas)
        for unheard in self.unheard:
            unheard.extend([change] if change else [])
        return change

    def hear(self, number: int, bookmark: str = "") -> None:
        """Let a watcher hear what there is to hear."""
        heard, self.unheard[number % 2] = self.unheard[number % 2], []
        self.watchers[number % 2].hear(*heard, bookmark=bookmark)
        self.told = self.world.time

    def list(self, _: int = 0) -> None:
        """Let both watchers list."""
        for watcher in self.watchers:
            watcher.list()
        self.unheard = [[], []]
        self.told = self.world.time

    def bookmark(self, number: int) -> None:
        """Let one watcher hear that it knows all."""
        self.world.version += 1
        self.hear(number, str(self.world.version))

    def publish(self, _: int = 0) -> None:
        """Let both watchers publish, if they may."""
        for watcher in self.watchers:
            watcher.step()

    def unchunk(self, number: int) -> None:
        """Lose a chunk."""
        self.world.redis.strings.pop(KEYS.chunks[number], None)

    def wait(self, number: int) -> None:
        """Let time pass."""
        self.world.advance(float(number))

    def check(self, test: SynchronousTestCase) -> None:
        """Check that no pod understates its age, goes back, or says that it knows what it does not show."""
        for number, (pod, seen) in enumerate(zip(self.pods, self.seen, strict=True)):
            if not pod.synced:
                continue
            test.assertTrue(pod.cache.has_reached(self.reached[number]))
            if pod.cache.has_reached(str(self.world.version)):
                self.reached[number] = str(self.world.version)
                test.assertEqual(pod.deployments(), self.world.deployments)
            # The clocks' rates differ by a thousandth, and a bound counts for two minutes.
            test.assertGreaterEqual(pod.cache.age() + 0.3, self.world.time - self.told)
            shown = {item.uid: item for item in pod.deployments().values()}
            for uid in shown.keys() & seen.keys():
                test.assertTrue(at_least_as_new(shown[uid].resource_version, seen[uid].resource_version))
            seen.update(shown)


OFTEN = ["change", "hear", "publish", "read"]
SELDOM = ["write", "delete", "list", "bookmark", "lose", "keep", "fail_over", "take_over", "flush", "unchunk", "wait"]


class PropertyTests(SynchronousTestCase):
    """Any order of what may happen."""

    @given(
        st.lists(st.tuples(st.sampled_from([*OFTEN, *OFTEN, *SELDOM]), st.integers(0, 3)), max_size=60),
        st.sampled_from([0.999, 1.0, 1.001]),
        st.sampled_from([1, 2, ROWS_AT_ONCE]),
    )
    @settings(max_examples=150, deadline=None)
    def test_any_interleaving(self, steps: list[tuple[str, int]], rate: float, rows: int) -> None:
        """No pod understates its age or goes back, and in the end every pod is as the cluster is."""
        self.patch(mirror, "ROWS_AT_ONCE", rows)
        play = Play(rate)
        for what, number in steps:
            play.world.advance(0.1)
            getattr(play, what)(number)
            play.check(self)
        play.world.redis.lose_answer = None
        for number in range(2):
            play.hear(number)
        for _ in range(75):
            play.publish()
            for number in range(2):
                play.read(number)
            play.wait(1)
            play.check(self)
        for pod in play.pods:
            self.assertTrue(pod.synced)
            self.assertEqual(pod.deployments(), play.world.deployments)
