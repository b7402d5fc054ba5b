"""What a process holds, over time: memory, descriptors, threads; and whether it grows."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, linear_regression
from typing import Final

from msgspec import Struct

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MEMORY: Final = "bytes"
SETTLED: Final = 1 / 3
"""The first part of a run does not count: caches fill, allocators find their size."""


class Bound(Struct, frozen=True):
    """So much may a figure grow over a whole run: a number, and a part of its mean."""

    number: float
    part: float = 0.0


BOUNDS: Final[Mapping[str, Bound]] = {
    MEMORY: Bound(4 * 2**20, 0.03),
    "descriptors": Bound(4),
    "threads": Bound(2),
    "lines a request": Bound(0.02),
}


def resources(pid: int) -> dict[str, float]:
    """Look at a process: resident memory in bytes, open descriptors, threads (Linux)."""
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    held = {"descriptors": process / "fd", "threads": process / "task"}
    counts = {name: sum(1 for _ in folder.iterdir()) for name, folder in held.items()}
    return {MEMORY: pages * _PAGE, **counts}


class Series:
    """One figure over time; `take` looks at it."""

    def __init__(self, name: str, kind: str, take: Callable[[], float]) -> None:
        self.name = name
        self.kind = kind
        self._take = take
        self.points: list[tuple[float, float]] = []

    def sample(self, at: float) -> None:
        """Take the figure at a time, in seconds."""
        self.points.append((at, self._take()))

    @property
    def settled(self) -> Sequence[tuple[float, float]]:
        """The points that count."""
        return self.points[int(len(self.points) * SETTLED) :]

    def growth(self) -> float:
        """By how much it grew over the part of the run that counts, by the line that fits best."""
        times, values = zip(*self.settled, strict=True)
        lasted: float = times[-1] - times[0]
        slope: float = linear_regression(times, values).slope
        return slope * lasted

    def mean(self) -> float:
        """Its mean there."""
        return fmean(value for _, value in self.settled)

    def within(self) -> bool:
        """Tell whether it grew by no more than it may."""
        bound = BOUNDS[self.kind]
        allowed: float = bound.number + bound.part * self.mean()
        return self.growth() <= allowed

    def __str__(self) -> str:
        """Say how it did."""
        scale, unit = (2**20, " MiB") if self.kind == MEMORY else (1, "")
        verdict = "" if self.within() else "  GROWS"
        return f"{self.name}: mean {self.mean() / scale:.2f}{unit}, {self.growth() / scale:+.2f}{unit}{verdict}"
