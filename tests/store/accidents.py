"""What may happen to watchers, pods and Redis by itself, for tests that play it in any order."""

from collections.abc import Iterable
from typing import Generic, TypeVar

from tests.store.memory import Pod, Watcher, World

AnyWatcher = TypeVar("AnyWatcher", bound=Watcher)


class Accidents(Generic[AnyWatcher]):
    """A world with two watchers, of which the first one leads, and two pods; each step takes a number."""

    def __init__(self, world: World, watchers: Iterable[AnyWatcher], pods: Iterable[Pod]) -> None:
        self.world = world
        self.watchers = list(watchers)
        self.pods = list(pods)
        self.kept = world.redis.kept()
        world.leader = self.watchers[0]

    def read(self, number: int) -> None:
        """Let a pod read."""
        self.pods[number % 2].step()

    def take_over(self, number: int) -> None:
        """Let a watcher lead."""
        self.world.leader = self.watchers[number % 2]

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

    def flush(self, _: int) -> None:
        """Lose everything that is in Redis."""
        self.world.redis.flush()
