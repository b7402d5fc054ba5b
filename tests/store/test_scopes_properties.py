"""What happens to watchers that are permitted and forbidden namespaces, one behind the other, in any order."""

import math
import random
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cache import ClusterCache
from sre_server.model import Deployment
from sre_server.news import Change, Changed, Deleted, Listed, Put, sources_of
from tests.fakes import namespace
from tests.store.accidents import Accidents
from tests.store.memory import Pod, Watcher, World

NAMES = ("shop", "staff")
SOURCES = sources_of(NAMES)
LISTS_AFTER = 90
"""A watch that has heard nothing for so many seconds begins with a list."""


class ScopedWatcher(Watcher):
    """A watcher of two namespaces that hears of each what it is told to, as far as it may."""

    def __init__(self, world: World, zero: float, cluster: "Cluster", forbidden: str) -> None:
        """Have it list what it may."""
        super().__init__(world, zero, sources=SOURCES)
        self.awaited = ()
        self.cluster = cluster
        self.forbidden = {forbidden}
        self.versions: dict[str, int] = {}
        self.restores: dict[str, int] = {}
        self.heard_at: dict[str, float] = {}
        for name in NAMES:
            self.follow(name)

    def follow(self, name: str, count: int | None = None) -> None:
        """Hear the next changes in a namespace, or all there are; list if it was never heard of, or was restored."""
        if name in self.forbidden:
            return
        now = self.now()
        found, running = sources_of([name])
        if self.restores.get(name) != self.cluster.restores:
            if now - self.heard_at.get(name, -math.inf) < LISTS_AFTER:
                return
            by_name = dict(self.cluster.deployments[name])
            self.publisher.applied(Listed(found, "0", now, namespaces={name: namespace(name)}))
            self.publisher.applied(
                Listed(running, str(self.world.version), now, deployments={name: by_name} if by_name else {})
            )
            self.versions[name], self.restores[name] = self.world.version, self.cluster.restores
        else:
            news = [each for each in self.cluster.log[name] if each[0] > self.versions[name]][:count]
            heard = self.world.version if count is None else max((at for at, _ in news), default=0)
            self.versions[name] = max(self.versions[name], heard)
            version = str(self.world.version) if count is None else ""
            self.publisher.applied(Changed(found, now))
            self.publisher.applied(Changed(running, now, [change for _, change in news], version))
        self.heard_at[name] = now


class Cluster:
    """Deployments in two namespaces, and what was changed since the last restoration."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.deployments: dict[str, dict[str, Deployment]] = {name: {} for name in NAMES}
        self.log: dict[str, list[tuple[int, Change]]] = {name: [] for name in NAMES}
        self.restores = 0
        self._backup = self._state()

    def change(self, namespace: str, name: str, *, gone: bool = False) -> Deployment:
        """Scale, make or delete a Deployment."""
        self.world.version += 1
        version, known = str(self.world.version), self.deployments[namespace].pop(name, None)
        uid = known.uid if known else f"uid-{version}-{self.restores}"
        item = Deployment(namespace, name, uid, version, self.world.version)
        if not gone:
            self.deployments[namespace][name] = item
        if not gone or known:
            self.log[namespace].append((self.world.version, Deleted(item) if gone else Put(item)))
        return item

    def _state(self) -> tuple[int, dict[str, dict[str, Deployment]]]:
        return self.world.version, {name: dict(items) for name, items in self.deployments.items()}

    def back_up(self) -> None:
        """Keep what there is."""
        self._backup = self._state()

    def restore(self) -> None:
        """Go back to what was kept."""
        self.world.version, self.deployments = self._backup
        self.back_up()
        self.log = {name: [] for name in NAMES}
        self.restores += 1


class Play(Accidents[ScopedWatcher]):
    """Two watchers, two pods, and what may happen to them."""

    def __init__(self, skew: float = 0.0) -> None:
        world = World(skew)
        self.cluster = Cluster(world)
        for number in range(4):
            self.change(number)
        watchers = [ScopedWatcher(world, zero, self.cluster, "") for zero in (5000, 300)]
        super().__init__(world, watchers, [Pod(world, zero, sources=SOURCES) for zero in (100, 77777)])
        for pod in self.pods:
            pod.cache = ClusterCache(pod.now, SOURCES, 60)
        self.seen: dict[tuple[int, str], str] = {}

    def change(self, number: int) -> None:
        """Scale a Deployment, or make it."""
        self.cluster.change(NAMES[number % 2], f"web{number // 2}")

    def delete(self, number: int) -> None:
        """Delete one."""
        self.cluster.change(NAMES[number % 2], f"web{number // 2}", gone=True)

    def write(self, number: int) -> None:
        """Scale one through a pod, which knows that at once."""
        name, pod = NAMES[number % 2], self.pods[number // 2]
        if not pod.cache.unsynced and "web0" in self.cluster.deployments[name]:
            pod.cache.written(self.cluster.change(name, "web0"))

    def hear(self, number: int) -> None:
        """Let a watcher hear what there is to hear in a namespace."""
        self.watchers[number // 2].follow(NAMES[number % 2])

    def hear_one(self, number: int) -> None:
        """Let it hear the next change only."""
        self.watchers[number // 2].follow(NAMES[number % 2], 1)

    def permit(self, number: int) -> None:
        """Forbid a watcher a namespace, or permit it again."""
        self.watchers[number // 2].forbidden ^= {NAMES[number % 2]}

    def replace(self, number: int) -> None:
        """Start a watcher again, which may be forbidden a namespace."""
        old = self.watchers[number // 2]
        new = ScopedWatcher(self.world, 1000.0 + self.world.version, self.cluster, ["", *NAMES, ""][number])
        self.watchers[number // 2] = new
        if self.world.leader is old:
            self.world.leader = new

    def share(self, _: int) -> None:
        """Let a heartbeat pass, watchers publish if they may, and pods read."""
        self.world.advance(1)
        for watcher in self.watchers:
            watcher.step()
        for pod in self.pods:
            pod.step()

    def wait(self, number: int) -> None:
        """Let time pass."""
        self.world.advance(25.0 * number)

    def back_up(self, _: int) -> None:
        """Keep a copy of the cluster."""
        self.cluster.back_up()

    def restore(self, _: int) -> None:
        """Go back to it; readers may go back then, and for as long as it takes until all have heard."""
        self.cluster.restore()

    def check(self, test: SynchronousTestCase) -> None:
        """Check that no pod shows an older state of a Deployment than it has shown."""
        for number, pod in enumerate(self.pods):
            for item in pod.deployments().values():
                before = self.seen.get((number, item.uid), "0")
                test.assertGreaterEqual(int(item.resource_version), int(before), item)
                self.seen[number, item.uid] = item.resource_version

    def end(self) -> None:
        """Have one watcher that may hear all, and hears it, for as long as may be waited for."""
        self.world.redis.lose_answer = None
        full = self.watchers[0]
        full.forbidden = set()
        self.world.leader = full
        for _ in range(220):
            self.world.version += 1
            for name in NAMES:
                full.follow(name)
            self.share(0)


OFTEN = ["change", "change", "hear", "hear_one", "share", "share", "share"]
RIGHTS = ["permit", "permit", "take_over", "take_over", "flush", "replace", "wait"]
SELDOM = ["write", "delete", "read", "lose", "keep", "fail_over", "permit", "take_over", "flush", "back_up", "restore"]


SEEDS = 40
STEPS = 120


class RandomOrderTests(SynchronousTestCase):
    """Many orders of what may happen."""

    def play(self, seed: int, steps: Sequence[str], *, is_checked: bool) -> None:
        """Have it happen; in the end every pod is as the cluster is."""
        play, chance = Play(), random.Random(seed)  # noqa: S311  # a choice, no secret
        for _ in range(STEPS):
            play.world.advance(0.1)
            getattr(play, chance.choice(steps))(chance.randrange(4))
            if is_checked:
                play.check(self)
        play.end()
        for pod in play.pods:
            for name in NAMES:
                self.assertEqual(pod.cache.tree(name)[name], play.cluster.deployments[name], seed)
                pod.cache.check_fresh(name)

    def test_any_rights(self) -> None:
        """No pod goes back, whoever is forbidden what, and whatever is lost."""
        for seed in range(SEEDS):
            self.play(seed, [*OFTEN, *OFTEN, *RIGHTS], is_checked=True)

    def test_any_restorations(self) -> None:
        """Where the cluster itself goes back, too, every pod comes to what it has."""
        for seed in range(SEEDS):
            self.play(seed, [*OFTEN, *OFTEN, *SELDOM], is_checked=False)
