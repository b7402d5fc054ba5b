"""What the tests of the feed share: cycles that run when a test says so, on a pool without threads and a Clock."""

import random
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.feed import Cycle, Feed
from sre_server.cluster.workers import Bounds, Workers
from sre_server.errors import ClusterUnreachable
from sre_server.news import Event, Resource, Source
from tests.fakes import FakeReactor, InlinePool

SOURCE = Source(Resource.DEPLOYMENTS)
Outcome = BaseException | Callable[[Callable[[Event], object]], object]


def run(outcome: Outcome, emit: Callable[[Event], object]) -> None:
    """End as this says: in an error, or after what it emits."""
    if isinstance(outcome, BaseException):
        raise outcome
    outcome(emit)


class Constant(random.Random):
    """Chance that always has the same result."""

    def __init__(self, result: float) -> None:
        super().__init__()
        self._result = result

    def random(self) -> float:
        """Return that result."""
        return self._result


class FakeCycle:
    """A cycle that does as it is told, counts, and remembers being interrupted."""

    def __init__(self, source: Source = SOURCE) -> None:
        self.source = source
        self.count = 0
        self.interrupted = 0
        self.starts: list[float] = []
        self.now: Callable[[], float] = lambda: 0.0
        self.outcome: Outcome = ClusterUnreachable("refused")

    def cycle(self, emit: Callable[[Event], object]) -> None:
        """Run once."""
        self.count += 1
        self.starts.append(self.now())
        run(self.outcome, emit)

    def interrupt(self) -> None:
        """Remember it."""
        self.interrupted += 1


class FeedTestCase(SynchronousTestCase):
    """A feed whose time, threads and chance are the test's."""

    def setUp(self) -> None:
        """Make what a feed needs."""
        self.reactor = FakeReactor()
        self.pool = InlinePool(inline=False)
        self.applied: list[Event] = []
        self.ended: list[str] = []
        """Why each cycle ended."""

    def start(self, *cycles: Cycle, chance: random.Random | None = None) -> Feed:
        """Start a feed of these cycles."""
        workers = Workers(self.reactor, "watches", Bounds(running=9, running_per_client=9), self.pool)
        chance = chance or Constant(0.0)
        feed = Feed(self.reactor, workers, cycles, self.applied.append, chance, self.ended.append)
        feed.startService()
        return feed

    def run_one(self) -> None:
        """Run the oldest cycle that waits for a thread, and let the reactor hear of it."""
        self.pool.run_one()
        self.reactor.advance(0)

    def run_for(self, seconds: float) -> None:
        """Let time pass, from one timer to the next, with a thread at hand for every cycle."""
        end = self.reactor.seconds() + seconds
        while True:
            while self.pool.pending:
                self.run_one()
            soonest = min((call.getTime() for call in self.reactor.getDelayedCalls()), default=end)
            self.reactor.advance(min(soonest, end) - self.reactor.seconds())
            if soonest >= end:
                return

    def starts_within(self, seconds: float, cycle: FakeCycle) -> list[float]:
        """Let time pass like `run_for`; return when the cycle began."""
        cycle.starts.clear()
        cycle.now = self.reactor.seconds
        self.run_for(seconds)
        return [round(start, 6) for start in cycle.starts]
