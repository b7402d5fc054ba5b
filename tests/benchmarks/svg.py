"""Just enough SVG for the charts: text, lines, and axes, in colours that suit a light page and a dark one."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from msgspec import Struct

STYLE: Final = """
  .surface { fill: #fcfcfb; stroke: #e1e0d9 } .ink { fill: #0b0b0b } .soft { fill: #52514e } .muted { fill: #898781 }
  .grid { stroke: #e1e0d9 } .axis { stroke: #c3c2b7 } .ring { stroke: #fcfcfb }
  .one { fill: #2a78d6 } .two { fill: #eb6834 } .three { fill: #1baf7a } .line { stroke: #2a78d6 }
  .dash { stroke: #898781 }
  text { font: 11px system-ui, -apple-system, "Segoe UI", sans-serif } .title { font-size: 13px; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .surface { fill: #1a1a19; stroke: #2c2c2a } .ink { fill: #fff } .soft { fill: #c3c2b7 } .muted { fill: #898781 }
    .grid { stroke: #2c2c2a } .axis { stroke: #52514e } .ring { stroke: #1a1a19 }
    .one { fill: #3987e5 } .two { fill: #d95926 } .three { fill: #199e70 } .line { stroke: #3987e5 }
  }
"""
"""Text wears ink, never the colour of what it names."""


class Box(Struct, frozen=True):
    """Where something is drawn, in pixels from the top left."""

    x: float
    y: float
    width: float
    height: float


def text(x: float, y: float, words: str, kind: str = "soft", anchor: str = "start") -> str:
    """Write words."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def rule(x: float, y: float, to_x: float, to_y: float, kind: str = "grid", extra: str = "") -> str:
    """Draw a straight line."""
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" class="{kind}" {extra}/>'


def document(width: int, height: int, label: str, pieces: Sequence[str]) -> str:
    """Return a whole file."""
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    surface = f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" class="surface"/>'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(label)}">'
    return "\n".join([start, f"<style>{STYLE}</style>", surface, *pieces, "</svg>", ""])


def ceiling(value: float) -> float:
    """Return a round number that is no less: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def value_axis(box: Box, highest: float) -> tuple[list[str], Callable[[float], float]]:
    """Draw horizontal lines with their values from 0 up; return them, and what maps a value to its height."""

    def at(value: float) -> float:
        return box.y + box.height * (1 - value / highest)

    pieces = []
    ticks = 4 if f"{highest:e}".startswith("2") else 5
    for number in range(ticks + 1):
        value = highest * number / ticks
        pieces.append(rule(box.x, at(value), box.x + box.width, at(value), "grid" if number else "axis"))
        pieces.append(text(box.x - 6, at(value) + 4, f"{value:g}", "muted", "end"))
    return pieces, at


def curve(points: Sequence[tuple[float, float]]) -> list[str]:
    """Draw points and the line through them."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = f'<polyline points="{path}" fill="none" stroke-width="2" class="line"/>'
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" stroke-width="2" class="one ring"/>' for x, y in points]
    return [line, *dots]


def bar(x: float, top: float, width: float, bottom: float, kind: str) -> str:
    """Draw a column, rounded at its end, flat on its axis."""
    round_ = min(3.0, width / 2, bottom - top)
    path = (
        f"M{x:.1f},{bottom:.1f} V{top + round_:.1f} q0,-{round_:.1f} {round_:.1f},-{round_:.1f} "
        f"h{width - 2 * round_:.1f} q{round_:.1f},0 {round_:.1f},{round_:.1f} V{bottom:.1f} Z"
    )
    return f'<path d="{path}" class="{kind}"/>'
