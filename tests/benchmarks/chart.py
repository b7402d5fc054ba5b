"""docs/performance.svg: what a read and a Deployment cost as the cluster grows, and what is felt of a storm."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from tests.benchmarks.report import Result
from tests.benchmarks.rounds import Figure
from tests.benchmarks.svg import Box, bar, ceiling, curve, document, rule, text, value_axis

WIDTH: Final = 980
HEIGHT: Final = 330
NEEDED: Final = ("single-read", "growth", "storm")
_PANEL: Final = 300
_TOP, _BOTTOM = 84, 62
_PERCENTILES: Final = ("p50", "p90", "p99", "p999")
_SERIES: Final = (
    ("idle", "one", "read, idle"),
    ("storm", "two", "read, storm"),
    ("visible", "three", "change to visible"),
)
_BAR: Final = 15
_GAP: Final = 2

Details = Mapping[str, Figure | float | int | str]


def chart(results: Sequence[Result]) -> str | None:
    """Draw the results; None if one of the rows that are needed was not measured."""
    found = {result.row: result.details for result in reversed(results) if result.details}
    if not set(NEEDED) <= set(found):
        return None
    boxes = [Box(52 + number * (_PANEL + 22), _TOP, _PANEL - 52, HEIGHT - _TOP - _BOTTOM) for number in range(3)]
    pieces = [
        *_reads(boxes[0], found["growth"], number_of(found["single-read"]["floor_cpu_us"])),
        *_memory(boxes[1], found["growth"]),
        *_storm(boxes[2], found["storm"]),
    ]
    label = "CPU of a read and memory against the number of Deployments, and latency under a storm of changes"
    return document(WIDTH, HEIGHT, label, pieces)


def number_of(value: Figure | float | str) -> float:
    """Return a detail as one number."""
    return value.median if isinstance(value, Figure) else float(value)


def _title(box: Box, title: str, unit: str) -> list[str]:
    return [text(box.x - 34, 28, title, "ink title"), text(box.x - 34, 46, unit, "soft")]


def _by_size(details: Details, prefix: str) -> list[tuple[int, float]]:
    """Return the sizes of clusters and what was measured at each."""
    found = ((name, value) for name, value in details.items() if name.startswith(prefix))
    return sorted((int(name.removeprefix(prefix)), number_of(value)) for name, value in found)


def _growing(box: Box, points: list[tuple[int, float]], highest: float) -> list[str]:
    """Draw a curve over the number of Deployments, each a power of ten to the right of the last."""
    pieces, at = value_axis(box, highest)
    low, high = (math.log10(points[index][0]) for index in (0, -1))
    placed = []
    for count, value in points:
        x = box.x + 16 + (box.width - 36) * (math.log10(count) - low) / ((high - low) or 1)
        placed.append((x, at(value)))
        pieces.append(text(x, box.y + box.height + 18, f"{count:,}", "muted", "middle"))
        pieces.append(text(x, at(value) - 10, f"{value:.0f}", "ink", "middle"))
    pieces.append(text(box.x + box.width / 2, box.y + box.height + 38, "Deployments", "soft", "middle"))
    return [*pieces, *curve(placed)]


def _reads(box: Box, details: Details, floor: float) -> list[str]:
    points = _by_size(details, "cpu_us_")
    highest = ceiling(max(value for _, value in points) * 1.1)
    y = box.y + box.height * (1 - floor / highest)
    line = rule(box.x, y, box.x + box.width, y, "dash", 'stroke-dasharray="4 4"')
    note = text(box.x + box.width, y - 6, f"floor: {floor:.0f}", "soft", "end")
    return [*_title(box, "One cached read", "µs of server CPU"), *_growing(box, points, highest), line, note]


def _memory(box: Box, details: Details) -> list[str]:
    points = _by_size(details, "resident_mb_")
    highest = ceiling(max(value for _, value in points) * 1.1)
    return [*_title(box, "Memory", "resident, MB"), *_growing(box, points, highest)]


def _storm(box: Box, details: Details) -> list[str]:
    highest = ceiling(max(number_of(details[f"{kind}_{name}_ms"]) for kind, _, _ in _SERIES for name in _PERCENTILES))
    pieces, at = value_axis(box, highest)
    bottom, step = box.y + box.height, box.width / len(_PERCENTILES)
    for place, name in enumerate(_PERCENTILES):
        middle = box.x + step * (place + 0.5)
        pieces.append(text(middle, bottom + 18, "p99.9" if name == "p999" else name, "muted", "middle"))
        for number, (kind, colour, _) in enumerate(_SERIES):
            x = middle + (number - 1.5) * (_BAR + _GAP)
            value = number_of(details[f"{kind}_{name}_ms"])
            pieces.append(bar(x, at(value), _BAR, bottom, colour))
            if name == "p99":
                pieces.append(
                    text(x + _BAR / 2, at(value) - 4, f"{value:.1f}" if value < 10 else f"{value:.0f}", "ink", "middle")
                )
    x = box.x - 34
    for _, colour, words in _SERIES:
        pieces += [
            f'<rect x="{x:.1f}" y="57" width="10" height="10" rx="2" class="{colour}"/>',
            text(x + 14, 66, words),
        ]
        x += 26 + 6.2 * len(words)
    return [*_title(box, "1,000 changes a second", "ms"), *pieces]
