"""What a shared cache costs at sizes that no machine at hand has: `python -m tests.benchmarks.model [FILE]`.

Everything is a straight line, through what was measured at the smallest and at the largest size (of the Deployments,
100,000). What was measured at the other sizes is what the lines are checked against.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec
from msgspec import Struct

from sre_server.news import sources_beside, sources_of
from sre_server.store.writer import ALWAYS_RETAINED_SECONDS, RETAINED_BYTES, RETAINED_SECONDS
from tests.benchmarks.objects import OBJECT_BYTES
from tests.benchmarks.report import Report, Result
from tests.benchmarks.rounds import Figure

FITTED: Final = 100_000
"""What was measured with more Deployments is not fitted but predicted."""
WATCHERS: Final = 2
LINKS: Final = {"1 Gbit/s": 125e6, "10 Gbit/s": 1.25e9}
Figures = Mapping[str, Mapping[str, float]]


class Line(Struct, frozen=True):
    """Something that costs this much in any case, and this much more for each."""

    fixed: float
    each: float

    @classmethod
    def through(cls, points: Mapping[int, float]) -> Self:
        """Draw the line through the smallest and the largest size that are fitted."""
        sizes = sorted(size for size in points if size <= FITTED)
        low, high = sizes[0], sizes[-1]
        each = (points[high] - points[low]) / (high - low)
        return cls(points[low] - each * low, each)

    def at(self, size: float) -> float:
        """Return what it comes to."""
        return self.fixed + self.each * size


class Checked(Struct, frozen=True):
    """A line, and what was measured."""

    what: str
    unit: str
    points: Mapping[int, float]
    scale: float = 1.0

    @property
    def line(self) -> Line:
        """The line through two of the points."""
        return Line.through(self.points)

    def errors(self) -> Iterator[tuple[int, float, float]]:
        """Yield each size that the line was not drawn through, what it predicts there, and what was measured."""
        fitted = sorted(size for size in self.points if size <= FITTED)
        for size in sorted(self.points):
            if size not in (fitted[0], fitted[-1]):
                yield size, self.line.at(size), self.points[size]


_KINDS: Final = {
    "redis": ("CPU of Redis", "% of a core", 100.0, "shared-redis", "core_share_"),
    "egress": ("sent by Redis", "MB/s", 1e-6, "shared-redis", "egress_bytes_"),
    "held": ("memory in Redis", "MB", 1e-6, "shared-bytes", "held_bytes_"),
    "load": ("a load, over loopback", "s", 1.0, "shared-bytes", "load_seconds_"),
    "load_cpu": ("CPU of a load", "s", 1.0, "shared-bytes", "load_cpu_seconds_"),
    "load_redis": ("CPU of Redis for a load", "s", 1.0, "shared-bytes", "load_redis_cpu_seconds_"),
    "load_sent": ("sent for a load", "MB", 1e-6, "shared-bytes", "load_sent_bytes_"),
    "api": ("memory of an api process", "MB", 1.0, "shared-start", "resident_mb_"),
    "watcher": ("memory of a watcher", "MB", 1.0, "shared-start", "watcher_resident_mb_"),
}
"""What, unit, what to multiply by for it, the row, and what its details begin with; an ending is the size."""

NEEDED: Final = ("shared-following", *sorted({row for *_, row, _ in _KINDS.values()}))


class Model:
    """The lines, by name; made of a report's figures."""

    def __init__(self, figures: Figures) -> None:
        """Raises KeyError or ValueError for figures that lack a row, or have it at one size only."""
        self.checked = {
            name: Checked(what, unit, _sizes(figures[row], prefix), scale)
            for name, (what, unit, scale, row, prefix) in _KINDS.items()
        }
        self.lines = {name: checked.line for name, checked in self.checked.items()}
        self._following = max(_sizes(figures["shared-following"], "core_share_").values())

    @property
    def retained_seconds(self) -> float:
        """How far back the log goes: as many bytes are appended a second as each follower is sent."""
        by_size = RETAINED_BYTES / self.lines["egress"].each
        return max(ALWAYS_RETAINED_SECONDS, min(RETAINED_SECONDS, by_size))

    def reload_seconds(self, pods: int, deployments: int, link: float) -> float:
        """Return how long it takes until so many pods have loaded everything at the same time, at bytes a second."""
        sent = pods * self.lines["load_sent"].at(deployments) / (link - self.lines["egress"].at(pods))
        return max(sent, pods * self.lines["load_redis"].at(deployments)) if sent > 0 else float("inf")

    def predicted(self, pods: int, deployments: int) -> Iterator[tuple[str, str, str]]:
        """Yield what there is to know of an install: what, with pods that watch by themselves, with a shared cache."""
        lines, listed = self.lines, deployments * OBJECT_BYTES
        watches = len([*sources_of(()), *sources_beside(())])
        yield "watches at the API server", f"{watches * pods:,}", f"{watches * WATCHERS}"
        yield "lists when all are new", f"{pods * listed / 1e9:,.0f} GB", f"{WATCHERS * listed / 1e9:,.1f} GB"
        yield "CPU of Redis", "", f"{lines['redis'].at(pods):.0%} of a core"
        yield "sent by Redis", "", f"{lines['egress'].at(pods) / 1e6:,.0f} MB/s"
        log = self.retained_seconds * lines["egress"].each
        yield (
            "memory in Redis",
            "",
            f"{(lines['held'].at(deployments) + log) / 1e6:,.0f} MB, {log / 1e6:,.0f} of it log",
        )
        load, sent = lines["load"].at(deployments), lines["load_sent"].at(deployments) / 1e6
        yield "a load", "", f"{load:.1f} s, {lines['load_cpu'].at(deployments):.1f} s of CPU, {sent:,.0f} MB"
        yield "CPU of an api process", "", f"{self._following:.1%} of a core, however many there are"
        yield "memory of an api process", "", f"{lines['api'].at(deployments):,.0f} MB"
        yield "memory of a watcher", "", f"{lines['watcher'].at(deployments):,.0f} MB"
        full = (1 - lines["redis"].fixed) / lines["redis"].each
        yield "pods at which a core of Redis is full", "", f"{full:,.0f}"
        for name, link in LINKS.items():
            yield f"pods at which {name} are full", "", f"{link / lines['egress'].each:,.0f}"
            seconds = self.reload_seconds(pods, deployments, link)
            yield f"all pods load at once, {name}", "", f"{seconds:,.0f} s; the log has {self.retained_seconds:,.0f}"


def _sizes(details: Mapping[str, float], prefix: str) -> dict[int, float]:
    """Return what was measured by size."""
    found = {name.removeprefix(prefix): value for name, value in details.items() if name.startswith(prefix)}
    points = {int(size): value for size, value in found.items() if size.isdecimal()}
    if len([size for size in points if size <= FITTED]) < 2:
        raise ValueError(f"{prefix} was measured at fewer than two sizes")
    return points


def figures_of(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """Return the numbers of all rows: the least of several, as what else a machine does only adds to them."""
    return {
        result.row: {
            name: value.lowest if isinstance(value, Figure) else value
            for name, value in result.details.items()
            if not isinstance(value, str)
        }
        for result in results
    }


def explain(results: Sequence[Result], pods: int = 1000, deployments: int = 1_000_000) -> str:
    """Return how well the lines predict, and what they come to at a size; or why nothing can be said."""
    try:
        model = Model(figures_of(results))
    except (KeyError, ValueError) as missing:
        return f"no model of a shared cache: it takes {', '.join(NEEDED)} at several sizes ({missing})"
    lines = ["between and beyond the sizes that the model is made of:"]
    for checked in model.checked.values():
        for size, expected, measured in checked.errors():
            ours, theirs = (f"{value * checked.scale:.3g}" for value in (expected, measured))
            error = expected / measured - 1
            lines.append(f"  {checked.what} at {size:,}: {ours}, measured {theirs} {checked.unit} ({error:+.0%})")
    lines.append(f"{pods:,} pods, {deployments:,} Deployments, 1,000 changes/s (each pod by itself | shared):")
    for what, alone, shared in model.predicted(pods, deployments):
        lines.append(f"  {what}: {alone + ' | ' if alone else ''}{shared}")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Print what the figures of a run come to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.model", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=Path(__file__).parents[2] / "build/bench.json")
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--deployments", type=int, default=1_000_000)
    options = parser.parse_args(argv)
    results = msgspec.json.decode(options.file.read_bytes(), type=Report).results
    sys.stdout.write(explain(results, options.pods, options.deployments) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
