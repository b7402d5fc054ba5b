"""Rounds: several things measured by turns, so that whatever else the machine does hits all of them."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from tests.benchmarks.load import Load, LoadReport
from tests.benchmarks.processes import cpu_seconds


class Figure(Struct, frozen=True):
    """A quantity over all rounds: the median, and the lowest and highest that was seen."""

    median: float
    lowest: float
    highest: float

    def over(self, other: "Figure") -> float:
        """Return the ratio of two medians."""
        return self.median / other.median


def figure(values: Sequence[float]) -> Figure:
    """Return what values come to."""
    return Figure(statistics.median(values), min(values), max(values))


class Sample(Struct, frozen=True):
    """One round of load: the microseconds of CPU that each request cost the processes, and what the client saw."""

    cpu: float
    load: LoadReport


class Contestant(Struct, frozen=True):
    """What is measured against others: a connected load generator, the processes that pay, the statuses expected.

    `rate` paces it, in requests a second in all; 0 is as fast as answers come.
    """

    load: Load
    pids: tuple[int, ...]
    statuses: tuple[int, ...] = (200,)
    rate: float = 0

    def sample(self, seconds: float, requests: int = 0) -> Sample:
        """Run one round."""
        before = cpu_seconds(*self.pids)
        report = self.load.round(seconds, requests=requests, rate=self.rate)
        spent = cpu_seconds(*self.pids) - before
        return Sample(spent / report.check(*self.statuses).requests * 1e6, report)


class Measured(Struct, frozen=True):
    """All rounds of one contestant."""

    samples: list[Sample]

    @property
    def cpu(self) -> Figure:
        """Microseconds of CPU for each request."""
        return figure([sample.cpu for sample in self.samples])

    @property
    def rate(self) -> Figure:
        """Requests answered each second."""
        return figure([sample.load.requests / sample.load.seconds for sample in self.samples])

    @property
    def generator_cpu(self) -> Figure:
        """Microseconds of CPU that each request cost the load generator."""
        return figure([sample.load.cpu / sample.load.requests * 1e6 for sample in self.samples])

    def latency(self, percentile: str) -> Figure:
        """Milliseconds; `percentile` is p50, p90, p99, p999 or max."""
        return figure([sample.load.latency[percentile] / 1000 for sample in self.samples])

    def ratios(self, other: "Measured") -> Figure:
        """Return the ratio of CPU costs of each round, since what disturbs a round disturbs both in it."""
        return figure([ours.cpu / theirs.cpu for ours, theirs in zip(self.samples, other.samples, strict=True)])


def by_turns(
    contestants: Mapping[str, Contestant], rounds: int, seconds: float, requests: int = 0, warm_up: float = 0.3
) -> dict[str, Measured]:
    """Measure each contestant once in each round, in turn, after a warm-up that is not counted."""
    samples: dict[str, list[Sample]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        contestant.sample(min(warm_up, seconds), requests)
    for _ in range(rounds):
        for name, contestant in contestants.items():
            samples[name].append(contestant.sample(seconds, requests))
    return {name: Measured(taken) for name, taken in samples.items()}


def repeatedly(measure: Callable[[], float], rounds: int) -> Figure:
    """Take a measurement several times."""
    return figure([measure() for _ in range(rounds)])
