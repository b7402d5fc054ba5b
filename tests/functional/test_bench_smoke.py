"""`make bench` in short: that it runs and prints every row. How fast anything was is not asserted."""

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.benchmarks.bench import exchange, header
from tests.benchmarks.building import ensure_handler, ensure_load_generator
from tests.benchmarks.processes import DaemonProcess, Identities
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.rivals import Handler, Nginx, find_nginx
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


class RivalTests(SynchronousTestCase):
    """What others serve in the benchmark is what the server does."""

    BODY = b'{"name": "a\\\\b"}\n'
    ANSWER = (
        b'HTTP/1.1 200 OK\r\nDate: Thu, 26 Nov 2026 11:45:29 GMT\r\nAge: 1\r\nRateLimit: "read";r=9\r\n'
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    )

    def check(self, rival: DaemonProcess) -> None:
        """The body and the fields are those of the answer."""
        with rival:
            answer = exchange(rival.target, "/anything")
        self.assertEqual(answer.partition(b"\r\n\r\n")[2], self.BODY)
        for name in ("age", "ratelimit", "content-type", "content-length"):
            self.assertEqual(header(answer, name), header(self.ANSWER, name))

    def test_go(self) -> None:
        """The handler in Go sends what it was given."""
        try:
            ensure_handler()
        except BuildError as error:
            raise SkipTest(str(error)) from None
        with tempfile.TemporaryDirectory() as name:
            self.check(Handler(Path(name), Identities(Path(name)), self.ANSWER))

    def test_nginx(self) -> None:
        """And so does nginx."""
        program = find_nginx()
        if program is None:
            raise SkipTest("nginx is not installed")
        with tempfile.TemporaryDirectory() as name:
            self.check(Nginx(program, Path(name), Identities(Path(name)), self.ANSWER))
