"""One single read, and the memory of the process, as the cluster grows: four servers side by side."""

from contextlib import ExitStack
from typing import Final

from tests.benchmarks.bench import Bench, single_reads
from tests.benchmarks.processes import resident_bytes
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import by_turns, figure

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
    medians = [cost.median for cost in costs.values()]
    ratio = max(medians) / min(medians)
    samples = [measured.samples for measured in taken.values()]
    spread = figure([max(of.cpu for of in turn) / min(of.cpu for of in turn) for turn in zip(*samples, strict=True)])
    shown = ", ".join(f"{size:,}: {cost.median:.0f}" for size, cost in costs.items())
    return [
        Result(
            "growth",
            "CPU of a single read as the cluster grows",
            f"highest <= {GOAL:g} x lowest",
            f"{shown} us",
            verdict(ratio <= GOAL),
            type(spread)(ratio, min(ratio, spread.lowest), max(ratio, spread.highest)),
            {
                **{f"cpu_us_{size}": cost for size, cost in costs.items()},
                **{f"resident_mb_{size}": held / 1e6 for size, held in resident.items()},
            },
        )
    ]
