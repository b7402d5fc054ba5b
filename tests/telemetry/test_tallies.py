"""The counts of every request, as they are exposed: those of `prometheus_client`, number for number."""

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from twisted.trial.unittest import SynchronousTestCase

from sre_server.telemetry.tallies import SECONDS, Tallies

BOUNDS = (0.001, 0.01, 0.1)
ANSWERS = st.tuples(
    st.sampled_from(["/deployments", "/namespaces"]),
    st.sampled_from(["GET", "PUT"]),
    st.sampled_from([200, 304, "left"]),
    st.sampled_from([0.0, 0.0005, 0.001, 0.0011, 0.01, 0.05, 0.1, 7.0]),
)


class TalliesTests(SynchronousTestCase):
    """Beside the library's own metrics of the same names."""

    def setUp(self) -> None:
        """Make both."""
        self.registry, self.expected = CollectorRegistry(), CollectorRegistry()
        self.tallies = Tallies(self.registry, BOUNDS)
        self.requests = Counter(
            "sre_server_http_requests", "Answered requests.", ("route", "method", "code"), registry=self.expected
        )
        self.received = Counter(
            "sre_server_http_requests_received",
            "Requests that were received whole.",
            ("method",),
            registry=self.expected,
        )
        self.seconds = Histogram(
            SECONDS, "From receipt to answer.", ("route", "method"), buckets=BOUNDS, registry=self.expected
        )

    def lines(self, registry: CollectorRegistry, *, openmetrics: bool) -> list[str]:
        """What is exposed, in an order of its own, and without the times of creation."""
        text = (generate_openmetrics if openmetrics else generate_latest)(registry).decode()
        return sorted(line.split(" # ")[0] for line in text.splitlines() if "_created{" not in line)

    @settings(deadline=None)
    @given(st.lists(ANSWERS, max_size=30))
    def test_as_the_library_counts(self, answers: list[tuple[str, str, int | str, float]]) -> None:
        """Whatever is answered, both forms of the exposition have the very lines that the library would write."""
        self.setUp()
        for route, method, code, seconds in answers:
            if code == "left":
                self.tallies.received(method)
                self.tallies.of(route, method).answered(code, seconds)
            else:
                self.tallies.of(route, method).served(int(code), seconds)
            self.received.labels(method).inc()
            self.requests.labels(route, method, str(code)).inc()
            self.seconds.labels(route, method).observe(seconds)
        for openmetrics in (False, True):
            self.assertEqual(
                self.lines(self.registry, openmetrics=openmetrics), self.lines(self.expected, openmetrics=openmetrics)
            )

    def test_created(self) -> None:
        """Each series tells since when it counts, as the library's do."""
        self.tallies.of("/deployments", "GET").served(200, 0.1)
        created = [line.split("{")[0] for line in generate_openmetrics(self.registry).decode().splitlines()]
        for name in ("sre_server_http_requests", "sre_server_http_requests_received", SECONDS):
            self.assertIn(f"{name}_created", created)

    def test_from_zero_on(self) -> None:
        """What may come is shown before it has, so that the first of it is seen to be one more."""
        self.tallies.of("/deployments", "GET", 200, 304)
        value = self.registry.get_sample_value
        labels = {"route": "/deployments", "method": "GET", "code": "304"}
        self.assertEqual(value("sre_server_http_requests_total", labels), 0)
