"""How much may be asked of the cluster at a time: what docs/architecture.md says, and what the code has."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster import events, notes, pods, reviews, scaling, surveying
from sre_server.cluster.workers import Bounds

PAGE = Path(__file__).parents[2] / "docs/architecture.md"
BOUNDS = {
    "writes": scaling.BOUNDS,
    "permission checks of writes": reviews.WRITE_BOUNDS,
    "permission checks of reads, and for `.../permissions`": reviews.READ_BOUNDS,
    "plans, and writes that hold to one": surveying.BOUNDS,
    "temporary counts": notes.BOUNDS,
    "looks at pods": pods.BOUNDS,
    "Events": events.BOUNDS,
}


class BoundsTests(SynchronousTestCase):
    """The table of threads."""

    def test_they_are_as_documented(self) -> None:
        """Each kind of job has a row, with its bounds."""
        row = re.compile(r"^\| ([^|]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
        rows = row.findall(PAGE.read_text("utf-8"))
        self.assertEqual({what: Bounds(*map(int, numbers)) for what, *numbers in rows}, BOUNDS)
