"""Measure: `python -m tests.benchmarks [ROW ...]`, all rows if none is named."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import SkipTest

import msgspec

from tests.benchmarks.bench import Bench, Effort
from tests.benchmarks.building import ensure_load_generator
from tests.benchmarks.chart import NEEDED, chart
from tests.benchmarks.load import BenchError
from tests.benchmarks.model import NEEDED as MODELLED
from tests.benchmarks.model import explain
from tests.benchmarks.processes import Identities
from tests.benchmarks.report import Result, Verdict, report, skipped, table
from tests.benchmarks.rows import ROWS
from tests.controlplane.build import BuildError

CHECKOUT = Path(__file__).parents[2]


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"any of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=25, help="how often to measure each thing (default: 25)")
    parser.add_argument("--seconds", type=float, default=0.35, help="how long a round is (default: 0.35)")
    parser.add_argument("--smoke", action="store_true", help="one short round, small clusters: does it run at all?")
    parser.add_argument("--no-control-plane", action="store_true", help="leave the real kube-apiserver out")
    parser.add_argument("--chart", type=Path, help="draw the figures into this SVG file")
    parser.add_argument("--json", type=Path, default=CHECKOUT / "build/bench.json", help="where the figures go")
    return parser


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(bench: Bench, rows: Sequence[str]) -> list[Result]:
    """Measure rows; one that cannot be measured does not keep the others from it."""
    results: list[Result] = []
    for name in rows:
        row = ROWS[name]
        started = time.monotonic()
        if bench.binary is None and row.needs_load:
            measured = [skipped(name, row.what, row.goal, "needs Go")]
        else:
            try:
                measured = row.measure(bench)
            except SkipTest as reason:
                measured = [skipped(name, row.what, row.goal, str(reason))]
            except BenchError as error:
                measured = [skipped(name, row.what, row.goal, str(error).splitlines()[0], Verdict.FAILED)]
        for result in measured:
            say(f"{time.monotonic() - started:6.1f} s  {result.row}: {result.measured} ({result.verdict.value})")
        results += measured
    return results


def draw(results: Sequence[Result], file: Path) -> None:
    """Draw the chart, if what it shows was measured."""
    drawn = chart(results)
    if drawn is None:
        say(f"{file} is not drawn: it takes the rows {', '.join(NEEDED)}")
    else:
        file.write_text(drawn)


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the figures; return the exit status."""
    options = arguments().parse_args(argv)
    if unknown := set(options.rows) - set(ROWS):
        say(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
        return 2
    effort = Effort(1, 0.1, 50, 0.1) if options.smoke else Effort(options.rounds, options.seconds)
    started, before = time.monotonic(), os.getloadavg()[0]
    try:
        binary = ensure_load_generator()
    except BuildError as error:
        say(f"skipped, all rows that need load: {error}")
        binary = None
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        bench = Bench(folder, effort, Identities(folder), binary, not options.no_control_plane)
        results = run(bench, options.rows or list(ROWS))
    written = report(results, effort.rounds, before, time.monotonic() - started)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(written)) + b"\n")
    if options.chart is not None:
        draw(results, options.chart)
    load = f"load average before it {before:.1f}, at its end {written.load_after:.1f}"
    say(f"\n{table(results)}\n\n{options.json}: {written.seconds:.0f} s, {load}")
    if not options.smoke and set(MODELLED) <= {result.row for result in results}:
        say(f"\n{explain(results)}")
    return 1 if any(result.verdict is Verdict.FAILED for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
