"""The soak itself: that it runs, and that it would see what grows."""

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.soak.__main__ import soak
from tests.soak.sampling import MEMORY, Series

pytestmark = pytest.mark.xdist_group("load")


def series(kind: str, *values: float) -> Series:
    """Make a series of these values, one a minute."""
    found = Series("something", kind, iter(values).__next__)
    for minute in range(len(values)):
        found.sample(60.0 * minute)
    return found


class SamplingTests(SynchronousTestCase):
    """What counts as growth."""

    def test_growth(self) -> None:
        """A leak is found, however slow; noise, and what happens while caches fill, is none."""
        mebibyte = 2.0**20
        for kind, values, within in (
            ("descriptors", [20, 21, 19, 20, 22, 20, 19, 20, 21], True),
            ("descriptors", [20, 22, 24, 26, 28, 30, 32, 34, 36], False),
            ("threads", [4, 4, 4, 5, 6, 7, 8, 9, 10], False),
            ("lines a request", [1, 1, 1, 1.01, 1.02, 1.0, 1.01, 1.0, 1.01], True),
            (MEMORY, [mebibyte * each for each in (60, 90, 100, 101, 100, 102, 101, 100, 102)], True),
            (MEMORY, [mebibyte * each for each in (60, 70, 80, 90, 100, 110, 120, 130, 140)], False),
        ):
            with self.subTest(kind=kind, values=values):
                self.assertIs(series(kind, *values).within(), within)


class SoakTests(SynchronousTestCase):
    """A very short one."""

    def test_soak(self) -> None:
        """Everything is kept busy, and everything is looked at; whether it grows takes longer to tell."""
        seen = soak(20, sample_seconds=1)
        self.assertEqual(len(seen), 12)
        for each in seen:
            with self.subTest(each.name):
                self.assertGreater(len(each.points), 5)
                self.assertGreater(each.mean(), 0)
