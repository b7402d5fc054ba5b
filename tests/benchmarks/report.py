"""What the benchmark says: a result for each row, as a table for people and as JSON."""

import os
import platform
from collections.abc import Sequence
from enum import Enum

from msgspec import Struct, field

import sre_server
from tests.benchmarks.rounds import Figure


class Verdict(Enum):
    """How a row ended; only `MET` and `MISSED` were measured against a goal."""

    MET = "met"
    MISSED = "missed"
    NOTED = "noted"
    NOT_SERVED = "not served"
    SKIPPED = "skipped"
    FAILED = "failed"


class Result(Struct, frozen=True):
    """One row: what was wanted, what was measured, and beside what.

    `ratio` is what the goal is about, over all rounds; `details` are figures for those who want to know more.
    """

    row: str
    what: str
    goal: str
    measured: str
    verdict: Verdict
    ratio: Figure | None = None
    details: dict[str, Figure | float | int | str] = field(default_factory=dict)


def verdict(*holds: bool) -> Verdict:
    """Return whether every part of a goal is met."""
    return Verdict.MET if all(holds) else Verdict.MISSED


def skipped(row: str, what: str, goal: str, reason: str, kind: Verdict = Verdict.SKIPPED) -> Result:
    """Return a row that was not measured, and why."""
    return Result(row, what, goal, reason, kind)


class Report(Struct, frozen=True):
    """A whole run."""

    version: str
    python: str
    machine: str
    processors: int
    rounds: int
    load_before: float
    load_after: float
    seconds: float
    results: list[Result]


def report(results: Sequence[Result], rounds: int, load_before: float, seconds: float) -> Report:
    """Return the report of results."""
    return Report(
        sre_server.__version__,
        platform.python_version(),
        platform.machine(),
        os.cpu_count() or 1,
        rounds,
        load_before,
        os.getloadavg()[0],
        round(seconds, 1),
        list(results),
    )


def table(results: Sequence[Result]) -> str:
    """Return the results as columns of text."""
    heads = ("row", "what", "goal", "measured", "ratio (spread)", "verdict")
    rows = [heads, *(_cells(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _cells(result: Result) -> tuple[str, ...]:
    ratio = result.ratio
    shown = f"{ratio.median:.2f} ({ratio.lowest:.2f}-{ratio.highest:.2f})" if ratio else ""
    return (result.row, result.what, result.goal, result.measured, shown, result.verdict.value)
