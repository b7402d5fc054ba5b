"""How the status of a Deployment follows its spec."""

from sre_server.simulator.kinds import DEPLOYMENTS, Object
from tests.simulator.memory import SimulatorTestCase


def counts(deployment: Object) -> tuple[int, int, int]:
    """Return the replicas that are wanted, that exist, and that are ready."""
    status = deployment["status"]
    return deployment["spec"]["replicas"], status.get("replicas", 0), status.get("readyReplicas", 0)


class RolloutTests(SimulatorTestCase):
    """What happens to shop/cart, which has three replicas."""

    def course(self) -> list[tuple[int, int, int]]:
        """Let time pass until nothing is left to do; return the counts along the way."""
        found = [counts(self.wire.deployment("shop", "cart"))]
        while self.wire.clock.getDelayedCalls():
            self.wire.clock.advance(0.1)
            now = counts(self.wire.deployment("shop", "cart"))
            if now != found[-1]:
                found.append(now)
        return found

    def available(self) -> tuple[str, str]:
        """Return whether shop/cart says that it is available, and since when."""
        conditions = self.wire.deployment("shop", "cart")["status"]["conditions"]
        condition = next(item for item in conditions if item["type"] == "Available")
        return condition["status"], condition["lastTransitionTime"]

    def test_up(self) -> None:
        """Scaling up makes replicas at once and ready ones step by step, within a few seconds."""
        started = self.wire.clock.seconds()
        self.wire.scale("shop", "cart", 6)
        self.assertEqual(self.course(), [(6, 3, 3), (6, 6, 3), (6, 6, 4), (6, 6, 5), (6, 6, 6)])
        self.assertLess(self.wire.clock.seconds() - started, 5)

    def test_down(self) -> None:
        """Scaling down takes replicas away step by step."""
        self.wire.scale("shop", "cart", 0)
        self.assertEqual(self.course(), [(0, 3, 3), (0, 2, 2), (0, 1, 1), (0, 0, 0)])

    def test_observed_generation(self) -> None:
        """Scaling raises the generation, which is observed before any replica becomes ready."""
        before = self.wire.deployment("shop", "cart")["metadata"]["generation"]
        self.assertEqual(self.wire.scale("shop", "cart", 6)["metadata"]["generation"], before + 1)
        self.assertEqual(self.wire.deployment("shop", "cart")["status"]["observedGeneration"], before)
        self.wire.clock.advance(0.5)
        status = self.wire.deployment("shop", "cart")["status"]
        self.assertEqual((status["observedGeneration"], status["readyReplicas"]), (before + 1, 3))

    def test_conditions(self) -> None:
        """A Deployment with too few ready replicas says that it is not available, then that it is, and since when."""
        settled = self.available()
        self.wire.scale("shop", "cart", 20)
        self.wire.clock.advance(0.5)
        unavailable = self.available()
        self.assertEqual((settled[0], unavailable[0]), ("True", "False"))
        self.wire.clock.advance(1)
        self.assertEqual(self.available(), unavailable)
        self.course()
        self.assertEqual(self.available()[0], "True")
        self.assertGreater(self.available()[1], unavailable[1])

    def test_scaled_again(self) -> None:
        """A Deployment that is scaled again on its way ends where it was last sent."""
        self.wire.scale("shop", "cart", 10)
        self.wire.clock.pump([0.1] * 10)
        self.wire.scale("shop", "cart", 1)
        self.assertEqual(self.course()[-1], (1, 1, 1))

    def test_created(self) -> None:
        """A new Deployment starts with nothing and gets there."""
        self.assertEqual(counts(self.wire.create("shop", "fresh", replicas=3)), (3, 0, 0))
        self.course()
        self.assertEqual(counts(self.wire.deployment("shop", "fresh")), (3, 3, 3))

    def test_deleted(self) -> None:
        """A Deployment that is deleted on its way leaves no timer behind."""
        self.wire.scale("shop", "cart", 10)
        self.cluster.delete(DEPLOYMENTS, "shop", "cart")
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])
