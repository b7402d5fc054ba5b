"""One single read, and the memory of the process, as the cluster grows: four servers side by side."""

from contextlib import ExitStack
from typing import Final

from tests.benchmarks.bench import Bench, single_reads
from tests.benchmarks.processes import resident_bytes
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import Figure, by_turns

SIZES: Final = (100, 1_000, 10_000, 100_000)
GOAL: Final = 1.10


def growth(bench: Bench) -> list[Result]:
    """Measure single reads against clusters of 100 to 100,000 Deployments, by turns."""
    sizes = sorted({bench.size(size) for size in SIZES})
    with ExitStack() as stack:
        servers = {size: bench.server(stack, size, log=f"server-{size}.log") for size in sizes}
        contestants = {
            str(size): bench.contestant(stack, server, server.target, single_reads(size, 100))
            for size, server in servers.items()
        }
        taken = by_turns(contestants, bench.effort.rounds, bench.effort.seconds)
        resident = {size: resident_bytes(server.pid) for size, server in servers.items()}
    costs = {size: taken[str(size)].cpu for size in sizes}
    beside_smallest = {size: taken[str(size)].ratios(taken[str(sizes[0])]) for size in sizes}
    ratios = beside_smallest.values()
    ratio = Figure(
        max(each.median for each in ratios) / min(each.median for each in ratios),
        min(each.lowest for each in ratios),
        max(each.highest for each in ratios),
    )
    shown = ", ".join(f"{size:,}: {cost.median:.0f}" for size, cost in costs.items())
    return [
        Result(
            "growth",
            "CPU of a single read as the cluster grows",
            f"highest <= {GOAL:g} x lowest",
            f"{shown} us",
            verdict(ratio.median <= GOAL),
            ratio,
            {
                **{f"cpu_us_{size}": cost for size, cost in costs.items()},
                **{f"resident_mb_{size}": held / 1e6 for size, held in resident.items()},
            },
        )
    ]
