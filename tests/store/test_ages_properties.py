"""What pods say of the age of what they show, whatever happens to watchers, to Redis and to the cluster itself."""

import math
import random

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cache import ClusterCache
from sre_server.model import Deployment
from tests.store.memory import Pod
from tests.store.test_scopes_properties import NAMES, OFTEN, RIGHTS, SELDOM, SOURCES, Play

PLACES = [(namespace, name) for namespace in NAMES for name in ("web0", "web1")]
UNDERSTATED_SECONDS = 0.3
"""An age is of the moment before what was heard was published: so long may a step of these plays take."""
SEEDS = range(320, 350)
SKEWS = (0.0, 4.0, -4.0)
STEPS = 160
WHAT_HAPPENS = [*[step for step in (*OFTEN, *OFTEN, *RIGHTS, *SELDOM) if step not in ("hear_one", "write")], "come"]
"""A watch that tells of less than there is, as one that lags does, and what is shown of a write have no such age."""


class AgedPlay(Play):
    """A play in which it is noted what was true when, and pods come and go."""

    def __init__(self, skew: float) -> None:
        super().__init__(skew)
        self.states: dict[tuple[str, str], list[tuple[float, Deployment | None]]] = {
            place: [(-math.inf, None)] for place in PLACES
        }
        self.note()

    def note(self) -> None:
        """Note what is true now."""
        for namespace, name in PLACES:
            states, now = self.states[namespace, name], self.cluster.deployments[namespace].get(name)
            if states[-1][1] != now:
                states.append((self.world.time, now))

    def come(self, number: int) -> None:
        """Have a pod start in place of another one."""
        pod = Pod(self.world, 100.0 * number + self.world.version, sources=SOURCES)
        pod.cache = ClusterCache(pod.now, SOURCES, 60)
        self.pods[number % 2] = pod

    def understated(self) -> list[tuple[int, str, str, float]]:
        """Return where a pod shows what was no longer true so long ago as it says that it was."""
        wrong = []
        for number, pod in enumerate(self.pods):
            for namespace, name in PLACES:
                age = pod.cache.ages()[namespace]
                if age is None:
                    continue
                shown, states = pod.cache.tree(namespace).get(namespace, {}).get(name), self.states[namespace, name]
                ends = [at for at, _ in states[1:]] + [math.inf]
                lasted = [end for (_, state), end in zip(states, ends, strict=True) if state == shown]
                if max(lasted, default=-math.inf) < self.world.time - age - UNDERSTATED_SECONDS:
                    wrong.append((number, namespace, name, age))
        return wrong


class AgeProperties(SynchronousTestCase):
    """Many orders of what may happen."""

    def test_any_order(self) -> None:
        """No pod ever shows what was true longer ago than it says, and in the end each shows what is true."""
        for seed in SEEDS:
            play, chance = AgedPlay(SKEWS[seed % len(SKEWS)]), random.Random(seed)  # noqa: S311  # a choice, no secret
            for number in range(STEPS):
                play.world.advance(0.1)
                getattr(play, step := chance.choice(WHAT_HAPPENS))(chance.randrange(4))
                play.note()
                self.assertEqual(play.understated(), [], (seed, number, step))
            play.end()
            for pod in play.pods:
                for name in NAMES:
                    self.assertEqual(pod.cache.tree(name)[name], play.cluster.deployments[name], seed)
                    pod.cache.check_fresh(name)
