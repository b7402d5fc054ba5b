"""The model of a shared cache: straight lines through measured figures."""

from twisted.trial.unittest import SynchronousTestCase

from tests.benchmarks.model import Checked, Line, Model, explain
from tests.benchmarks.report import Result, Verdict
from tests.benchmarks.rounds import Figure

ROWS = {
    "shared-redis": {
        **{f"core_share_{size}": 0.01 + 0.001 * size for size in (10, 25, 50)},
        **{f"egress_bytes_{size}": 80e3 * size for size in (10, 25, 50)},
    },
    "shared-following": {f"core_share_{size}": 0.012 for size in (10, 25, 50)},
    "shared-bytes": {
        **{f"held_bytes_{size}": 90.0 * size for size in (10_000, 100_000, 1_000_000)},
        **{f"load_seconds_{size}": 3e-6 * size for size in (10_000, 100_000, 1_000_000)},
        **{f"load_cpu_seconds_{size}": 2e-6 * size for size in (10_000, 100_000, 1_000_000)},
        **{f"load_redis_cpu_seconds_{size}": 3e-8 * size for size in (10_000, 100_000, 1_000_000)},
        **{f"load_sent_bytes_{size}": 80.0 * size for size in (10_000, 100_000, 1_000_000)},
    },
    "shared-start": {
        **{f"resident_mb_{size}": 70 + size / 2000 for size in (0, 10_000, 100_000)},
        **{f"watcher_resident_mb_{size}": 70 + size / 2000 for size in (0, 10_000, 100_000)},
    },
}


class LineTests(SynchronousTestCase):
    """What is measured at some sizes says what to expect at others."""

    def test_between_and_beyond(self) -> None:
        """A line goes through its two ends, and on."""
        line = Line.through({10: 3.0, 25: 99.0, 50: 11.0})
        self.assertEqual([line.at(size) for size in (0, 10, 50, 1000)], [1.0, 3.0, 11.0, 201.0])

    def test_what_is_not_fitted_is_checked(self) -> None:
        """The sizes between the ends, and those that are too large to be fitted, are compared with the line."""
        points = {10_000: 1.0, 50_000: 6.0, 100_000: 10.0, 1_000_000: 80.0}
        self.assertEqual(
            [(size, round(ours, 9), theirs) for size, ours, theirs in Checked("", "", points).errors()],
            [(50_000, 5.0, 6.0), (1_000_000, 100.0, 80.0)],
        )


class ModelTests(SynchronousTestCase):
    """What an install of any size is to be expected to cost."""

    def setUp(self) -> None:
        """Make a model of round figures."""
        self.model = Model(ROWS)
        self.predicted = {what: shared for what, _, shared in self.model.predicted(1000, 1_000_000)}

    def test_a_thousand_pods(self) -> None:
        """Each line is multiplied by what it is a line over, pods or Deployments."""
        self.assertEqual(self.predicted["CPU of Redis"], "101% of a core")
        self.assertEqual(self.predicted["sent by Redis"], "80 MB/s")
        self.assertEqual(self.predicted["memory in Redis"], "114 MB, 24 of it log")
        self.assertEqual(self.predicted["a load"], "3.0 s, 2.0 s of CPU, 80 MB")
        self.assertEqual(self.predicted["memory of an api process"], "570 MB")

    def test_where_it_ends(self) -> None:
        """A core of Redis and a link are full at some number of pods."""
        self.assertEqual(self.predicted["pods at which a core of Redis is full"], "990")
        self.assertEqual(self.predicted["pods at which 1 Gbit/s are full"], "1,562")

    def test_all_load_at_once(self) -> None:
        """Loads share the link with what is sent to followers; past that, none ends."""
        self.assertAlmostEqual(self.model.reload_seconds(1000, 1_000_000, 125e6), 80e9 / (125e6 - 80e6))
        self.assertEqual(self.model.reload_seconds(2000, 1_000_000, 125e6), float("inf"))

    def test_redis_may_be_slower_than_the_link(self) -> None:
        """On a fast link all loads take as long as Redis does for them."""
        self.assertAlmostEqual(self.model.reload_seconds(1000, 1_000_000, 1e15), 1000 * 0.03)

    def test_the_log_is_bounded_by_its_size(self) -> None:
        """Where much changes, the log does not go back for five minutes, but for two at least."""
        for sent, seconds in ((80e3, 300.0), (64 * 2**20 / 200, 200.0), (1e9, 120.0)):
            rows = {**ROWS, "shared-redis": {**ROWS["shared-redis"]}}
            rows["shared-redis"] |= {f"egress_bytes_{size}": sent * size for size in (10, 50)}
            self.assertAlmostEqual(Model(rows).retained_seconds, seconds)


class ExplainTests(SynchronousTestCase):
    """What people read of it."""

    def results(self, *rows: str) -> list[Result]:
        """Return results with these rows' figures, as the least of some rounds."""
        return [
            Result(row, "", "", "", Verdict.MET, None, {name: Figure(9e8, at, 9e9) for name, at in ROWS[row].items()})
            for row in rows
        ]

    def test_errors_and_predictions(self) -> None:
        """The error of each prediction is told, then what comes out for an install."""
        text = explain(self.results(*ROWS), 500, 2000)
        self.assertIn("CPU of Redis at 25: 3.5, measured 3.5 % of a core (+0%)", text)
        self.assertIn("500 pods, 2,000 Deployments", text)
        self.assertIn("lists when all are new: 5 GB | 0.0 GB", text)

    def test_a_row_is_missing(self) -> None:
        """Without the figures there is no model, and it says what it takes."""
        text = explain(self.results("shared-redis", "shared-start"))
        self.assertIn("no model of a shared cache: it takes shared-following, shared-bytes,", text)

    def test_a_row_was_measured_at_one_size(self) -> None:
        """One size makes no line: a short run has no model either."""
        results = self.results(*ROWS)
        one = Result("shared-redis", "", "", "", Verdict.MET, None, {"core_share_1": 0.1, "egress_bytes_1": 1.0})
        self.assertIn("no model of a shared cache", explain([*results, one]))
