"""What is counted of every request: how many came, how they were answered, and how long that took.

These are counted in plain integers, as `prometheus_client` locks each of its own, which took a tenth of what a read
costs; only the reactor's thread counts here, and it answers who scrapes.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from time import time
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

SECONDS: Final = "sre_server_http_request_duration_seconds"


class Tally:
    """The answers of one route and method; `received` counts requests by method, of all routes."""

    def __init__(self, method: str, received: Counter[str], bounds: tuple[float, ...]) -> None:
        self._method = method
        self._received = received
        self._bounds = bounds
        self.created = time()
        self.codes: Counter[int | str] = Counter()
        self.buckets = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def answered(self, code: int | str, seconds: float) -> None:
        """Count an answer: its status, or what there was instead of one, and the seconds since its request came."""
        self.codes[code] += 1
        self.buckets[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds

    def served(self, code: int, seconds: float) -> None:
        """Count a request and its answer at once."""
        self._received[self._method] += 1
        self.answered(code, seconds)


class Tallies(Collector):
    """All routes' answers; `bounds` are the upper ends of the histogram's buckets, in seconds."""

    def __init__(self, registry: CollectorRegistry, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._received: Counter[str] = Counter()
        self._created: dict[str, float] = {}
        self._tallies: dict[tuple[str, str], Tally] = {}
        registry.register(self)

    def of(self, route: str, method: str, *codes: int) -> Tally:
        """Return what counts the answers of one route and method; these codes are shown from 0 on."""
        tally = self._tallies.get((route, method))
        if tally is None:
            self._created.setdefault(method, time())
            tally = self._tallies[route, method] = Tally(method, self._received, self._bounds)
            tally.codes.update(dict.fromkeys(codes, 0))
        return tally

    def received(self, method: str) -> None:
        """Count a request that was received whole."""
        self._created.setdefault(method, time())
        self._received[method] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the three metrics; for the registry."""
        requests = CounterMetricFamily(
            "sre_server_http_requests", "Answered requests.", labels=("route", "method", "code")
        )
        received = CounterMetricFamily(
            "sre_server_http_requests_received", "Requests that were received whole.", labels=("method",)
        )
        took = HistogramMetricFamily(SECONDS, "From receipt to answer.", labels=("route", "method"))
        bounds = [floatToGoString(bound) for bound in (*self._bounds, float("inf"))]
        for (route, method), tally in self._tallies.items():
            for code, count in tally.codes.items():
                requests.add_metric((route, method, str(code)), count, tally.created)
            took.add_metric((route, method), list(zip(bounds, accumulate(tally.buckets), strict=True)), tally.seconds)
            took.add_sample(f"{SECONDS}_created", {"route": route, "method": method}, tally.created)
        for method, created in self._created.items():
            received.add_metric((method,), self._received[method], created)
        yield from (requests, received, took)
