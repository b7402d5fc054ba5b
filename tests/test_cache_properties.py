"""The cache against an oracle: histories told late and in pieces never go back, and end in the cluster's own state."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.histories import Histories, LimitedHistories


class CacheProperties(SynchronousTestCase):
    """Histories of a cluster and of a limited install; the seed is fixed, so that a build does not fail by chance."""

    def check(self, machine: type[RuleBasedStateMachine]) -> None:
        """Run many histories."""
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=500,
                stateful_step_count=40,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

    def test_whole_cluster(self) -> None:
        """Reads never go back, writes are seen at once, and in the end the cache is the cluster."""
        self.check(Histories)

    def test_limited_install(self) -> None:
        """The same holds where every namespace is listed and watched on its own."""
        self.check(LimitedHistories)
