"""Peers that take what they are sent slowly, and peers that do not take it."""

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.web.clocks import CallLater, Clocks
from sre_server.web.stalls import TAKEN_BYTES, cut_when_stalled


class Sent:
    """A transport that has bytes on their way, and whose peer takes some of them each second."""

    def __init__(self, clock: Clock, size: int, takes: Callable[[float], int]) -> None:
        self._clock = clock
        self._size = size
        self._takes = takes
        self.cut_after: float | None = None

    def unacknowledged(self) -> int:
        """Return how many are left."""
        return max(0, self._size - self._takes(self._clock.seconds()))

    def abortConnection(self) -> None:
        """Note when."""
        self.cut_after = self._clock.seconds()


class StallsTests(SynchronousTestCase):
    """A clock of ten seconds, and a megabyte."""

    def setUp(self) -> None:
        """Begin."""
        self.clock = Clock()
        self.clocks = Clocks(cast("CallLater", self.clock.callLater))

    def cut_after(self, takes: Callable[[float], int], size: int = 2**20, then: float | None = None) -> float | None:
        """When a peer is cut that has taken so much by each second; None within ten minutes."""
        sent = Sent(self.clock, size, takes)
        cut_when_stalled(self.clocks, "write", cast("ITCPTransport", sent), 10, then)
        began = self.clock.seconds()
        self.clock.pump([1.0] * 600)
        self.clocks.stop_all()
        return sent.cut_after - began if sent.cut_after is not None else None

    def test_a_peer_that_takes_nothing(self) -> None:
        """It is cut after the time, and so is one to which nothing is on its way."""
        for size in (2**20, 1, 0):
            self.assertEqual(self.cut_after(lambda _: 0, size), 10, size)

    def test_a_peer_on_a_slow_line(self) -> None:
        """It may take as long as it takes, and then as long as anybody to close."""
        self.assertEqual(self.cut_after(lambda at: int(at * TAKEN_BYTES / 8)), 128 + 10)

    def test_a_peer_that_is_to_close(self) -> None:
        """While it takes what it is sent it has as long for that as ever, and then less."""
        self.assertEqual(self.cut_after(lambda _: 0, 2**20, 5), 10)
        for end in (0, 24):
            self.assertEqual(self.cut_after(lambda _: 0, end, 5), 5, end)
        began = self.clock.seconds()
        self.assertEqual(self.cut_after(lambda at: int((at - began) * TAKEN_BYTES / 8), then=5), 128 + 5)

    def test_a_peer_that_is_sent_more(self) -> None:
        """What comes later counts like what was there at first, and its coming is no progress."""
        began = self.clock.seconds()
        self.assertEqual(self.cut_after(lambda at: -(2**20) if at - began > 3 else 0), 10)
        began = self.clock.seconds()
        taken = self.cut_after(lambda at: int((at - began - 4) * TAKEN_BYTES / 8), 1)
        self.assertEqual(taken, 4 + 1 + 10)

    def test_a_peer_that_stops_halfway(self) -> None:
        """The time counts from when it took the last."""
        began = self.clock.seconds()
        self.assertEqual(self.cut_after(lambda at: int(min(at - began, 6) * TAKEN_BYTES)), 6 + 10)

    def test_a_peer_that_takes_next_to_nothing(self) -> None:
        """A byte now and then does not count; the last ones do, however few they are."""
        self.assertEqual(self.cut_after(int), 10)
        began = self.clock.seconds()
        self.assertEqual(self.cut_after(lambda at: int((at - began) * 100), 700), 7 + 10)

    def test_a_transport_that_cannot_tell(self) -> None:
        """The time is all that counts."""
        cut: list[float] = []

        class Silent:
            def abortConnection(transport) -> None:  # noqa: N805  # `self` is the test
                cut.append(self.clock.seconds())

        for then, after in ((None, 10), (5, 5)):
            began = self.clock.seconds()
            cut_when_stalled(self.clocks, "write", cast("ITCPTransport", Silent()), 10, then)
            self.clock.pump([1.0] * 600)
            self.assertEqual(cut.pop() - began, after)

    def test_one_that_runs(self) -> None:
        """A clock that runs is left alone, and one that is stopped cuts nothing."""
        sent = Sent(self.clock, 2**20, lambda _: 0)
        cut_when_stalled(self.clocks, "write", cast("ITCPTransport", sent), 10)
        self.clock.pump([1.0] * 9)
        cut_when_stalled(self.clocks, "write", cast("ITCPTransport", sent), 10)
        self.assertIsNone(sent.cut_after)
        self.clocks.stop("write")
        self.clock.pump([1.0] * 600)
        self.assertIsNone(sent.cut_after)
