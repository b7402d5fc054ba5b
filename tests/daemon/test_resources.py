"""Descriptors and the heap."""

import gc
import resource
import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.daemon.resources import (
    LOOK_SECONDS,
    SPARE_DESCRIPTORS,
    SettledHeap,
    raise_descriptor_limit,
    shorten_switch_interval,
)


class RoomTests(SynchronousTestCase):
    """`raise_descriptor_limit`, with limits that are only looked at."""

    def limits(self, soft: int, hard: int) -> list[tuple[int, int]]:
        """Pretend that these are the limits; return what they are set to."""
        new: list[tuple[int, int]] = []
        self.patch(resource, "getrlimit", lambda _: (soft, hard))
        self.patch(resource, "setrlimit", lambda _, limits: new.append(limits))
        return new

    def test_enough(self) -> None:
        """Where there are descriptors enough nothing is changed."""
        new = self.limits(4096, 4096)
        self.assertEqual((raise_descriptor_limit(1000), new), (1000, []))

    def test_raised(self) -> None:
        """A soft limit that is too low is raised as far as is needed."""
        new = self.limits(1024, 65536)
        self.assertEqual((raise_descriptor_limit(4096), new), (4096, [(4096 + SPARE_DESCRIPTORS, 65536)]))

    def test_capped(self) -> None:
        """Where the hard limit is too low there is room for fewer connections, and something to spare."""
        new = self.limits(1024, 2048)
        self.assertEqual((raise_descriptor_limit(4096), new), (2048 - SPARE_DESCRIPTORS, [(2048, 2048)]))

    def test_unlimited(self) -> None:
        """Where nothing limits us, nothing is changed."""
        new = self.limits(resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        self.assertEqual((raise_descriptor_limit(4096), new), (4096, []))


class TimeTests(SynchronousTestCase):
    """`shorten_switch_interval`, and the interpreter's own setting."""

    def test_turns(self) -> None:
        """A thread that computes gives way after a millisecond."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        shorten_switch_interval()
        self.assertAlmostEqual(sys.getswitchinterval(), 0.001)


class HeapTests(SynchronousTestCase):
    """`SettledHeap`, with a collector that only counts."""

    def setUp(self) -> None:
        """Watch the collector."""
        self.calls: list[str] = []
        self.patch(gc, "collect", lambda: self.calls.append("collect"))
        self.patch(gc, "freeze", lambda: self.calls.append("freeze"))
        self.clock = Clock()
        self.there = False
        self.service = SettledHeap(self.clock, lambda: self.there)

    def test_once_it_is_there(self) -> None:
        """The heap is frozen as it is found, and collected and frozen once more when everything is there."""
        self.service.startService()
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.calls, ["freeze"])
        self.calls.clear()
        self.there = True
        self.clock.pump([LOOK_SECONDS] * 3)
        self.assertEqual((self.calls, self.clock.getDelayedCalls()), (["collect", "freeze"], []))

    def test_stopping(self) -> None:
        """A service that is stopped while it waits leaves no timer."""
        self.service.startService()
        self.service.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
