"""Token buckets: how often each client may ask, whatever the clock does and however many clients there are."""

from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security import limits
from sre_server.security.limits import Allowance, Rate, TokenBuckets, parse_rate


class TokenBucketsTests(SynchronousTestCase):
    """Two a second, five at once."""

    def setUp(self) -> None:
        """Make the buckets."""
        self.clock = Clock()
        self.now = 0.0
        self.buckets = TokenBuckets(Rate(2, 5), lambda: self.now)

    def take(self, times: int, client: str = "alice") -> list[bool]:
        """Ask so many times."""
        return [self.buckets.take(client).allowed for _ in range(times)]

    def test_the_burst(self) -> None:
        """So many at once after a pause, each told how many are left, and then no more."""
        self.assertEqual([self.buckets.take("alice").remaining for _ in range(5)], [4, 3, 2, 1, 0])
        self.assertEqual(self.buckets.take("alice"), Allowance(allowed=False, remaining=0, wait=0.5))

    def test_the_refill(self) -> None:
        """Tokens come back one by one, at the rate, up to the burst and no further."""
        self.take(5)
        self.now = 0.25
        refused = self.buckets.take("alice")
        self.assertEqual((refused.allowed, refused.wait), (False, 0.25))
        self.now = 0.5
        self.assertEqual(self.take(2), [True, False])
        self.now = 1000.0
        self.assertEqual(self.take(7), [True] * 5 + [False] * 2)

    def test_a_refusal_costs_nothing(self) -> None:
        """Who asks too often is not made to wait longer for it."""
        self.take(5)
        self.take(100)
        self.now = 0.5
        self.assertEqual(self.take(1), [True])

    def test_waiting_as_told_is_enough(self) -> None:
        """After the seconds that a refusal names, the next one passes."""
        self.take(5)
        for _ in range(20):
            self.now += self.buckets.take("alice").wait + 1e-9
            self.assertEqual(self.take(2), [True, False])

    def test_each_client_for_itself(self) -> None:
        """One who has used everything up leaves everybody else's bucket full."""
        self.take(50)
        self.assertEqual(self.take(6, "bob"), [True] * 5 + [False])

    def test_a_clock_that_goes_nowhere_or_back(self) -> None:
        """Time that stands still or goes back gives no tokens, and takes none."""
        self.now = 10.0
        self.take(4)
        self.now = 5.0
        self.assertEqual(self.take(2), [True, False])
        self.now = 5.5
        self.assertEqual(self.take(2), [True, False])

    def test_many_clients_take_bounded_room(self) -> None:
        """Who was silent for the longest is forgotten; who goes on asking is not, and gains nothing."""
        with mock.patch.object(limits, "MAX_CLIENTS", 100):
            self.take(5)
            for number in range(1000):
                self.assertEqual(self.take(1, f"client-{number}"), [True])
                self.assertEqual(self.take(1), [False])
            self.assertEqual(len(self.buckets._buckets), 100)
        self.assertEqual(limits.MAX_CLIENTS, 10_000)

    def test_slow_rates(self) -> None:
        """A rate below one a second works too."""
        self.buckets = TokenBuckets(Rate(0.01, 1), lambda: self.now)
        self.assertEqual(self.take(2), [True, False])
        self.assertAlmostEqual(self.buckets.take("alice").wait, 100.0)
        self.now = 100.0
        self.assertEqual(self.take(2), [True, False])

    def test_what_costs_more(self) -> None:
        """Tokens that are charged afterwards may be owed, at most a burst of them, and are earned before the next."""
        self.take(1)
        self.assertEqual(self.buckets.charge("alice", 2), Allowance(allowed=True, remaining=2, wait=0.0))
        self.assertEqual(self.buckets.charge("alice", 3), Allowance(allowed=True, remaining=0, wait=1.0))
        self.assertEqual(self.buckets.take("alice").wait, 1.0)
        self.now = 1.0
        self.assertEqual(self.take(2), [True, False])
        self.assertEqual(self.buckets.charge("alice", 1_000_000).wait, 3.0)
        self.assertEqual(self.buckets.charge("bob", 1_000_000).wait, 0.0)

    @settings(deadline=None)
    @given(st.lists(st.floats(0, 3, allow_subnormal=False), max_size=60))
    def test_never_more_than_promised(self, pauses: list[float]) -> None:
        """However requests are spread, in any stretch of time no more pass than the burst and the rate's share."""
        now = 0.0
        buckets = TokenBuckets(Rate(2, 5), lambda: now)
        passed = []
        for pause in pauses:
            now += pause
            if buckets.take("alice").allowed:
                passed.append(now)
        for first, begun in enumerate(passed):
            for last in range(first, len(passed)):
                self.assertLessEqual(last - first + 1, 5 + 2 * (passed[last] - begun) + 1e-6)


class ParseRateTests(SynchronousTestCase):
    """What `--read-rate` takes."""

    def test_rates(self) -> None:
        """A rate, with a burst or with twice the rate as one."""
        for text, rate in {
            "10": Rate(10, 20),
            "10:50": Rate(10, 50),
            "0.5": Rate(0.5, 1),
            "0.1:3": Rate(0.1, 3),
            "2.6": Rate(2.6, 6),
            "1000000:10000000": Rate(1_000_000, 10_000_000),
            "0.001:1": Rate(0.001, 1),
        }.items():
            self.assertEqual(parse_rate(text), rate, text)

    def test_what_is_no_rate(self) -> None:
        """Everything else is a ValueError, infinities and what is no number among it."""
        for text in ("", ":", ":5", "x", "5:x", "5:1.5", "5:0", "5:-1", "0", "-1", "0.0001:1", "1000001", "1:10000001"):
            self.assertRaises(ValueError, parse_rate, text)
        for text in ("nan", "nan:5", "inf", "-inf", "inf:5", "1e400", "1e400:5", "5:inf", "5:5:5", "5:" + "9" * 5000):
            self.assertRaises(ValueError, parse_rate, text)
