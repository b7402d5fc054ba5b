"""`make bench` in short: that it runs and prints every row. What it measures is not asserted."""

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.benchmarks.building import ensure_load_generator
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.rows import ROWS
from tests.controlplane.build import BuildError
from tests.functional.daemon import environment

pytestmark = pytest.mark.xdist_group("load")

CHECKOUT = Path(__file__).parents[2]
LIMIT_SECONDS = 600


class BenchSmokeTests(SynchronousTestCase):
    """One short round of everything, against small clusters."""

    def test_every_row_is_measured_and_printed(self) -> None:
        """The table and the JSON have every row, none of which failed, and the chart is well-formed XML."""
        try:
            ensure_load_generator()
        except BuildError as error:
            raise SkipTest(str(error)) from None
        with tempfile.TemporaryDirectory() as name:
            figures, drawing = Path(name, "bench.json"), Path(name, "bench.svg")
            command = [sys.executable, "-m", "tests.benchmarks", "--smoke", f"--json={figures}", f"--chart={drawing}"]
            done = subprocess.run(
                [*command, "--no-control-plane"],
                cwd=CHECKOUT,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=LIMIT_SECONDS,
                check=False,
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            report = msgspec.json.decode(figures.read_bytes(), type=Report)
            ElementTree.fromstring(drawing.read_text())  # noqa: S314  # our own
        self.assertEqual({result.verdict for result in report.results} & {Verdict.FAILED}, set())
        lines = done.stdout.splitlines()
        for row in ROWS:
            self.assertTrue([line for line in lines if line.startswith(row + " ")], f"no line of {row} in the table")
